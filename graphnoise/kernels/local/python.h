// How local methods meet Python: arrays by their addresses, labels that a function is asked for, interrupts, and
// exceptions of any thread.
//
//   Watch watch;
//   {
//       nb::gil_scoped_release release;
//       watch.team(threads, tasks, [&](int thread, Index task) { ... if (watch.over(thread)) return; ... });
//   }
//   watch.finish();  // throws what a task threw, or the user's wish to stop

#pragma once

#include <atomic>
#include <exception>
#include <mutex>

#include "simd/interrupt.h"
#include "native.h"
#include "simd/parallel.h"
#include "local/graph.h"

namespace graphnoise::local {

using Address = std::uintptr_t;

inline Graph graph_at(Address rowptr, Address col, Address weight, Address degree) {
    return {reinterpret_cast<const Index *>(rowptr), reinterpret_cast<const Node *>(col),
            reinterpret_cast<const double *>(weight), reinterpret_cast<const double *>(degree)};
}

// A new array of Python's, filled by the caller.
template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> array(Index size, T **data) {
    *data = new T[static_cast<std::size_t>(size)];
    const nb::capsule owner(*data, [](void *p) noexcept { delete[] static_cast<T *>(p); });
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(*data, {static_cast<std::size_t>(size)}, owner);
}

// Labels by the address of an array (0: none), or by a function of an int64 array of nodes that returns an array of
// uint8 (None: none). The caller keeps it alive.
inline Labels labels_at(Address of, const nb::object &function, double eps) {
    Labels labels;
    labels.of = reinterpret_cast<const std::uint8_t *>(of), labels.eps = eps;
    if (function.is_none()) return labels;
    labels.ask = [asked = nb::handle(function)](const Node *nodes, Index count, std::uint8_t *out) {
        nb::gil_scoped_acquire acquire;
        Index *data;
        auto wanted = array<Index>(count, &data);
        std::copy_n(nodes, count, data);
        const nb::object answer = asked(std::move(wanted));
        const auto got = nb::cast<Array<const std::uint8_t, 1>>(answer);
        if (static_cast<Index>(got.shape(0)) != count) throw nb::value_error("labels of another number of nodes");
        std::copy_n(got.data(), count, out);
    };
    return labels;
}

class Watch {
  public:
    // Whether to stop: asked now and then within tasks, by the thread that has the task.
    bool over(int thread) {
        if (!interrupt_.raised()) interrupt_.ask(thread);
        return interrupt_.raised() || failed_.load(std::memory_order_relaxed);
    }
    template <class Body>
    void team(int threads, Index tasks, Body &&body) {
        parallel(threads, tasks, [&](int thread, Index task) {
            if (over(thread)) return;
            try {
                body(thread, task);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex_);
                if (!first_) first_ = std::current_exception();
                failed_.store(true, std::memory_order_relaxed);
            }
        });
    }
    // With the lock of the interpreter held.
    void finish() {
        if (first_) {
            PyErr_Clear();
            std::rethrow_exception(first_);
        }
        if (interrupt_.raised()) throw nb::python_error();
    }

  private:
    Interrupt interrupt_;
    std::atomic<bool> failed_{false};
    std::exception_ptr first_;
    std::mutex mutex_;
};

}  // namespace graphnoise::local
