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

// Side of a square.
template <class T>
inline constexpr std::int64_t kSquare = 4 * kLanes<T>;

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
      for (; k + count() <= end; k += count(), b += count() * b_row) {
        const T* a = p.a.data + row * p.a.row + k * p.a.column;
        for (std::int64_t i = 0; i < rows; ++i)
          add_rows<count()>(a + i * p.a.row, b, b_row, sums + i * columns);
      }
    };
    step(std::integral_constant<int, 8>());
    step(std::integral_constant<int, 1>());
  }

  // The next kCount of k, for one row.
  template <int kCount>
  FOVEA_INLINE void add_rows(const T* a, const T* b, std::int64_t b_row, T* to) const {
    Register<T> factors[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i)
      factors[i] = in_register(broadcast_register(a[i * p.a.column]));
    for (std::int64_t j = 0; j < columns; j += kLanes<T>) {
      Vec<T> sum = load(to + j);
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) sum = fma(factors[i], load(b + i * b_row + j), sum);
      store(to + j, sum);
    }
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
