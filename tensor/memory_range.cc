#include "fovea/tensor/memory_range.h"

namespace fovea::detail {

MemoryRange memory_range(const Tensor& tensor) {
  if (!tensor || tensor.numel() == 0) return {};
  std::int64_t low = 0, high = 0;
  for (std::int64_t axis = 0; axis < tensor.rank(); ++axis) {
    const std::int64_t reach =
        (tensor.shape()[axis] - 1) * tensor.strides()[static_cast<std::size_t>(axis)];
    (reach < 0 ? low : high) += reach;
  }
  const auto size = static_cast<std::int64_t>(size_of(tensor.dtype()));
  const auto base = reinterpret_cast<std::intptr_t>(tensor.raw());
  return {base + low * size, base + (high + 1) * size};
}

bool written_ranges_meet(std::span<MemoryRange> ranges) {
  std::ranges::sort(ranges, {}, &MemoryRange::begin);
  std::intptr_t end = 0, end_of_written = 0;  // of the ranges before
  for (const MemoryRange& range : ranges) {
    if (range.begin == range.end) continue;
    if (range.begin < (range.written ? end : end_of_written)) return true;
    end = std::max(end, range.end);
    if (range.written) end_of_written = std::max(end_of_written, range.end);
  }
  return false;
}

}  // namespace fovea::detail
