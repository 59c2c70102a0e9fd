// The comparisons for one input, and what they say together. Internal to the gradient checker.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/oracles.h"

namespace fovea {

/// A point in time after which no comparison is begun.
class Deadline {
 public:
  explicit Deadline(double seconds);
  bool passed() const { return std::chrono::steady_clock::now() >= at_; }
  /// That of one of `parts` equal parts of the time that is left.
  Deadline share(std::size_t parts) const;

 private:
  std::chrono::steady_clock::time_point at_;
};

/// All comparisons of wrt[k] with `gradient`. The row's names are the caller's.
GradientRow check_input(Oracles& oracles, std::size_t k, const Bounded& gradient,
                        const GradcheckOptions& options, const Deadline& deadline);

}  // namespace fovea
