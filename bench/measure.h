// How a case is measured.
//
// Machines are shared: each sample of a call stands beside one of its yardstick, many short pairs
// are taken, and medians are compared. One thread is timed by its own CPU time, in which waiting
// for a busy machine does not count; several by the clock. Threads are bound to CPUs. Those of
// other libraries look for work long after a call: they are given time to fall asleep.
#pragma once

#include <optional>

#include "bench/case.h"
#include "fovea/ops/kernels/kernels.h"

namespace fovea::bench {

struct Configuration {
  kernels::Isa isa;
  int threads = 1;
};

struct Measurement {
  double seconds = 0;         ///< of one call, or each part of it
  double rate = 0;            ///< 1e9 work per second
  std::string yardstick;      ///< what it is compared with
  double yardstick_rate = 0;  ///< in the same unit
  std::size_t extra_bytes = 0;
  std::optional<double> over_beside = {};  ///< time over that of `Case::beside`, less 1
  double fraction() const { return rate / yardstick_rate; }
};

/// Makes loops use `threads` threads, this one among them, each bound to a CPU of its own as far as
/// there are.
void bind_threads(int threads);

/// Takes about `budget` seconds. Uses the instruction set and threads that are set.
Measurement measure(const Case& c, const Configuration& configuration, double budget);

}  // namespace fovea::bench
