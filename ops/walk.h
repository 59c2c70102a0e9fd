// Several strided tensors of one shape, walked together; for the sources of ops. Allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fovea/ops/row_view.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// The positions of a shape in row-major order, and where N operands have each. Axes that every
/// operand walks as one are merged.
template <std::size_t N>
class Walk {
 public:
  using Offsets = std::array<std::int64_t, N>;

  /// Of `shape` without the axes in `left_out`; `strides` are over all axes.
  Walk(const Shape& shape, const std::array<std::span<const std::int64_t>, N>& strides,
       AxisMask left_out = 0) {
    for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == 1 || contains(left_out, axis)) continue;
      Axis next{shape[axis], {}};
      for (std::size_t k = 0; k < N; ++k)
        next.steps[k] = strides[k][static_cast<std::size_t>(axis)];
      append(next);
    }
  }

  std::int64_t positions() const { return positions_; }
  /// Elements between neighbours of a run in operand `k`.
  std::int64_t step(std::size_t k) const { return count_ == 0 ? 0 : axes_[count_ - 1].steps[k]; }

  /// Calls run(offsets, n) for the positions [begin, end), n neighbours at a time.
  template <class Run>
  void visit(std::int64_t begin, std::int64_t end, const Run& run) const {
    const std::int64_t inner = count_ == 0 ? 1 : axes_[count_ - 1].extent;
    while (begin < end) {
      std::int64_t rest = begin / inner;
      const std::int64_t first = begin % inner, n = std::min(end - begin, inner - first);
      Offsets offsets{};
      for (std::size_t k = 0; k < N; ++k) offsets[k] = first * step(k);
      for (std::size_t axis = count_; axis-- > 1;) {
        const Axis& outer = axes_[axis - 1];
        const std::int64_t at = rest % outer.extent;
        for (std::size_t k = 0; k < N; ++k) offsets[k] += at * outer.steps[k];
        rest /= outer.extent;
      }
      run(offsets, n);
      begin += n;
    }
  }

 private:
  struct Axis {
    std::int64_t extent;
    Offsets steps;
  };

  void append(const Axis& next) {
    positions_ *= next.extent;
    bool merges = count_ > 0;
    for (std::size_t k = 0; merges && k < N; ++k) {
      merges = axes_[count_ - 1].steps[k] == next.steps[k] * next.extent;
    }
    if (!merges) {
      axes_[count_++] = next;
    } else {
      axes_[count_ - 1] = {axes_[count_ - 1].extent * next.extent, next.steps};
    }
  }

  std::array<Axis, kMostAxes> axes_;
  std::size_t count_ = 0;
  std::int64_t positions_ = 1;
};

}  // namespace fovea
