// Parallel loops. Everything about threads stands behind this header.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace fovea {

/// Threads that loops of the calling thread use: `set_num_threads`, else the environment's
/// FOVEA_THREADS, else the CPUs that this process may use; no more than the thread's ThreadLimit.
/// Throws Error if FOVEA_THREADS is not a number from 1 to 1024.
int num_threads();
/// Throws Error outside [1, 1024]. Not while loops run.
void set_num_threads(int threads);

/// While it lives, loops that this thread starts use at most so many threads.
class ThreadLimit {
 public:
  /// Throws Error outside [1, 1024].
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int outer_;
};

/// While it lives, loops that this thread starts call `check` on this thread, before they begin and
/// between calls of their bodies (as far as this thread makes some); what it throws ends the loop
/// as an exception of the body does. `check` runs no loops.
class InterruptScope {
 public:
  explicit InterruptScope(void (*check)());
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  void (*outer_)();
};

namespace detail {
using LoopBody = void (*)(const void* body, std::int64_t index, int slot);
void parallel_for(std::int64_t count, const void* body, LoopBody call);
}  // namespace detail

/// Calls `body(index)` or `body(index, slot)` once for each index in [0, count), on several threads
/// in any order. `slot` in [0, num_threads()) is held by one call at a time: use it to pick scratch
/// memory. Work must be split by shape alone, so that results do not depend on the number of
/// threads. The first exception thrown is thrown here, after all running calls have ended. A loop
/// inside a loop runs serially, and so does one in a forked child.
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
  detail::parallel_for(count, std::addressof(body),
                       [](const void* b, std::int64_t index, int slot) {
                         if constexpr (std::invocable<const Body&, std::int64_t, int>) {
                           (*static_cast<const Body*>(b))(index, slot);
                         } else {
                           (*static_cast<const Body*>(b))(index);
                         }
                       });
}

/// How far one task of a loop has come, for the task that follows it step by step. Tasks that
/// follow others begin in order: with a task, those before it have begun too, so that one of them
/// always can go on.
class Progress {
 public:
  /// What this thread wrote so far is seen by those who wait for `steps` or fewer.
  void reach(std::uint32_t steps);
  void wait_for(std::uint32_t steps) const;

 private:
  std::atomic<std::uint32_t> steps_ = 0;
};

}  // namespace fovea
