// Rows become lanes and lanes become rows.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

#ifdef FOVEA_ISA_ARCH

// Square blocks of 128-bit registers: 4×4 f32, 2×2 f64, 16×16 bytes. Wider registers gain nothing:
// their lanes of 128 bits would have to be put together first.
template <class T>
using Piece = xsimd::batch<T, xsimd::sse2>;

// A transpose is log2(n) perfect shuffles of n rows.
template <class T, int kRounds = sizeof(T) == 1   ? 4
                                 : sizeof(T) == 4 ? 2
                                                  : 1>
FOVEA_INLINE void transpose_block(const T* from, std::int64_t from_stride, T* to,
                                  std::int64_t to_stride) {
  constexpr int n = 1 << kRounds;
  Piece<T> rows[n];
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) rows[i] = Piece<T>::load_unaligned(from + i * from_stride);
#pragma GCC unroll 4
  for (int round = 0; round < kRounds; ++round) {
    Piece<T> next[n];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = xsimd::zip_lo(rows[i], rows[i + n / 2]);
      next[2 * i + 1] = xsimd::zip_hi(rows[i], rows[i + n / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) rows[i].store_unaligned(to + i * to_stride);
}

template <class T>
inline constexpr int kTransposeBlock = static_cast<int>(16 / sizeof(T));

#else

template <class T>
FOVEA_INLINE void transpose_block(const T* from, std::int64_t, T* to, std::int64_t) {
  *to = *from;
}
template <class T>
inline constexpr int kTransposeBlock = 1;

#endif

// to[j*to_stride + i] = from[i*from_stride + j], i < rows, j < columns.
template <class T>
void transpose(const T* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               T* to, std::int64_t to_stride) {
  constexpr int n = kTransposeBlock<T>;
  const std::int64_t whole_rows = rows - rows % n, whole_columns = columns - columns % n;
  const auto plain = [&](std::int64_t i, std::int64_t end, std::int64_t first_column) {
    for (; i < end; ++i) {
      for (std::int64_t j = first_column; j < columns; ++j)
        to[j * to_stride + i] = from[i * from_stride + j];
    }
  };
  const auto block = [&](std::int64_t i, std::int64_t j) {
    transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
  };
  // Rows that lie far apart may share a cache set, and are each left for good as soon as possible.
  if (from_stride > to_stride) {
    for (std::int64_t i = 0; i < whole_rows; i += n) {
      for (std::int64_t j = 0; j < whole_columns; j += n) block(i, j);
    }
  } else {
    for (std::int64_t j = 0; j < whole_columns; j += n) {
      for (std::int64_t i = 0; i < whole_rows; i += n) block(i, j);
    }
  }
  plain(0, whole_rows, whole_columns);
  plain(whole_rows, rows, 0);
}

// sums[i] = sum_lanes of the vector at rows + i*kLanes. May write up to the next multiple of a
// block.
template <class T>
void sum_rows(const T* rows, std::int64_t count, T* sums) {
#ifdef FOVEA_ISA_ARCH
  constexpr int n = kTransposeBlock<T>, kPieces = kLanes<T> / n;
  for (std::int64_t i = 0; i < count; i += n, rows += n * kLanes<T>) {
    alignas(16) T folded[n * n];
#pragma GCC unroll 4
    for (int r = 0; r < n; ++r) {
      Piece<T> pieces[kPieces];
#pragma GCC unroll 4
      for (int x = 0; x < kPieces; ++x)
        pieces[x] = Piece<T>::load_unaligned(rows + r * kLanes<T> + x * n);
      const Piece<T> sum = (pieces[0] + pieces[2]) + (pieces[1] + pieces[3]);
      sum.store_unaligned(folded + r * n);
    }
    alignas(16) T lanes[n * n];
    transpose_block(folded, n, lanes, n);
    Piece<T> columns[n];
#pragma GCC unroll 4
    for (int r = 0; r < n; ++r) columns[r] = Piece<T>::load_unaligned(lanes + r * n);
    Piece<T> sum = columns[0] + columns[n / 2];
    if constexpr (n == 4) sum = sum + (columns[1] + columns[3]);
    sum.store_unaligned(sums + i);
  }
#else
  for (std::int64_t i = 0; i < count; ++i) sums[i] = sum_lanes(load(rows + i * kLanes<T>));
#endif
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
