// What sizes are called that depend on dims without a size.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fovea/graph/model/instance.h"

namespace fovea::model {

/// Stand-ins for the open dims of a model, chosen twice. What differs between the two comes from
/// them, and from its two values it is told what it is called.
class OpenSizes {
 public:
  using Pair = std::array<std::int64_t, 2>;

  /// Nothing stands in when `dims` has no open ones; then both choices are `dims`.
  explicit OpenSizes(const DimValues& dims);

  const DimValues& choice(std::size_t i) const { return choices_[i]; }

  /// `64`, `length`, `3*width`, `length + 1`, `batch*heads`; `?` for anything else.
  std::string name_of(const Pair& values) const;

  /// A text that was made once for each choice, without their sizes: `n=5040` is `n`, 10080 is
  /// `2*n`.
  std::string text(const std::string& first, const std::string& second) const;

 private:
  struct Known {
    std::string name;
    Pair values;
  };
  std::string product(const Pair& values) const;

  std::vector<DimValues> choices_;
  std::vector<Known> known_;  // dims that differ
};

/// A text with every number taken out.
std::string without_numbers(const std::string& text);

}  // namespace fovea::model
