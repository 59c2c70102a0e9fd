// Walking over strided memory, for the project's own sources.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "fovea/tensor/shape.h"

namespace fovea {

namespace detail {

// Extent of the innermost axis; 1 at rank 0.
inline std::int64_t row_length(const Shape& shape) {
  return shape.rank() == 0 ? 1 : shape[-1].value();
}

// Calls visit(offsets, n) for the innermost rows [first, last), in row-major order; offsets of N
// operands that share `shape`.
template <std::size_t N, class Visit>
void visit_rows(const Shape& shape, const std::array<const std::vector<std::int64_t>*, N>& strides,
                std::int64_t first, std::int64_t last, const Visit& visit) {
  if (first >= last) return;
  std::array<std::int64_t, N> offsets{};
  const std::int64_t rank = shape.rank();
  if (rank == 0) return visit(offsets, std::int64_t{1});
  const std::int64_t n = shape[rank - 1];
  // Positions on the outer axes; on the stack for ordinary ranks, as copies must not allocate.
  std::array<std::int64_t, 8> few{};
  std::vector<std::int64_t> many;
  if (rank > 8) many.resize(static_cast<std::size_t>(rank));
  const std::span<std::int64_t> index = rank > 8 ? std::span(many) : std::span<std::int64_t>(few);
  std::int64_t position = first;
  for (std::int64_t axis = rank - 1; axis-- > 0; position /= shape[axis]) {
    const auto a = static_cast<std::size_t>(axis);
    index[a] = position % shape[axis];
    for (std::size_t k = 0; k < N; ++k) offsets[k] += index[a] * (*strides[k])[a];
  }
  for (std::int64_t row = first; row < last; ++row) {
    visit(offsets, n);
    std::int64_t axis = rank - 1;
    while (axis-- > 0) {
      const auto a = static_cast<std::size_t>(axis);
      const bool carry = ++index[a] == shape[axis];
      const std::int64_t steps = carry ? 1 - shape[axis] : 1;
      for (std::size_t k = 0; k < N; ++k) offsets[k] += steps * (*strides[k])[a];
      if (!carry) break;
      index[a] = 0;
    }
  }
}

template <std::size_t N, class Visit>
void visit_rows(const Shape& shape, const std::array<const std::vector<std::int64_t>*, N>& strides,
                const Visit& visit) {
  if (shape.numel() == 0) return;
  visit_rows<N>(shape, strides, 0, shape.numel() / row_length(shape), visit);
}

}  // namespace detail

/// Calls `f(offset, n, stride)` for each innermost row in row-major order.
template <class F>
void for_each_row(const Shape& shape, const std::vector<std::int64_t>& strides, const F& f) {
  const std::int64_t stride = strides.empty() ? 1 : strides.back();
  detail::visit_rows<1>(shape, {&strides},
                        [&](const auto& offsets, std::int64_t n) { f(offsets[0], n, stride); });
}

/// The same for two operands of one shape: `f(offset_a, offset_b, n, stride_a, stride_b)`.
template <class F>
void for_each_row(const Shape& shape, const std::vector<std::int64_t>& a,
                  const std::vector<std::int64_t>& b, const F& f) {
  const std::int64_t stride_a = a.empty() ? 1 : a.back(), stride_b = b.empty() ? 1 : b.back();
  detail::visit_rows<2>(shape, {&a, &b}, [&](const auto& offsets, std::int64_t n) {
    f(offsets[0], offsets[1], n, stride_a, stride_b);
  });
}

/// What `start:end:step` means on an axis: first position and number of positions, clipped as in
/// Python.
struct SliceRange {
  std::int64_t start = 0, count = 0;
};
SliceRange slice_range(std::string_view where, std::int64_t extent,
                       std::optional<std::int64_t> start, std::optional<std::int64_t> end,
                       std::int64_t step);

}  // namespace fovea
