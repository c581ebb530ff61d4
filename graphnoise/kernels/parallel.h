// A team of threads that take tasks one by one. Who takes which never shows in a result.

#pragma once

#include <atomic>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif
#ifdef GRAPHNOISE_STD_THREADS  // for the thread sanitizer, which does not know OpenMP's barriers
#include <thread>
#include <vector>
#endif

namespace graphnoise {

// Call body(thread, task) for each task from 0 to tasks - 1; thread 0 is the caller. The body does not throw.
template <class Body>
void parallel(int threads, std::int64_t tasks, Body &&body) {
    if (threads > tasks) threads = static_cast<int>(tasks);
    if (threads <= 1) {
        for (std::int64_t t = 0; t < tasks; ++t) body(0, t);
        return;
    }
    std::atomic<std::int64_t> next{0};
    const auto work = [&](int thread) {
        for (std::int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) body(thread, t);
    };
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

}  // namespace graphnoise
