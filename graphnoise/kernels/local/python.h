// The interface of local methods to Python: arrays by their addresses, lookups of labels, keyboard interrupts, and
// exceptions of all threads.
//
//   InterruptCheck interrupt;
//   {
//       nb::gil_scoped_release release;
//       interrupt.run(threads, tasks, [&](int thread, Index task) { ... if (interrupt.stops(thread)) return; ... });
//   }
//   interrupt.rethrow();

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

// A new NumPy array, filled by the caller.
template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> array(Index size, T **data) {
    *data = new T[static_cast<std::size_t>(size)];
    const nb::capsule owner(*data, [](void *p) noexcept { delete[] static_cast<T *>(p); });
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(*data, {static_cast<std::size_t>(size)}, owner);
}

// Labels from the address of an array (0: none), or from a function that takes an int64 array of nodes and returns an
// array of uint8 (None: none). The caller keeps both alive.
inline Labels labels_at(Address of, const std::optional<nb::object> &function, double eps) {
    Labels labels;
    labels.of = reinterpret_cast<const std::uint8_t *>(of);
    labels.eps = eps;
    if (!function.has_value() || function->is_none()) return labels;
    labels.lookup = [function = nb::handle(*function)](const Node *nodes, Index count, std::uint8_t *out) {
        nb::gil_scoped_acquire acquire;
        Index *data;
        auto argument = array<Index>(count, &data);
        std::copy_n(nodes, count, data);
        const nb::object result = function(std::move(argument));
        const auto values = nb::cast<Array<const std::uint8_t, 1>>(result);
        if (static_cast<Index>(values.shape(0)) != count) throw nb::value_error("as many labels as nodes expected");
        std::copy_n(values.data(), count, out);
    };
    return labels;
}

class InterruptCheck {
  public:
    // Whether to stop; called from time to time within a task, by its thread.
    bool stops(int thread) {
        if (!interrupt_.raised()) interrupt_.ask(thread);
        return interrupt_.raised() || failed_.load(std::memory_order_relaxed);
    }
    template <class Body>
    void run(int threads, Index tasks, Body &&body) {
        parallel(threads, tasks, [&](int thread, Index task) {
            if (stops(thread)) return;
            try {
                body(thread, task);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex_);
                if (!first_) first_ = std::current_exception();
                failed_.store(true, std::memory_order_relaxed);
            }
        });
    }
    // Throws the first exception of a task, or KeyboardInterrupt; requires the interpreter lock.
    void rethrow() {
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
