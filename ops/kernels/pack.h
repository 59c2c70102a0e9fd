// Copies of matrix blocks, laid out as the product reads them.
#pragma once

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Four numbers side by side; the compiler makes of it what the instruction set has.
template <class T>
struct Quad {
  using Type [[gnu::vector_size(4 * sizeof(T)), gnu::aligned(sizeof(T)), gnu::may_alias]] = T;
};

// to[j*to_stride + i] = from[i*from_stride + j] for a block of 4 × 4.
template <class T>
FOVEA_INLINE void transpose_quad(const T* from, std::int64_t from_stride, T* to,
                                 std::int64_t to_stride) {
  using Q = typename Quad<T>::Type;
  const Q a = *reinterpret_cast<const Q*>(from);
  const Q b = *reinterpret_cast<const Q*>(from + from_stride);
  const Q c = *reinterpret_cast<const Q*>(from + 2 * from_stride);
  const Q d = *reinterpret_cast<const Q*>(from + 3 * from_stride);
  const Q ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Q ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Q cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Q cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *reinterpret_cast<Q*>(to) = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  *reinterpret_cast<Q*>(to + to_stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  *reinterpret_cast<Q*>(to + 2 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  *reinterpret_cast<Q*>(to + 3 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

// to[i*stride + j] = from(i, j), where `from` is contiguous along i.
template <class T>
void pack_transposed(const T* from, std::int64_t column, std::int64_t rows, std::int64_t columns,
                     T* to, std::int64_t stride) {
  const std::int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (std::int64_t i = 0; i < whole_rows; i += 4) {
    for (std::int64_t j = 0; j < whole_columns; j += 4)
      transpose_quad(from + j * column + i, column, to + i * stride + j, stride);
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      to[i * stride + j] = from[j * column + i];
  }
}

// to[i*stride + j] = from[i*row + j*column], rows × columns, whatever the strides.
template <class T>
void pack(const T* from, std::int64_t row, std::int64_t column, std::int64_t rows,
          std::int64_t columns, T* to, std::int64_t stride) {
  if (row == 1 && column != 1) {
    return pack_transposed(from, column, rows, columns, to, stride);
  }
  for (std::int64_t i = 0; i < rows; ++i, from += row, to += stride) {
    if (column != 1) {
      for (std::int64_t j = 0; j < columns; ++j) to[j] = from[j * column];
      continue;
    }
    std::int64_t j = 0;
    for (; j + kLanes<T> <= columns; j += kLanes<T>) store(to + j, load(from + j));
    for (; j < columns; ++j) to[j] = from[j];
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
