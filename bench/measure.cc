#include "bench/measure.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "bench/peers.h"
#include "bench/probe.h"
#include "fovea/tensor/parallel.h"

namespace fovea::bench {

namespace {

double now(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

const cpu_set_t& cpus_at_start() {
  static const cpu_set_t cpus = [] {
    cpu_set_t set;
    ::sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  return cpus;
}

void bind_this_thread(int index) {
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &cpus_at_start())) cpus.push_back(cpu);
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(cpus[static_cast<std::size_t>(index) % cpus.size()]), &one);
  ::sched_setaffinity(0, sizeof(one), &one);
}

double median(std::vector<double> x) {
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

// A yardstick: work done by one sample of it, and the call that does it.
struct Reference {
  std::string name;
  double work;
  Call call;
};

Reference reference_for(const Case& c, const Configuration& at, double seconds_of_sample) {
  switch (c.yardstick) {
    case Yardstick::read: {
      const auto count = static_cast<std::int64_t>(c.work / 4) / kReadStep * kReadStep;
      const Tensor data = Tensor::zeros(f32, {count});
      return {"reading memory", static_cast<double>(count) * 4,
              [=] { run_read(at.isa, data.data<float>(), data.numel()); }};
    }
    case Yardstick::fork_join:
      if (at.threads == 1) return {"empty call", 1, [] {}};
      return {"fork and join", 1, run_fork_join};
    case Yardstick::call:
      return {c.yardstick_name, c.work, c.yardstick_call()};
    case Yardstick::peak:
      break;
  }
  // A fifth of the call's time, or a fraction of a millisecond, is enough for the peak.
  const double wanted = std::clamp(seconds_of_sample / 5, 1e-4, 1e-3);
  const double start = now(CLOCK_MONOTONIC), tried = run_fma(at.isa, c.dtype, 1e6);
  const double rate = tried / at.threads / (now(CLOCK_MONOTONIC) - start);
  const double operations = std::clamp(rate * wanted, 1e5, 1e9);
  const double work = run_fma(at.isa, c.dtype, operations);
  return {"FMA peak", work, [=] { run_fma(at.isa, c.dtype, operations); }};
}

}  // namespace

void bind_threads(int threads) {
  ::sched_setaffinity(0, sizeof(cpu_set_t), &cpus_at_start());  // which new threads inherit
  set_num_threads(threads);
  // Each task waits (not forever) until all have a thread.
  std::atomic<int> arrived = 0;
  parallel_for(threads, [&](std::int64_t) {
    const int index = arrived.fetch_add(1);
    bind_this_thread(index);
    const double start = now(CLOCK_MONOTONIC);
    while (arrived.load() < threads && now(CLOCK_MONOTONIC) - start < 0.1) {
    }
  });
}

Measurement measure(const Case& c, const Configuration& at, double budget) {
  const clockid_t clock = at.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const auto time = [&](const Call& call, std::int64_t calls) {
    const double start = now(clock);
    for (std::int64_t i = 0; i < calls; ++i) call();
    return std::max(1e-9, (now(clock) - start) / static_cast<double>(calls));
  };
  // Calls of a sample: enough that the clock itself does not count.
  struct Sample {
    std::int64_t calls;
    double seconds;
  };
  const auto sample_of = [&](const Call& call) {
    constexpr double kLongEnough = 5e-4;
    Sample sample{1, time(call, 1)};
    while (sample.seconds < kLongEnough && sample.calls < 1'000'000) {
      const double one = sample.seconds / static_cast<double>(sample.calls);
      sample.calls = std::clamp<std::int64_t>(std::llround(kLongEnough / one), 2 * sample.calls,
                                              100 * sample.calls);
      sample.seconds = time(call, sample.calls) * static_cast<double>(sample.calls);
    }
    return sample;
  };

  const Call call = c.prepare();
  const double begin = now(CLOCK_MONOTONIC);
  const Sample sample = sample_of(call);
  // Threads of a library that still look for work would take CPUs from what is timed next.
  const bool rests = c.peer && at.threads > 1;
  if (rests) std::this_thread::sleep_for(kPeersSleepAfter);
  const Reference reference = reference_for(c, at, sample.seconds);
  const std::int64_t reference_calls = sample_of(reference.call).calls;
  const auto awake = [&](const Call& next, std::int64_t calls) {
    if (rests) {
      std::this_thread::sleep_for(kPeersSleepAfter);
      next();
    }
    return time(next, calls);
  };
  const Call beside = c.beside ? c.beside() : Call([] {});
  std::vector<double> seconds, reference_seconds, over_beside;
  const std::size_t fewest = c.beside ? 5 : 3;
  constexpr std::size_t kMost = 301;
  while (seconds.size() < fewest ||
         (seconds.size() < kMost && now(CLOCK_MONOTONIC) - begin < budget)) {
    reference_seconds.push_back(awake(reference.call, reference_calls));
    seconds.push_back(awake(call, sample.calls));
    if (c.beside) over_beside.push_back(seconds.back() / awake(beside, sample.calls) - 1);
  }
  const double one_call = median(seconds);
  Measurement result{.seconds = one_call / c.parts,
                     .rate = c.work / one_call / 1e9,
                     .yardstick = reference.name,
                     .yardstick_rate = reference.work / median(reference_seconds) / 1e9,
                     .extra_bytes = call.extra_bytes};
  if (c.beside) result.over_beside = median(over_beside);
  return result;
}

}  // namespace fovea::bench
