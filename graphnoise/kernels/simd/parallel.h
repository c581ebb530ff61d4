// A team of threads that take tasks one by one. Who takes which never shows in a result.

#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#ifdef GRAPHNOISE_STD_THREADS  // for the thread sanitizer, which does not know OpenMP's barriers
#include <thread>
#endif

namespace graphnoise {

// Call work(thread) on a team; thread 0 is the caller. There may be fewer threads than asked for.
template <class Work>
void on_team(int threads, Work &&work) {
#ifdef GRAPHNOISE_STD_THREADS
    std::vector<std::thread> team;
    for (int k = 1; k < threads; ++k) team.emplace_back(work, k);
    work(0);
    for (auto &member : team) member.join();
#else
    // The threads are OpenMP's, which torch's operators wait on as well: a pool of our own would fight with them for cores.
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

// The same, where a thread has a stretch of the tasks to itself, the same one at every call, so that what they write stays
// in its cache; done with it, it takes what others have left.
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
            Stretch &own = stretches[static_cast<std::size_t>((thread + k) % threads)];
            for (std::int64_t t; (t = own.next.fetch_add(1, std::memory_order_relaxed)) < own.end;) body(thread, t);
        }
    });
}

}  // namespace graphnoise
