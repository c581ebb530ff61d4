// Keyboard interrupts during a native call, seen by all of its threads.

#pragma once

#include <atomic>
#include <chrono>

#include "native.h"

namespace graphnoise {

// Stops the work of all threads when the user interrupts; only the thread that holds the call may ask Python.
class Interrupt {
  public:
    bool raised() const { return raised_.load(std::memory_order_relaxed); }
    void ask(int thread) {
        if (thread != 0 || Clock::now() < next_) return;
        next_ = Clock::now() + std::chrono::milliseconds(100);
        nb::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) raised_.store(true, std::memory_order_relaxed);
    }

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point next_ = Clock::now() + std::chrono::milliseconds(100);
    std::atomic<bool> raised_{false};
};

}  // namespace graphnoise
