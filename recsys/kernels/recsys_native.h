// Declarations that all native kernels of recsys use; threads and interrupts are those of graphnoise's kernels.

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

// A team of threads that stops between tasks when the user interrupts. Tasks must not throw.
class InterruptibleTeam {
  public:
    template <class Body>
    void run(int threads, Index tasks, Body &&body) {
        graphnoise::parallel(threads, tasks, [&](int thread, Index task) {
            if (!interrupt_.raised()) interrupt_.ask(thread);
            if (!interrupt_.raised()) body(thread, task);
        });
    }
    // The same with a contiguous range of tasks per thread, the same one at every call.
    template <class Body>
    void run_stretches(int threads, Index tasks, Body &&body) {
        graphnoise::parallel_stretches(threads, tasks, [&](int thread, Index task) {
            if (!interrupt_.raised()) interrupt_.ask(thread);
            if (!interrupt_.raised()) body(thread, task);
        });
    }
    bool interrupted() const { return interrupt_.raised(); }
    // Raise the interrupt in Python; call with the interpreter's lock held.
    void rethrow() const {
        if (interrupt_.raised()) throw nb::python_error();
    }

  private:
    graphnoise::Interrupt interrupt_;
};

void add_negatives(nb::module_ &m);
void add_pairs(nb::module_ &m);
void add_sgd(nb::module_ &m);
