// Few rows of c. An element of b is needed only once for each, so that reading b is what takes the
// time.
//
// The sums of a tile's columns stay in cache, and rows of b are added to them a few at a time.
// Where b lies by columns, squares of it are transposed first, while later ones are on their way
// from memory: sums then run in the order of k, too, and have the same bits.
#pragma once

#include <type_traits>

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/gemm.h"
#include "fovea/ops/kernels/table.h"
#include "fovea/ops/kernels/transpose.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Rows that are multiplied at once, as far as their elements of a find room in registers.
#ifdef __AVX512F__
inline constexpr int kTogether = 3;
#else
inline constexpr int kTogether = 1;
#endif

// Side of a square.
template <class T>
inline constexpr std::int64_t kSquare = 4 * kLanes<T>;
static_assert(kSquare<float> * kSquare<float> <= kGemmSquare);

// Some columns of c and their sums: whole vectors.
template <class T>
struct FewRows {
  const GemmProblem<T>& p;
  std::int64_t row, rows, column, columns;
  T* sums;  // [rows][columns]

  void clear() const {
    for (std::int64_t j = 0; j < rows * columns; j += kLanes<T>) store(sums + j, broadcast(T(0)));
  }

  // c = (or +=) the sums of the block at k.
  void put(std::int64_t k) const {
    for (std::int64_t i = 0; i < rows; ++i) {
      const T* from = sums + i * columns;
      T* out = p.c.data + (row + i) * p.c.row + column;
      for (std::int64_t j = 0; j < columns; j += kLanes<T>)
        store(out + j, k == 0 ? load(from + j) : load(out + j) + load(from + j));
    }
  }

  // sums += Σ a(k) · b(k) over k in [begin, end), where row k of b is at b + (k − begin)*b_row.
  void add(std::int64_t begin, std::int64_t end, const T* b, std::int64_t b_row) const {
    std::int64_t k = begin;
    const auto step = [&](auto count) {
      for (; k + count() <= end; k += count(), b += count() * b_row)
        add_rows<kTogether, count()>(0, p.a.data + row * p.a.row + k * p.a.column, b, b_row);
    };
    step(std::integral_constant<int, 8>());
    step(std::integral_constant<int, 1>());
  }

  // The next kCount of k for rows [i, rows), kRows at once, so that they share the loads of b.
  template <int kRows, int kCount>
  FOVEA_INLINE void add_rows(std::int64_t i, const T* a, const T* b, std::int64_t b_row) const {
    for (; i + kRows <= rows; i += kRows) {
      Register<T> factors[kRows][kCount];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (int x = 0; x < kCount; ++x) {
          const T& factor = a[(i + r) * p.a.row + x * p.a.column];
          factors[r][x] = in_register(broadcast_register(factor));
        }
      }
      T* to = sums + i * columns;
      for (std::int64_t j = 0; j < columns; j += kLanes<T>)
        add_vector(factors, b + j, b_row, to + j);
    }
    if constexpr (kRows > 1) add_rows<kRows - 1, kCount>(i, a, b, b_row);
  }

  template <int kRows, int kCount>
  FOVEA_INLINE void add_vector(const Register<T> (&factors)[kRows][kCount], const T* b,
                               std::int64_t b_row, T* to) const {
    Vec<T> sum[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sum[r] = load(to + r * columns);
#pragma GCC unroll 16
    for (int x = 0; x < kCount; ++x) {
      const Vec<T> vector = load(b + x * b_row);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sum[r] = fma(factors[r][x], vector, sum[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) store(to + r * columns, sum[r]);
  }

  void times_rows() const {
    for (std::int64_t k = 0; k == 0 || k < p.k; k += kGemmDepth) {
      clear();
      add(k, smaller(k + kGemmDepth, p.k), p.b.data + k * p.b.row + column, p.b.row);
      put(k);
    }
  }

  // At most kSquare columns.
  void times_columns(T* square) const {
    for (std::int64_t k = 0; k == 0 || k < p.k; k += kGemmDepth) {
      clear();
      const std::int64_t end = smaller(k + kGemmDepth, p.k);
      for (std::int64_t i = k; i < end; i += kSquare<T>) {
        const std::int64_t depth = smaller(kSquare<T>, end - i);
        transpose_square(p.b.data + i + column * p.b.column, depth, square);
        add(i, i + depth, square, kSquare<T>);
      }
      put(k);
    }
  }

  // A band of rows at a time, while the same of the square after next is fetched.
  void transpose_square(const T* from, std::int64_t depth, T* square) const {
    constexpr std::int64_t kBand = 4, kAhead = 2 * kSquare<T>;
    for (std::int64_t j = 0; j < columns; j += kBand) {
      const T* band = from + j * p.b.column;
      for (std::int64_t i = 0; i < kBand; ++i) {
        for (std::int64_t l = 0; l < kSquare<T>; l += kLanes<T>)
          __builtin_prefetch(band + i * p.b.column + kAhead + l, 0, 2);
      }
      transpose(band, p.b.column, kBand, depth, square + j, kSquare<T>);
    }
  }
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
