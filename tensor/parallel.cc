#include "fovea/tensor/parallel.h"

#include <pthread.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr int kMostThreads = 1024;

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
  return std::min(tbb::this_task_arena::max_concurrency(), kMostThreads);
}

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
    const std::lock_guard lock(mutex_);
    threads_ = threads;
    arenas_.clear();
  }

  std::shared_ptr<tbb::task_arena> arena(int wanted) {
    const auto most = static_cast<std::size_t>(threads());
    const std::lock_guard lock(mutex_);
    if (arenas_.empty()) {
      // oneTBB starts no more workers than CPUs unless it is told to.
      control_ =
          std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, most);
    }
    std::shared_ptr<tbb::task_arena>& arena = arenas_[wanted];
    if (!arena) arena = std::make_shared<tbb::task_arena>(wanted);
    return arena;
  }

 private:
  std::atomic<int> threads_ = 0;
  std::mutex mutex_;
  std::unique_ptr<tbb::global_control> control_;
  std::map<int, std::shared_ptr<tbb::task_arena>> arenas_;  // by the number of their threads
};

Pool& pool() {
  static auto* pool = new Pool();  // never destroyed: static destructors may still run loops
  return *pool;
}

struct InsideLoop {
  InsideLoop() { inside_loop = true; }
  ~InsideLoop() { inside_loop = false; }
};

}  // namespace

int num_threads() { return std::min(pool().threads(), limit); }

void set_num_threads(int threads) {
  check_threads("set_num_threads", threads);
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

void detail::parallel_for(std::int64_t count, const void* body, LoopBody call) {
  if (count <= 0) return;
  if (inside_loop) {
    for (std::int64_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  void (*const check)() = interrupt_check;
  const int threads = count == 1 || forked_child ? 1 : num_threads();
  if (threads == 1) {
    for (std::int64_t i = 0; i < count; ++i) {
      if (check != nullptr) check();
      call(body, i, 0);
    }
    return;
  }
  if (check != nullptr) check();
  const std::thread::id caller = std::this_thread::get_id();
  pool().arena(threads)->execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::int64_t>(0, count, 1),
        [&](const tbb::blocked_range<std::int64_t>& range) {
          const InsideLoop mark;
          const int slot = tbb::this_task_arena::current_thread_index();
          for (std::int64_t i = range.begin(); i < range.end(); ++i) {
            if (check != nullptr && std::this_thread::get_id() == caller) check();
            call(body, i, slot);
          }
        },
        tbb::simple_partitioner());
  });
}

}  // namespace fovea
