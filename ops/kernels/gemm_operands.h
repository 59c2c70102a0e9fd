// How products read their operands: b as vectors, a as factors that are broadcast.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// The tile of sums: most of the registers.
#ifdef __AVX512F__
inline constexpr int kRowsOfSums = 8, kVectorsOfSums = 3;
#elif defined(__AVX2__)
inline constexpr int kRowsOfSums = 6, kVectorsOfSums = 1;
#else
inline constexpr int kRowsOfSums = 3, kVectorsOfSums = 1;
#endif

// One block of b: panel p, kGemmPanel columns (a virtual vector) wide, begins at data + p*panel;
// its rows are `row` apart.
template <class T>
struct Panels {
  const T* data;
  std::int64_t row, panel;
};

// Blocks of a, read by cursors that walk along k, kRows rows at once.
//
// Rows in memory: while some are read, the next ones are asked for, unless they are near.
template <class T>
struct Rows {
  const T* data;
  std::int64_t stride;
  bool near;

  FOVEA_INLINE bool is_near() const { return near; }

  // One pointer for every three rows: the compiler would keep the distance to each row in a
  // register, spill those to vector registers, and wait for them behind the products.
  template <int kRows>
  struct Cursor {
    static constexpr int kGroup = 3, kGroups = (kRows + kGroup - 1) / kGroup;
    const T* group[kGroups];
    std::int64_t stride;

    FOVEA_INLINE T at(int r) const { return group[r / kGroup][r % kGroup * stride]; }
    FOVEA_INLINE void next() {
#pragma GCC unroll 16
      for (const T*& p : group) {
        ++p;
        asm("" : "+r"(p));
      }
    }
    FOVEA_INLINE void prefetch_next() const {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r)
        __builtin_prefetch(group[r / kGroup] + (kRows + r % kGroup) * stride, 0, 2);
    }
  };

  template <int kRows>
  FOVEA_INLINE Cursor<kRows> cursor(std::int64_t m) const {
    Cursor<kRows> c;
    c.stride = stride;
#pragma GCC unroll 16
    for (int g = 0; g < Cursor<kRows>::kGroups; ++g)
      c.group[g] = data + (m + g * c.kGroup) * stride;
    return c;
  }
};

// Panels of kRowsOfSums rows by columns, `panel` apart, whose columns are `column` apart.
template <class T>
struct Columns {
  const T* data;
  std::int64_t panel, column;

  FOVEA_INLINE bool is_near() const { return true; }

  template <int kRows>
  struct Cursor {
    const T* data;
    std::int64_t column;

    FOVEA_INLINE T at(int r) const { return data[r]; }
    FOVEA_INLINE void next() { data += column; }
    FOVEA_INLINE void prefetch_next() const {}
  };

  template <int kRows>
  FOVEA_INLINE Cursor<kRows> cursor(std::int64_t m) const {
    return {data + m / kRowsOfSums * panel + m % kRowsOfSums, column};
  }
};

// sum[r][v] += a(r) · b(v).
template <int kRows, int kVectors, class T, class Cursor>
FOVEA_INLINE void multiply_add(Vec<T> (&sum)[kRows][kVectors], const Cursor& a,
                               const Vec<T> (&b)[kVectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const Register<T> factor = in_register(broadcast_register(a.at(r)));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(factor, b[v], sum[r][v]);
  }
}

// sum[r][v] += Σ a(r, k) · b(k, v) over the next `steps` of k.
template <int kRows, int kVectors, class T, class Cursor>
FOVEA_INLINE void accumulate(Vec<T> (&sum)[kRows][kVectors], std::int64_t steps, Cursor& a,
                             const Panels<T>& b, const T*& from_b) {
  const std::int64_t panel = b.panel, b_row = b.row;
  for (; steps > 0; --steps, a.next(), from_b += b_row) {
    Vec<T> vectors[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vectors[v] = load(from_b + v * panel);
    multiply_add(sum, a, vectors);
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
