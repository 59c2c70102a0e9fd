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
  FOVEA_INLINE void skip(std::int64_t rows) { data += rows * stride; }
};
template <class T>
struct ColumnMajor {
  const T* data;
  std::int64_t stride;
  FOVEA_INLINE const T& at(std::int64_t m, std::int64_t k) const { return data[k * stride + m]; }
  FOVEA_INLINE void skip(std::int64_t rows) { data += rows; }
};

// Rows of vectors: row i starts at data + i*stride.
template <class T>
struct VectorRows {
  T* data;
  std::int64_t stride;
};

enum class Store { assign, add };

// The next row. The compiler is not to know that rows lie evenly: it would keep the distance to
// each one in a register, spill those to vector registers, and wait for them behind the products.
template <class T>
FOVEA_INLINE T* next_row(T* row, std::int64_t stride) {
  row += stride;
  asm("" : "+r"(row));
  return row;
}

// What becomes of a tile of finished sums: the next rows, of vectors v, v + 1, …
template <class T>
struct StoreRows {
  VectorRows<T> c;
  Store mode;

  // What the sums will be added to.
  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t v) const {
    if (mode == Store::assign) return;
    const T* row = c.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, c.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) __builtin_prefetch(row + x * kLanes<T>, 1);
    }
  }
  FOVEA_INLINE void skip(std::int64_t rows) { c.data += rows * c.stride; }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    T* row = c.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, c.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) {
        T* out = row + x * kLanes<T>;
        store(out, mode == Store::add ? load(out) + sum[r][x] : sum[r][x]);
      }
    }
  }
};

// at[lane] = f(sum, at[lane]) over all rows, lane by lane.
template <class T, int kRows, int kVectors, class F>
FOVEA_INLINE void track(T* at, std::int64_t v, const Vec<T> (&sum)[kRows][kVectors], const F& f) {
#pragma GCC unroll 4
  for (int x = 0; x < kVectors; ++x) {
    T* lanes = at + (v + x) * kLanes<T>;
    Vec<T> extreme = load(lanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) extreme = f(sum[r][x], extreme);
    store(lanes, extreme);
  }
}

// Stores them and keeps, for each lane, the extremes over all rows; what is NaN does not count.
template <class T>
struct StoreAndTrack {
  VectorRows<T> c;
  T *lowest, *highest;  // [vectors] of lanes; the lowest may be null

  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t) const {}

  FOVEA_INLINE void skip(std::int64_t rows) { c.data += rows * c.stride; }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    T* row = c.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, c.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) store(row + x * kLanes<T>, sum[r][x]);
    }
    if (lowest) track(lowest, v, sum, [](const Vec<T>& a, const Vec<T>& b) { return min(a, b); });
    track(highest, v, sum, [](const Vec<T>& a, const Vec<T>& b) { return max(a, b); });
  }
};

template <int kRows, int kVectors, class T, class A, class Out>
FOVEA_INLINE void multiply_tile(std::int64_t v, std::int64_t k, const A& a, VectorRows<const T> b,
                                const Out& out) {
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int x = 0; x < kVectors; ++x) sum[r][x] = broadcast(T(0));
  }
  out.template prefetch<kRows, kVectors>(v);
  const T* row = b.data + v * kLanes<T>;
  for (std::int64_t i = 0; i < k; ++i, row += b.stride) {
    Vec<T> vectors[kVectors];
#pragma GCC unroll 4
    for (int x = 0; x < kVectors; ++x) vectors[x] = load(row + x * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Register<T> factor = broadcast_register(a.at(r, i));
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) sum[r][x] = fma(factor, vectors[x], sum[r][x]);
    }
  }
  out.put(v, sum);
}

// The next `rows` rows in tiles of kRows, the rest in smaller ones. (Operands move on with the
// tiles: the distances between a tile's rows are then the same for all of them.)
template <int kRows, int kVectors, class T, class A, class Out>
FOVEA_INLINE void multiply_rows(std::int64_t rows, std::int64_t v, std::int64_t k, A a,
                                VectorRows<const T> b, Out out) {
  for (; rows >= kRows; rows -= kRows) {
    multiply_tile<kRows, kVectors, T>(v, k, a, b, out);
    a.skip(kRows);
    out.skip(kRows);
  }
  if constexpr (kRows > 1) {
    constexpr int kFewer = kRows > 4 ? 4 : (kRows + 1) / 2;
    if (rows > 0) multiply_rows<kFewer, kVectors, T>(rows, v, k, a, b, out);
  }
}

// out.put(v, Σ_k a(m, k) · b[k]) for `rows` rows of `vectors` vectors, in tiles. Each sum runs from
// zero in the order of k.
template <class T, template <class> class Operand, class Out>
[[gnu::noinline]] void multiply_into(const Out& out, std::int64_t rows, std::int64_t vectors,
                                     std::int64_t k, Operand<T> a, VectorRows<const T> b) {
  std::int64_t v = 0;
  for (; v + kTileVectors <= vectors; v += kTileVectors)
    multiply_rows<kTileRows, kTileVectors, T>(rows, v, k, a, b, out);
  if constexpr (kTileVectors > 1) {
    for (; v < vectors; ++v) multiply_rows<kTileRows, 1, T>(rows, v, k, a, b, out);
  }
}

// c[m] = (or +=) Σ_k a(m, k) · b[k]. The sum is added when it is complete, so that long sums are
// sums of short ones.
template <class T, template <class> class Operand>
void multiply(std::int64_t rows, std::int64_t vectors, std::int64_t k, Operand<T> a,
              VectorRows<const T> b, VectorRows<T> c, Store mode) {
  multiply_into<T>(StoreRows<T>{c, mode}, rows, vectors, k, a, b);
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
