// The one matrix product of all kernels: a broadcast operand times vectors that lie as rows.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// A tile of kTileRows × kTileVectors accumulators, about three quarters of the registers. Its shape
// does not change results: each element is a chain of its own.
#ifdef __AVX512F__
inline constexpr int kTileRows = 8, kTileVectors = 2;
#elif defined(__AVX2__)
inline constexpr int kTileRows = 6, kTileVectors = 1;
#else
inline constexpr int kTileRows = 3, kTileVectors = 1;
#endif

// The operand that is broadcast: element (m, k) is data[m*stride + k], or data[k*stride + m] if by
// columns.
template <class T>
struct RowMajor {
  const T* data;
  std::int64_t stride;
  FOVEA_INLINE const T& at(std::int64_t m, std::int64_t k) const { return data[m * stride + k]; }
};
template <class T>
struct ColumnMajor {
  const T* data;
  std::int64_t stride;
  FOVEA_INLINE const T& at(std::int64_t m, std::int64_t k) const { return data[k * stride + m]; }
};

// Rows of vectors: row i starts at data + i*stride.
template <class T>
struct VectorRows {
  T* data;
  std::int64_t stride;
};

enum class Store { assign, add };

template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void multiply_tile(std::int64_t m, std::int64_t k, const A& a, VectorRows<const T> b,
                                VectorRows<T> c, Store mode) {
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = broadcast(T(0));
  }
  const T* row = b.data;
  for (std::int64_t i = 0; i < k; ++i, row += b.stride) {
    Vec<T> vectors[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vectors[v] = load(row + v * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Register<T> factor = broadcast_register(a.at(m + r, i));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(factor, vectors[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      T* out = c.data + (m + r) * c.stride + v * kLanes<T>;
      store(out, mode == Store::add ? load(out) + sum[r][v] : sum[r][v]);
    }
  }
}

// Rows [m, rows) in tiles of kRows, the rest in smaller ones.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void multiply_rows(std::int64_t m, std::int64_t rows, std::int64_t k, const A& a,
                                VectorRows<const T> b, VectorRows<T> c, Store mode) {
  for (; m + kRows <= rows; m += kRows) multiply_tile<kRows, kVectors, T>(m, k, a, b, c, mode);
  if constexpr (kRows > 1) {
    constexpr int kFewer = kRows > 4 ? 4 : (kRows + 1) / 2;
    if (m < rows) multiply_rows<kFewer, kVectors, T>(m, rows, k, a, b, c, mode);
  }
}

// c[m] = (or +=) Σ_k a(m, k) · b[k] for `rows` rows of `vectors` vectors. The sum runs from zero in
// the order of k and is then added, so that long sums are sums of short ones.
template <class T, template <class> class Operand>
[[gnu::noinline]] void multiply(std::int64_t rows, std::int64_t vectors, std::int64_t k,
                                Operand<T> a, VectorRows<const T> b, VectorRows<T> c, Store mode) {
  std::int64_t v = 0;
  const auto at = [&v](auto operand) {
    operand.data += v * kLanes<T>;
    return operand;
  };
  for (; v + kTileVectors <= vectors; v += kTileVectors) {
    multiply_rows<kTileRows, kTileVectors, T>(0, rows, k, a, at(b), at(c), mode);
  }
  if constexpr (kTileVectors > 1) {
    for (; v < vectors; ++v) multiply_rows<kTileRows, 1, T>(0, rows, k, a, at(b), at(c), mode);
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
