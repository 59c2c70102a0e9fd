// Half a virtual vector: 8 f32 or 4 f64 lanes, for the end of rows that does not need a whole one.
#pragma once

#include <type_traits>

#include "fovea/ops/kernels/multiply.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
inline constexpr int kHalfLanes = kLanes<T> / 2;

#ifdef __AVX512F__
template <class T>
using HalfRegister = xsimd::batch<T, xsimd::fma3<xsimd::avx2>>;
#else
template <class T>
using HalfRegister = Register<T>;
#endif

// Registers of half a vector.
template <class T>
inline constexpr int kHalfRegisters = static_cast<int>(32 / sizeof(HalfRegister<T>));

template <class T>
FOVEA_INLINE HalfRegister<T> load_half(const T* p) {
#ifdef __AVX512F__
  return HalfRegister<T>::load_unaligned(p);
#else
  return load_register(p);
#endif
}
template <class T>
FOVEA_INLINE void store_half(T* p, const HalfRegister<T>& x) {
#ifdef __AVX512F__
  x.store_unaligned(p);
#else
  store_register(p, x);
#endif
}
template <class T>
FOVEA_INLINE HalfRegister<T> fma_half(T a, const HalfRegister<T>& b, const HalfRegister<T>& c) {
#ifdef __AVX512F__
  return xsimd::fma(HalfRegister<T>(a), b, c);
#else
  return fma_register<T>(broadcast_register(a), b, c);
#endif
}

// c[m] += Σ_k a(m, k) · b[k] for kRows rows of `columns` ≤ kHalfLanes elements; rows of b have
// kHalfLanes.
template <int kRows, class T>
FOVEA_INLINE void multiply_half_tile(std::int64_t k, RowMajor<T> a, VectorRows<const T> b,
                                     VectorRows<T> c, std::int64_t columns) {
  constexpr int kLanesEach = kHalfLanes<T> / kHalfRegisters<T>;
  HalfRegister<T> sum[kRows][kHalfRegisters<T>];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kHalfRegisters<T>; ++x) sum[r][x] = HalfRegister<T>(T(0));
  }
  const T* row = b.data;
  for (std::int64_t i = 0; i < k; ++i, row += b.stride) {
    HalfRegister<T> vectors[kHalfRegisters<T>];
#pragma GCC unroll 8
    for (int x = 0; x < kHalfRegisters<T>; ++x) vectors[x] = load_half(row + x * kLanesEach);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int x = 0; x < kHalfRegisters<T>; ++x)
        sum[r][x] = fma_half(a.at(r, i), vectors[x], sum[r][x]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    T* out = c.data + r * c.stride;
    alignas(32) T lanes[kHalfLanes<T>];
    const bool whole = columns == kHalfLanes<T>;
#pragma GCC unroll 8
    for (int x = 0; x < kHalfRegisters<T>; ++x) {
      T* at = out + x * kLanesEach;
      if (whole) {
        store_half<T>(at, load_half(at) + sum[r][x]);
      } else {
        store_half<T>(lanes + x * kLanesEach, sum[r][x]);
      }
    }
    for (std::int64_t d = 0; !whole && d < columns; ++d) out[d] += lanes[d];
  }
}

// The same for any number of rows.
template <class T>
[[gnu::noinline]] void multiply_half(std::int64_t rows, std::int64_t k, RowMajor<T> a,
                                     VectorRows<const T> b, VectorRows<T> c, std::int64_t columns) {
  constexpr int kRows = kHalfRegisters<T> == 1 ? 8 : 2;  // chains enough to fill the multipliers
  const auto tiles = [&]<int n>(std::integral_constant<int, n>) {
    for (; rows >= n; rows -= n) {
      multiply_half_tile<n>(k, a, b, c, columns);
      a.skip(n);
      c.data += n * c.stride;
    }
  };
  tiles(std::integral_constant<int, kRows>());
  tiles(std::integral_constant<int, 1>());
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
