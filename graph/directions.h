// Which directions of an input are compared. Internal to the gradient checker.
#pragma once

#include <cstdint>
#include <vector>

#include "fovea/graph/loss.h"

namespace fovea {

/// What one input looks like to the checker.
struct InputView {
  std::size_t k = 0;  ///< its number, for random streams
  Tensor value, gradient;
  std::uint64_t seed = 0;

  /// Elements that are not finite stay where they are.
  bool movable(std::int64_t i) const;
};

/// A normal direction through all elements.
Direction normal_direction(const InputView& x, std::int64_t number);
/// Through single rows, the first and last slice of each axis, and along the gradient.
std::vector<Direction> structured_directions(const InputView& x);
/// A part of a direction: elements [begin, end).
Direction part_of(const InputView& x, std::int64_t begin, std::int64_t end);
/// Flat indices, in the order in which they are compared: if that must end early, they are spread
/// over the input.
std::vector<std::int64_t> chosen_elements(const InputView& x, std::int64_t full_up_to,
                                          std::int64_t sampled);

}  // namespace fovea
