// Rows become lanes and lanes become rows.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

#ifdef FOVEA_ISA_ARCH

template <class T>
using Piece = xsimd::batch<T, xsimd::sse2>;

template <class T>
FOVEA_INLINE Piece<T> zip_low(const Piece<T>& a, const Piece<T>& b) {
  return xsimd::zip_lo(a, b);
}
template <class T>
FOVEA_INLINE Piece<T> zip_high(const Piece<T>& a, const Piece<T>& b) {
  return xsimd::zip_hi(a, b);
}

// Each 128 bits of n rows hold n elements of each: a square, which becomes its transpose by log2(n)
// perfect shuffles of the rows.
template <class R, int n>
FOVEA_INLINE void shuffle_rows(R (&rows)[n]) {
#pragma GCC unroll 4
  for (int round = 1; round < n; round *= 2) {
    R next[n];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = zip_low(rows[i], rows[i + n / 2]);
      next[2 * i + 1] = zip_high(rows[i], rows[i + n / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
}

// Square blocks of 128-bit registers: 4×4 f32, 2×2 f64, 16×16 bytes.
template <class T>
FOVEA_INLINE void transpose_block(const T* from, std::int64_t from_stride, T* to,
                                  std::int64_t to_stride) {
  constexpr int n = 16 / sizeof(T);
  Piece<T> rows[n];
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) rows[i] = Piece<T>::load_unaligned(from + i * from_stride);
  shuffle_rows(rows);
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

#ifdef __AVX2__

// Square blocks of whole registers, where they are wider: each 128 bits apart as above, then these
// as elements of a square.
template <class T>
FOVEA_INLINE void transpose_wide(const T* from, std::int64_t from_stride, T* to,
                                 std::int64_t to_stride) {
  constexpr int n = kTransposeBlock<T>, kParts = kRegisterLanes<T> / n;
  Register<T> rows[kParts][n];
#pragma GCC unroll 4
  for (int q = 0; q < kParts; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) rows[q][i] = load_register(from + (q * n + i) * from_stride);
    shuffle_rows(rows[q]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    const Register<T> even = even_parts(rows[0][i], rows[1][i]);
    const Register<T> odd = odd_parts(rows[0][i], rows[1][i]);
    if constexpr (kParts == 2) {
      store_register(to + i * to_stride, even);
      store_register(to + (n + i) * to_stride, odd);
    } else {
      const Register<T> even2 = even_parts(rows[2][i], rows[3][i]);
      const Register<T> odd2 = odd_parts(rows[2][i], rows[3][i]);
      store_register(to + i * to_stride, even_parts(even, even2));
      store_register(to + (n + i) * to_stride, even_parts(odd, odd2));
      store_register(to + (2 * n + i) * to_stride, odd_parts(even, even2));
      store_register(to + (3 * n + i) * to_stride, odd_parts(odd, odd2));
    }
  }
}

#endif

#ifdef __AVX512F__

// Four blocks of 16×16 bytes side by side.
FOVEA_INLINE void transpose_wide(const std::uint8_t* from, std::int64_t from_stride,
                                 std::uint8_t* to, std::int64_t to_stride) {
  Register<std::uint8_t> rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    rows[i] = Register<std::uint8_t>::load_unaligned(from + i * from_stride);
  shuffle_rows(rows);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i, to += to_stride) {
    store_part<0>(to, rows[i]);
    store_part<1>(to + 16 * to_stride, rows[i]);
    store_part<2>(to + 32 * to_stride, rows[i]);
    store_part<3>(to + 48 * to_stride, rows[i]);
  }
}

#endif

// The blocks that transpose_wide takes; no rows: none.
struct BlockShape {
  int rows, columns;
};
#ifdef __AVX2__
template <class T>
inline constexpr BlockShape kWide = {kRegisterLanes<T>, kRegisterLanes<T>};
template <>
inline constexpr BlockShape kWide<std::uint8_t> = {sizeof(Register<std::uint8_t>) == 64 ? 16 : 0,
                                                   64};
#else
template <class T>
inline constexpr BlockShape kWide = {0, 0};
#endif

// block(i, j) for the blocks of kRows × kColumns that lie wholly in rows [first_row, rows) and
// columns [first_column, columns). Rows that lie far apart may share a cache set, and are each left
// for good as soon as possible.
template <int kRows, int kColumns, class Block>
FOVEA_INLINE void each_block(std::int64_t first_row, std::int64_t rows, std::int64_t first_column,
                             std::int64_t columns, bool by_rows, const Block& block) {
  if (by_rows) {
    for (std::int64_t i = first_row; i + kRows <= rows; i += kRows) {
      for (std::int64_t j = first_column; j + kColumns <= columns; j += kColumns) block(i, j);
    }
  } else {
    for (std::int64_t j = first_column; j + kColumns <= columns; j += kColumns) {
      for (std::int64_t i = first_row; i + kRows <= rows; i += kRows) block(i, j);
    }
  }
}

// to[j*to_stride + i] = from[i*from_stride + j], i < rows, j < columns.
template <class T>
void transpose(const T* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               T* to, std::int64_t to_stride) {
  constexpr int n = kTransposeBlock<T>;
  const bool by_rows = from_stride > to_stride;
  std::int64_t wide_rows = 0, wide_columns = 0;  // done in wide blocks
  if constexpr (kWide<T>.rows > 0) {
    each_block<kWide<T>.rows, kWide<T>.columns>(
        0, rows, 0, columns, by_rows, [&](std::int64_t i, std::int64_t j) {
          transpose_wide(from + i * from_stride + j, from_stride, to + j * to_stride + i,
                         to_stride);
        });
    wide_rows = rows - rows % kWide<T>.rows, wide_columns = columns - columns % kWide<T>.columns;
  }
  const auto block = [&](std::int64_t i, std::int64_t j) {
    transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
  };
  each_block<n, n>(0, wide_rows, wide_columns, columns, by_rows, block);
  each_block<n, n>(wide_rows, rows, 0, columns, by_rows, block);
  const auto plain = [&](std::int64_t i, std::int64_t end, std::int64_t first_column) {
    for (; i < end; ++i) {
      for (std::int64_t j = first_column; j < columns; ++j)
        to[j * to_stride + i] = from[i * from_stride + j];
    }
  };
  const std::int64_t whole_rows = rows - rows % n, whole_columns = columns - columns % n;
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
