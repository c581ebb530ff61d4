// Teams of threads that take tasks one by one. Results do not depend on which thread takes which task.

#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
// The thread sanitizer does not know OpenMP's barriers.
#ifdef GRAPHNOISE_STD_THREADS
#include <thread>
#endif

namespace graphnoise {

// Call work(thread) on a team; thread 0 is the caller. There may be fewer threads than asked for.
template <class Work>
void on_team([[maybe_unused]] int threads, Work &&work) {
#ifdef GRAPHNOISE_STD_THREADS
    std::vector<std::thread> team;
    for (int k = 1; k < threads; ++k) team.emplace_back(work, k);
    work(0);
    for (auto &member : team) member.join();
#else
    // OpenMP's threads are those of torch's operators; another pool would compete with them for cores.
#pragma omp parallel num_threads(threads)
    {
#ifdef _OPENMP
        work(omp_get_thread_num());
#else
        work(0);
#endif
    }
#endif
}

// Call body(thread, task) for each task from 0 to tasks - 1; thread 0 is the caller. The body does not throw.
template <class Body>
void parallel(int threads, std::int64_t tasks, Body &&body) {
    if (threads > tasks) threads = static_cast<int>(tasks);
    if (threads <= 1) {
        for (std::int64_t t = 0; t < tasks; ++t) body(0, t);
        return;
    }
    std::atomic<std::int64_t> next{0};
    on_team(threads, [&](int thread) {
        for (std::int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) body(thread, t);
    });
}

// The same with a contiguous range of tasks per thread, the same one at every call, so that what they write stays in its
// cache; a thread that has finished its range takes tasks of the others.
template <class Body>
void parallel_stretches(int threads, std::int64_t tasks, Body &&body) {
    if (threads > tasks) threads = static_cast<int>(tasks);
    if (threads <= 1) return parallel(1, tasks, body);
    struct alignas(64) Stretch {
        std::atomic<std::int64_t> next;
        std::int64_t end;
    };
    std::vector<Stretch> stretches(static_cast<std::size_t>(threads));
    for (int k = 0; k < threads; ++k) {
        stretches[static_cast<std::size_t>(k)].next = tasks * k / threads;
        stretches[static_cast<std::size_t>(k)].end = tasks * (k + 1) / threads;
    }
    on_team(threads, [&](int thread) {
        for (int k = 0; k < threads; ++k) {
            Stretch &stretch = stretches[static_cast<std::size_t>((thread + k) % threads)];
            for (std::int64_t t; (t = stretch.next.fetch_add(1, std::memory_order_relaxed)) < stretch.end;) body(thread, t);
        }
    });
}

}  // namespace graphnoise
