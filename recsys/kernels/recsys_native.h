// What the native kernels of recsys share. Habits, threads and interrupts are those of graphnoise's kernels.

#pragma once

#include "simd/interrupt.h"
#include "native.h"
#include "simd/parallel.h"
#include "counter.h"

using Address = std::uintptr_t;

template <class T>
T *at(Address address) {
    return reinterpret_cast<T *>(address);
}

inline recsys::Known known_at(Address rowptr, Address col, Address bits, Index words) {
    return {at<const std::int64_t>(rowptr), at<const std::int32_t>(col), at<const std::uint64_t>(bits), words};
}

// A team whose tasks do not throw, and which stops between tasks when the user wishes.
class Watch {
  public:
    template <class Body>
    void team(int threads, Index tasks, Body &&body) {
        graphnoise::parallel(threads, tasks, [&](int thread, Index task) {
            if (!interrupt_.raised()) interrupt_.ask(thread);
            if (!interrupt_.raised()) body(thread, task);
        });
    }
    // The same, where the tasks of a thread lie beside each other, at every call the same ones.
    template <class Body>
    void stretches(int threads, Index tasks, Body &&body) {
        graphnoise::parallel_stretches(threads, tasks, [&](int thread, Index task) {
            if (!interrupt_.raised()) interrupt_.ask(thread);
            if (!interrupt_.raised()) body(thread, task);
        });
    }
    bool over() const { return interrupt_.raised(); }
    // With the lock of the interpreter held.
    void finish() const {
        if (interrupt_.raised()) throw nb::python_error();
    }

  private:
    graphnoise::Interrupt interrupt_;
};

void add_negatives(nb::module_ &m);
void add_pairs(nb::module_ &m);
void add_sgd(nb::module_ &m);
