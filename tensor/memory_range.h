// Where the elements of tensors lie, for finding out which of them share memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "fovea/tensor/tensor.h"

namespace fovea::detail {

/// From the first byte of the lowest element to behind the last one of the highest; empty, at no
/// address, without elements.
struct MemoryRange {
  std::intptr_t begin = 0, end = 0;
  bool written = false;  ///< for whoever compares many
};

MemoryRange memory_range(const Tensor& tensor);

/// Whether a range that is written meets another one. Sorts them: n log n.
bool written_ranges_meet(std::span<MemoryRange> ranges);

}  // namespace fovea::detail
