#include "fovea/tensor/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr int kMostThreads = 1024;

// How long a thread that has nothing to do looks for work before it sleeps: a loop that follows
// soon finds it awake, and nobody else's time is wasted for long.
constexpr std::chrono::microseconds kSpin{50};

// A forked child has none of its parent's threads; its loops run serially.
std::atomic<bool> forked_child = false;
thread_local bool inside_loop = false;
thread_local int limit = kMostThreads;
thread_local void (*interrupt_check)() = nullptr;

void check_threads(std::string_view where, int threads) {
  if (threads < 1 || threads > kMostThreads) {
    fail(where, "{}; a number from 1 to {} is required", threads, kMostThreads);
  }
}

int cpus() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

int threads_at_start() {
  if (const char* text = std::getenv("FOVEA_THREADS"); text != nullptr && *text != '\0') {
    const std::string_view view = text;
    int threads = 0;
    const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), threads);
    if (error != std::errc() || end != view.data() + view.size() || threads < 1 ||
        threads > kMostThreads) {
      fail("FOVEA_THREADS", "{}; a number from 1 to {} is required", quoted(view), kMostThreads);
    }
    return threads;
  }
  return std::min(cpus(), kMostThreads);
}

// Tells the CPU that this is a waiting loop.
void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Looks at `word` until `done(value)`, asleep when that takes long. `sleep` puts this thread to
// sleep while the word has the value.
template <class Done, class Sleep>
std::uint32_t wait_until(const std::atomic<std::uint32_t>& word, bool may_spin, const Done& done,
                         const Sleep& sleep) {
  std::uint32_t value = word.load(std::memory_order_acquire);
  if (done(value)) return value;
  if (may_spin) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 16; ++i) {
        relax();
        value = word.load(std::memory_order_acquire);
        if (done(value)) return value;
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  while (!done(value)) {
    sleep(value);
    value = word.load(std::memory_order_acquire);
  }
  return value;
}

// The calling thread and threads() - 1 workers share the indices of one loop at a time. A worker
// that comes late, or not at all, holds nobody up: the caller waits for those only that are inside
// when no index is left. A loop that begins while another thread's runs is run by its caller alone.
class Pool {
 public:
  Pool() {
    pthread_atfork(nullptr, nullptr, [] { forked_child = true; });
  }

  int threads() {
    const int known = threads_.load(std::memory_order_acquire);
    if (known > 0) return known;
    int expected = 0;
    const int start = threads_at_start();
    threads_.compare_exchange_strong(expected, start);
    return threads_;
  }

