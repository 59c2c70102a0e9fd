// Runs that do not fill a virtual vector.
#pragma once

#include <type_traits>

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

#ifdef __AVX2__

// The first n lanes of a register: loads and stores touch no memory of others. (xsimd has none.)
template <class T>
struct FirstLanes {
#ifdef __AVX512F__
  using Bits = std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8>;
  FOVEA_INLINE explicit FirstLanes(std::int64_t n)
      : lanes(static_cast<Bits>(n >= kRegisterLanes<T> ? ~0u
                                : n <= 0               ? 0u
                                                       : (1u << n) - 1)) {}
  Bits lanes;
#else
  FOVEA_INLINE explicit FirstLanes(std::int64_t n) {
    const auto lane = [](auto i) { return static_cast<typename FloatBits<T>::Int>(i); };
    const auto most = lane(n);
    if constexpr (sizeof(T) == 4) {
      lanes =
          _mm256_cmpgt_epi32(_mm256_set1_epi32(most), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    } else {
      lanes = _mm256_cmpgt_epi64(_mm256_set1_epi64x(most), _mm256_setr_epi64x(0, 1, 2, 3));
    }
  }
  __m256i lanes;
#endif
};

FOVEA_INLINE Register<float> load_first(const float* x, FirstLanes<float> m, Register<float> rest) {
#ifdef __AVX512F__
  return _mm512_mask_loadu_ps(rest, m.lanes, x);
#else
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(x, m.lanes), _mm256_castsi256_ps(m.lanes));
#endif
}
FOVEA_INLINE Register<double> load_first(const double* x, FirstLanes<double> m,
                                         Register<double> rest) {
#ifdef __AVX512F__
  return _mm512_mask_loadu_pd(rest, m.lanes, x);
#else
  return _mm256_blendv_pd(rest, _mm256_maskload_pd(x, m.lanes), _mm256_castsi256_pd(m.lanes));
#endif
}
FOVEA_INLINE void store_first(float* y, FirstLanes<float> m, Register<float> value) {
#ifdef __AVX512F__
  _mm512_mask_storeu_ps(y, m.lanes, value);
#else
  _mm256_maskstore_ps(y, m.lanes, value);
#endif
}
FOVEA_INLINE void store_first(double* y, FirstLanes<double> m, Register<double> value) {
#ifdef __AVX512F__
  _mm512_mask_storeu_pd(y, m.lanes, value);
#else
  _mm256_maskstore_pd(y, m.lanes, value);
#endif
}

#endif

// x[0 … n), and `rest` in the lanes beyond.
template <class T>
FOVEA_INLINE Vec<T> load_some(const T* x, std::int64_t n, T rest = T(0)) {
  if (n >= kLanes<T>) return load(x);
#ifdef __AVX2__
  return each_register<Vec<T>>([&](int i) {
    const int begin = i * kRegisterLanes<T>;
    return load_first(x + begin, FirstLanes<T>(n - begin), broadcast_register(rest));
  });
#else
  T lanes[kLanes<T>];
  for (std::int64_t l = 0; l < kLanes<T>; ++l) lanes[l] = l < n ? x[l] : rest;
  return load(lanes);
#endif
}

template <class T>
FOVEA_INLINE void store_some(T* y, const Vec<T>& value, std::int64_t n) {
  if (n >= kLanes<T>) return store(y, value);
#ifdef __AVX2__
  for (int i = 0; i < Vec<T>::kRegisters; ++i) {
    const int begin = i * kRegisterLanes<T>;
    store_first(y + begin, FirstLanes<T>(n - begin), value.r[i]);
  }
#else
  T lanes[kLanes<T>];
  store(lanes, value);
  for (std::int64_t l = 0; l < n; ++l) y[l] = lanes[l];
#endif
}

// Calls f(i, n) for the vectors of [begin, end): i is where one begins, n how many elements it has,
// fewer than a vector's only at the end. (In whole vectors n is a constant, and so load_some a
// load.)
template <class T, class F>
FOVEA_INLINE void by_vectors(std::int64_t begin, std::int64_t end, const F& f) {
  std::int64_t i = begin;
  for (; i + kLanes<T> <= end; i += kLanes<T>) f(i, std::int64_t{kLanes<T>});
  if (i < end) f(i, end - i);
}

// Elements that sums take in one block.
inline constexpr std::int64_t kSumBlock = 4096;

// The sum over [0, n) to which f(i, count, sum) adds a vector: lanes of a block in T, blocks in
// f64.
template <class T, class F>
FOVEA_INLINE double row_sum(std::int64_t n, const F& f) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumBlock) {
    const std::int64_t end = begin + kSumBlock < n ? begin + kSumBlock : n;
    Vec<T> sum = broadcast(T(0));
    std::int64_t i = begin;
    for (; i + kLanes<T> <= end; i += kLanes<T>) sum = f(i, std::int64_t{kLanes<T>}, sum);
    if (i < end) sum = f(i, end - i, sum);
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

// Adds to totals[k] the sums over [0, n) that f(i, count, sums) adds a vector at a time: lanes of a
// block in T, in a few chains, so that no addition waits for the one before; blocks in f64.
template <class T, int kSums, class F>
FOVEA_INLINE void add_sums(std::int64_t n, double (&totals)[kSums], const F& f) {
  constexpr int kChains = 4 / kSums;
  constexpr std::int64_t kStep = kChains * kLanes<T>;
  for (std::int64_t begin = 0; begin < n; begin += kSumBlock) {
    Vec<T> sums[kChains][kSums];
    for (auto& chain : sums) {
      for (Vec<T>& sum : chain) sum = broadcast(T(0));
    }
    const std::int64_t end = begin + kSumBlock < n ? begin + kSumBlock : n;
    std::int64_t first = begin;
    for (; first + kStep <= end; first += kStep) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) f(first + c * kLanes<T>, std::int64_t{kLanes<T>}, sums[c]);
    }
    by_vectors<T>(first, end, [&](std::int64_t i, std::int64_t count) FOVEA_INLINE_LAMBDA {
      f(i, count, sums[0]);
    });
    for (int k = 0; k < kSums; ++k) {
      Vec<T> sum = sums[0][k];
#pragma GCC unroll 4
      for (int c = 1; c < kChains; ++c) sum = sum + sums[c][k];
      totals[k] += static_cast<double>(sum_lanes(sum));
    }
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
