// Computing without the interpreter's lock, and still answering Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>

#include <unistd.h>

#include <chrono>
#include <utility>

#include "fovea/python/errors.h"
#include "fovea/tensor/parallel.h"

namespace fovea::python {

/// Takes the interpreter's lock. At the interpreter's end, when the lock is never to be had again,
/// CPython unwinds the thread by force, which C++ frames do not survive: the thread stays here.
inline void take_lock(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {
    for (;;) pause();
  }
}

/// While it lives, other Python threads run, and this thread's parallel loops look for signals
/// twenty times a second; a handler that raises (KeyboardInterrupt) ends the loop with Raised. A
/// handler may call functions that make another one.
class WithoutLock {
 public:
  WithoutLock()
      : state_(PyEval_SaveThread()),
        scope_(&check),
        next_(Clock::now() + kPause),
        outer_(std::exchange(current_, this)) {}
  ~WithoutLock() {
    current_ = outer_;
    take_lock(state_);
  }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPause{50};

  static void check() {
    WithoutLock* const self = current_;
    const Clock::time_point now = Clock::now();
    if (now < self->next_) return;
    take_lock(self->state_);
    const bool raised = PyErr_CheckSignals() != 0;
    self->state_ = PyEval_SaveThread();
    self->next_ = Clock::now() + kPause;
    if (raised) throw Raised();
  }

  static inline thread_local WithoutLock* current_ = nullptr;

  PyThreadState* state_;
  InterruptScope scope_;
  Clock::time_point next_;
  WithoutLock* outer_;
};

}  // namespace fovea::python
