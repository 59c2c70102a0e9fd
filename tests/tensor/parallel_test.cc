#include "fovea/tensor/parallel.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fovea/tensor/error.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

// The exit status of a child process that runs `body`; 99 for an exception.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = body();
    } catch (...) {
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The environment is read once, so this case comes first: the process has run no loop yet.
TEST_CASE("FOVEA_THREADS") {
  const auto threads_with = [](const char* text) {
    return in_child([&] {
      ::setenv("FOVEA_THREADS", text, 1);
      return num_threads();
    });
  };
  CHECK(threads_with("1") == 1);
  CHECK(threads_with("3") == 3);
  CHECK(threads_with("") >= 1);
  for (const char* text : {"0", "-1", "1025", "3 ", " 3", "3x", "+3", "three", "99999999999999"}) {
    const int status = in_child([&] {
      ::setenv("FOVEA_THREADS", text, 1);
      const std::string error = error_of([] { num_threads(); });
      return error == "FOVEA_THREADS: " + quoted(text) + "; a number from 1 to 1024 is required";
    });
    INFO(text);
    CHECK(status == 1);
  }
}

class ThreadCount {
 public:
  explicit ThreadCount(int threads) { set_num_threads(threads); }
  ~ThreadCount() { set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_ = num_threads();
};

TEST_CASE("set_num_threads") {
  const ThreadCount four(4);
  CHECK(num_threads() == 4);
  for (int threads : {0, -1, 1025}) {
    CHECK(error_of([&] { set_num_threads(threads); }) ==
          "set_num_threads: " + std::to_string(threads) + "; a number from 1 to 1024 is required");
  }
  CHECK(num_threads() == 4);
}

TEST_CASE("ThreadLimit holds on its own thread") {
  const ThreadCount four(4);
  const auto slots_used = [] {
    std::atomic<int> most = 0, wrong = 0;
    const int threads = num_threads();
    parallel_for(200, [&](std::int64_t, int slot) {
      if (slot >= threads) ++wrong;
      int seen = most;
      while (seen < slot + 1 && !most.compare_exchange_weak(seen, slot + 1)) {
      }
      std::this_thread::yield();
    });
    CHECK(wrong == 0);
    return most.load();
  };
  {
    const ThreadLimit two(2);
    CHECK(num_threads() == 2);
    CHECK(slots_used() <= 2);
    {
      const ThreadLimit more(3), one(1);
      CHECK(num_threads() == 1);
      CHECK(slots_used() == 1);
    }
    int elsewhere = 0;
    std::thread([&] { elsewhere = num_threads(); }).join();
    CHECK(elsewhere == 4);
    CHECK(num_threads() == 2);
  }
  CHECK(num_threads() == 4);
  CHECK(error_of([] { ThreadLimit(0); }) == "threads: 0; a number from 1 to 1024 is required");
}

thread_local int checks_left = 0;

TEST_CASE("InterruptScope: its check runs on the thread that starts a loop, and ends it") {
  struct Interrupted {};
  const auto check = [] {
    if (--checks_left < 0) throw Interrupted();
  };
  for (int threads : {1, 3}) {
    const ThreadCount count(threads);
    std::atomic<int> calls = 0;
    const auto loop = [&](std::int64_t n) { parallel_for(n, [&](std::int64_t) { ++calls; }); };
    const InterruptScope scope(+check);
    checks_left = 0;
    CHECK_THROWS_AS(loop(1), Interrupted);
    CHECK_THROWS_AS(loop(1000), Interrupted);
    CHECK(calls == 0);
    checks_left = 3;
    CHECK_NOTHROW(loop(1));
    CHECK(calls == 1);
    if (threads == 1) CHECK_THROWS_AS(loop(1000), Interrupted);
    if (threads == 1) CHECK(calls == 3);
    std::thread([&] { loop(10); }).join();  // another thread's loops are not checked
    CHECK(calls == (threads == 1 ? 13 : 11));
    const InterruptScope none(nullptr);
    CHECK_NOTHROW(loop(10));
  }
}

TEST_CASE("parallel_for: each index once") {
  for (int threads : {1, 2, 3, 8}) {
    const ThreadCount count(threads);
    for (std::int64_t n : {-1, 0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(n < 0 ? 0 : n));
      parallel_for(n, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
      for (const std::atomic<int>& call : calls) CHECK(call == 1);
    }
  }
}

TEST_CASE("parallel_for: a slot is held by one call at a time") {
  const ThreadCount count(4);
  std::vector<std::atomic<int>> held(4);
  std::atomic<int> mistakes = 0;
  parallel_for(500, [&](std::int64_t, int slot) {
    if (slot < 0 || slot >= 4) {
      ++mistakes;
      return;
    }
    std::atomic<int>& mine = held[static_cast<std::size_t>(slot)];
    if (++mine != 1) ++mistakes;
    std::this_thread::yield();
    --mine;
  });
  CHECK(mistakes == 0);
}

// Returns when `arrived` is 2, but after ten seconds at the latest.
void wait_for_two(const std::atomic<int>& arrived) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (arrived < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

TEST_CASE("parallel_for: several threads work at the same time") {
  const ThreadCount count(2);
  std::atomic<int> arrived = 0, alone = 0;
  parallel_for(2, [&](std::int64_t) {
    ++arrived;
    wait_for_two(arrived);
    if (arrived < 2) ++alone;
  });
  CHECK(alone == 0);
}

TEST_CASE("parallel_for: an exception is thrown where the loop was called") {
  for (int threads : {1, 4}) {
    const ThreadCount count(threads);
    std::atomic<int> running = 0;
    CHECK_THROWS_WITH_AS(parallel_for(100,
                                      [&](std::int64_t i) {
                                        ++running;
                                        if (i == 37) {
                                          --running;
                                          throw std::runtime_error("thirty-seven");
                                        }
                                        --running;
                                      }),
                         "thirty-seven", std::runtime_error);
    CHECK(running == 0);
    // The next loop is not affected, and not serial.
    std::atomic<int> calls = 0;
    parallel_for(100, [&](std::int64_t) { ++calls; });
    CHECK(calls == 100);
  }
}

TEST_CASE("parallel_for: a loop inside a loop runs serially") {
  const ThreadCount count(2);
  std::atomic<int> arrived = 0, calls = 0, elsewhere = 0;
  parallel_for(2, [&](std::int64_t) {
    ++arrived;
    wait_for_two(arrived);
    const std::thread::id here = std::this_thread::get_id();
    std::int64_t expected = 0;
    parallel_for(10, [&](std::int64_t i, int slot) {
      ++calls;
      if (std::this_thread::get_id() != here || i != expected || slot != 0) ++elsewhere;
      expected = i + 1;
    });
  });
  CHECK(calls == 20);
  CHECK(elsewhere == 0);
}

TEST_CASE("Progress: a task follows the one that began before it, step by step") {
  constexpr std::uint32_t kSteps = 300;
  constexpr std::int64_t kTasks = 9;
  for (const int threads : {1, 2, 5}) {
    const ThreadCount count(threads);
    std::vector<Progress> progress(kTasks);
    std::vector<std::int64_t> last(kSteps,
                                   -1);  // the task that was there last; guarded by progress
    std::atomic<std::int64_t> next = 0;
    std::atomic<int> wrong = 0;
    parallel_for(kTasks, [&](std::int64_t) {
      const std::int64_t task = next++;
      for (std::uint32_t step = 0; step < kSteps; ++step) {
        if (task > 0) progress[static_cast<std::size_t>(task - 1)].wait_for(step + 1);
        if (task % 2 == 0 && step % 100 == 0)  // time for others to get ahead
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (std::exchange(last[step], task) != task - 1) ++wrong;
        progress[static_cast<std::size_t>(task)].reach(step + 1);
      }
    });
    CHECK(wrong == 0);
    CHECK(last == std::vector<std::int64_t>(kSteps, kTasks - 1));
  }
}

TEST_CASE("set_num_threads inside a loop is refused") {
  const ThreadCount count(2);
  std::atomic<int> refused = 0;
  parallel_for(4, [&](std::int64_t) {
    refused += error_of([] { set_num_threads(3); }) ==
                       "set_num_threads: called inside a parallel loop; call it outside any"
                   ? 1
                   : 0;
  });
  CHECK(refused == 4);
  CHECK(num_threads() == 2);
}

TEST_CASE("parallel_for: the number of threads changes between loops, also in a forked child") {
  for (int round = 0; round < 20; ++round) {
    const ThreadCount count(1 + round * 5 % 7);
    std::atomic<int> calls = 0;
    parallel_for(64, [&](std::int64_t) { ++calls; });
    CHECK(calls == 64);
  }
  const ThreadCount count(3);
  parallel_for(64, [](std::int64_t) {});
  CHECK(in_child([] {
          ::alarm(20);
          set_num_threads(5);
          int calls = 0;
          parallel_for(7, [&](std::int64_t) { ++calls; });
          return calls * 10 + num_threads();
        }) == 75);
}

TEST_CASE("parallel_for: workers that sleep are woken, workers that do not spare the wait") {
  const ThreadCount count(2);
  for (const int microseconds : {0, 10, 60, 2000}) {
    std::atomic<std::int64_t> sum = 0;
    for (int round = 0; round < 100; ++round) {
      std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
      parallel_for(3, [&](std::int64_t i) { sum += i; });
    }
    CHECK(sum == 300);
    std::atomic<int> arrived = 0;
    parallel_for(2, [&](std::int64_t) {
      ++arrived;
      wait_for_two(arrived);
    });
    CHECK(arrived == 2);
  }
}

// The exit status of this program when it runs one of the skipped cases below.
int exit_status_of(const char* test_case) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const std::string filter = std::string("--test-case=") + test_case;
    ::execl("/proc/self/exe", "parallel_test", "--no-skip", "--minimal", filter.c_str(), nullptr);
    ::_exit(99);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct LoopAtExit {
  std::atomic<int> calls = 0;
  ~LoopAtExit() {
    parallel_for(10, [&](std::int64_t) { ++calls; });
    if (calls != 10) std::_Exit(98);
  }
};

TEST_CASE("ending in a loop" * doctest::skip()) {
  set_num_threads(3);
  parallel_for(30, [](std::int64_t i) {
    if (i == 29) std::exit(7);
  });
}

TEST_CASE("ending with a loop in a destructor" * doctest::skip()) {
  set_num_threads(3);
  static LoopAtExit last;
  parallel_for(10, [](std::int64_t) {});
}

TEST_CASE("ending while another thread runs loops" * doctest::skip()) {
  set_num_threads(3);
  std::thread([] {
    for (;;) parallel_for(10, [](std::int64_t) {});
  }).detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST_CASE("a process ends whatever its threads do") {
  CHECK(exit_status_of("ending in a loop") == 7);
  CHECK(exit_status_of("ending with a loop in a destructor") == 0);
  CHECK(exit_status_of("ending while another thread runs loops") == 0);
}

TEST_CASE("parallel_for: several threads call at once") {
  const ThreadCount count(3);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        std::atomic<std::int64_t> sum = 0;
        parallel_for(100, [&](std::int64_t i) { sum += i; });
        if (sum != 4950) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

// A child that waited for its parent's threads would wait until the alarm.
int loop_in_child() {
  return in_child([] {
    ::alarm(20);
    const std::thread::id here = std::this_thread::get_id();
    int done = 0;
    parallel_for(50, [&](std::int64_t) { done += std::this_thread::get_id() == here ? 1 : 100; });
    return done;
  });
}

TEST_CASE("parallel_for: a forked child runs serially instead of hanging") {
  const ThreadCount count(2);
  std::atomic<int> calls = 0;
  parallel_for(100, [&](std::int64_t) { ++calls; });
  CHECK(loop_in_child() == 50);

  // Forked while both threads are inside a loop.
  std::atomic<int> arrived = 0;
  std::atomic<bool> go_on = false;
  std::thread caller([&] {
    parallel_for(2, [&](std::int64_t) {
      ++arrived;
      while (!go_on) std::this_thread::yield();
    });
  });
  wait_for_two(arrived);
  CHECK(arrived == 2);
  CHECK(loop_in_child() == 50);
  go_on = true;
  caller.join();

  parallel_for(100, [&](std::int64_t) { ++calls; });
  CHECK(calls == 200);
}

}  // namespace
}  // namespace fovea