  void set_threads(int threads) {
    if (forked_child) {
      threads_ = threads;
      return;
    }
    while (busy_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    stop_workers();
    threads_ = threads;
    busy_.store(false, std::memory_order_release);
  }

  /// On at most `threads` threads; `check`, if any, between the caller's calls of the body. False,
  /// and nothing done, if a loop of another thread is running.
  bool run(std::int64_t count, const void* body, detail::LoopBody call, int threads,
           void (*check)());

  /// Whether each thread has a CPU, so that one that waits may look for a while.
  bool spins() const { return spins_; }

  /// At the end of the process: loops of other threads and of later destructors run serially.
  void close() {
    if (forked_child || inside_loop) return;  // (exit was called inside a loop)
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (busy_.exchange(true, std::memory_order_acquire)) {
      if (std::chrono::steady_clock::now() > end) return;
      std::this_thread::yield();
    }
    stop_workers();
  }

 private:
  // One word says what workers do:
  static constexpr std::uint32_t kOpen = 1;          // a loop has indices left: come in
  static constexpr std::uint32_t kCallerSleeps = 2;  // the last one to leave wakes it
  static constexpr std::uint32_t kStop = 4;          // end
  static constexpr std::uint32_t kInside = 8;        // one worker inside, of up to 1023
  static constexpr std::uint32_t kInsideMask = 1023 * kInside;
  static constexpr std::uint32_t kLoop = 1024 * kInside;  // the loop's number, in what is left
  static constexpr std::uint32_t kLoopMask = ~(kLoop - 1);

  void start_workers();
  void stop_workers();
  void work(int slot);
  void take_indices(int slot, void (*check)());

  std::atomic<int> threads_ = 0;
  std::vector<std::thread> workers_;  // guarded by busy_, as everything that follows
  bool started_ = false, spins_ = true;
  alignas(64) std::atomic<bool> busy_ = false;
  std::atomic<std::uint32_t> sleepers_ = 0;
  alignas(64) std::atomic<std::uint32_t> word_ = 0;
  // The loop. Each slot begins with a part of the indices that is its own, the same from loop to
  // loop, so that it finds in its cache what it worked on before; then it takes from the others.
  struct alignas(64) Part {
    std::atomic<std::int64_t> next = 0;
    std::int64_t end = 0;
  };
  std::unique_ptr<Part[]> parts_;
  std::int64_t chunk_ = 1;
  int slots_ = 1;
  const void* body_ = nullptr;
  detail::LoopBody call_ = nullptr;
  std::atomic<bool> failed_ = false;
  std::exception_ptr error_;
};

Pool& pool() {
  static auto* pool = new Pool();  // never destroyed: static destructors may still run loops
  return *pool;
}

void Pool::start_workers() {
  started_ = true;
  parts_ = std::make_unique<Part[]>(static_cast<std::size_t>(threads_.load()));
  spins_ = threads_ <= cpus();
  word_ = word_.load() & kLoopMask;
  workers_.reserve(static_cast<std::size_t>(threads_ - 1));
  static std::once_flag once;
  std::call_once(once, [] { std::atexit([] { pool().close(); }); });
  for (int slot = 1; slot < threads_; ++slot) {
    try {
      workers_.emplace_back([this, slot] { work(slot); });
    } catch (const std::system_error&) {
      return;  // fewer do the same work
    }
  }
}

void Pool::stop_workers() {
  word_.fetch_or(kStop);
  word_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  started_ = false;
}

void Pool::work(int slot) {
  inside_loop = true;
  std::uint32_t seen = ~kLoopMask;  // the number of no loop
  for (;;) {
    std::uint32_t word = wait_until(
        word_, spins_, [&](std::uint32_t w) { return (w & kStop) || (w & kLoopMask) != seen; },
        [&](std::uint32_t w) {
          sleepers_.fetch_add(1);
          word_.wait(w);
          sleepers_.fetch_sub(1);
        });
    if (word & kStop) return;
    if (word & kOpen) {
      if (!word_.compare_exchange_strong(word, word + kInside, std::memory_order_acq_rel)) continue;
      if (slot < slots_) take_indices(slot, nullptr);
      const std::uint32_t left = word_.fetch_sub(kInside, std::memory_order_acq_rel);
      if ((left & kCallerSleeps) && (left & kInsideMask) == kInside) word_.notify_all();
    }
    seen = word & kLoopMask;
  }
}

void Pool::take_indices(int slot, void (*check)()) {
  try {
    for (int k = 0; k < slots_; ++k) {
      Part& part = parts_[static_cast<std::size_t>((slot + k) % slots_)];
      for (;;) {
        const std::int64_t begin = part.next.fetch_add(chunk_, std::memory_order_relaxed);
        if (begin >= part.end) break;
        const std::int64_t end = std::min(part.end, begin + chunk_);
        for (std::int64_t i = begin; i < end; ++i) {
          if (check != nullptr) check();
          call_(body_, i, slot);
        }
      }
    }
  } catch (...) {
    if (!failed_.exchange(true)) error_ = std::current_exception();
    for (int k = 0; k < slots_; ++k) {
      Part& part = parts_[static_cast<std::size_t>(k)];
      part.next.store(part.end, std::memory_order_relaxed);
    }
  }
}

bool Pool::run(std::int64_t count, const void* body, detail::LoopBody call, int threads,
               void (*check)()) {
  if (busy_.load(std::memory_order_relaxed) || busy_.exchange(true, std::memory_order_acquire)) {
    return false;
  }
  if (!started_) start_workers();
  slots_ = threads;
  chunk_ = std::max<std::int64_t>(1, count / (32 * threads));
  body_ = body;
  call_ = call;
  failed_.store(false, std::memory_order_relaxed);
  const std::int64_t share = count / threads;
  for (int slot = 0; slot < threads; ++slot) {
    Part& part = parts_[static_cast<std::size_t>(slot)];
    const std::int64_t begin = share * slot + std::min<std::int64_t>(slot, count % threads);
    part.next.store(begin, std::memory_order_relaxed);
    part.end = begin + share + (slot < count % threads ? 1 : 0);
  }
  // Nobody is inside, so nobody else changes the word.
  word_.store((word_.load(std::memory_order_relaxed) & kLoopMask) + kLoop + kOpen);
  if (const std::uint32_t asleep = sleepers_.load(); asleep > 0) {
    if (count - 1 >= asleep || threads < threads_) {
      word_.notify_all();
    } else {
      for (std::int64_t i = 1; i < count; ++i) word_.notify_one();
    }
  }
  inside_loop = true;
  take_indices(0, check);
  inside_loop = false;
  word_.fetch_and(~kOpen, std::memory_order_acq_rel);
  wait_until(
      word_, spins_, [](std::uint32_t w) { return (w & kInsideMask) == 0; },
      [&](std::uint32_t w) {
        if (word_.compare_exchange_strong(w, w | kCallerSleeps)) word_.wait(w | kCallerSleeps);
      });
  std::exception_ptr error;
  if (failed_.load(std::memory_order_relaxed)) error = std::exchange(error_, nullptr);
  busy_.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
  return true;
}

}  // namespace

int num_threads() { return std::min(pool().threads(), limit); }

void set_num_threads(int threads) {
  check_threads("set_num_threads", threads);
  if (inside_loop) fail("set_num_threads", "called inside a parallel loop; call it outside any");
  pool().set_threads(threads);
}

ThreadLimit::ThreadLimit(int threads) : outer_(limit) {
  check_threads("threads", threads);
  limit = std::min(limit, threads);
}

ThreadLimit::~ThreadLimit() { limit = outer_; }

InterruptScope::InterruptScope(void (*check)()) : outer_(interrupt_check) {
  interrupt_check = check;
}

InterruptScope::~InterruptScope() { interrupt_check = outer_; }

void Progress::reach(std::uint32_t steps) { steps_.store(steps, std::memory_order_release); }

void Progress::wait_for(std::uint32_t steps) const {
  wait_until(
      steps_, pool().spins(), [=](std::uint32_t reached) { return reached >= steps; },
      [](std::uint32_t) { std::this_thread::yield(); });
}

void detail::parallel_for(std::int64_t count, const void* body, LoopBody call) {
  if (inside_loop) {
    for (std::int64_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  void (*const check)() = interrupt_check;
  if (count > 1 && !forked_child) {
    const int threads = num_threads();
    if (threads > 1 && pool().run(count, body, call, threads, check)) return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (check != nullptr) check();
    call(body, i, 0);
  }
}

}  // namespace fovea
