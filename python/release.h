// Computing without the interpreter's lock, and still answering Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>

#include "fovea/python/errors.h"
#include "fovea/tensor/parallel.h"

namespace fovea::python {

/// While it lives, other Python threads run, and this thread's parallel loops look for signals
/// twenty times a second; a handler that raises (KeyboardInterrupt) ends the loop with Raised.
class WithoutLock {
 public:
  WithoutLock() : state_(PyEval_SaveThread()), scope_(&check) {
    current_ = this;
    next_ = Clock::now() + kPause;
  }
  ~WithoutLock() {
    current_ = nullptr;
    PyEval_RestoreThread(state_);
  }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPause{50};

  static void check() {
    const Clock::time_point now = Clock::now();
    if (now < current_->next_) return;
    current_->next_ = now + kPause;
    PyEval_RestoreThread(current_->state_);
    const bool raised = PyErr_CheckSignals() != 0;
    current_->state_ = PyEval_SaveThread();
    if (raised) throw Raised();
  }

  static inline thread_local WithoutLock* current_ = nullptr;

  PyThreadState* state_;
  InterruptScope scope_;
  Clock::time_point next_;
};

}  // namespace fovea::python
