// Runs that do not fill a virtual vector.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// x[0 … n), and `rest` in the lanes beyond.
template <class T>
FOVEA_INLINE Vec<T> load_some(const T* x, std::int64_t n, T rest) {
  if (n >= kLanes<T>) return load(x);
  T lanes[kLanes<T>];
  for (std::int64_t l = 0; l < kLanes<T>; ++l) lanes[l] = l < n ? x[l] : rest;
  return load(lanes);
}

template <class T>
FOVEA_INLINE void store_some(T* y, const Vec<T>& value, std::int64_t n) {
  if (n >= kLanes<T>) return store(y, value);
  T lanes[kLanes<T>];
  store(lanes, value);
  for (std::int64_t l = 0; l < n; ++l) y[l] = lanes[l];
}

// Adds to totals[k] the sums over [0, n) that f(i, sums) adds a vector at a time: lanes of a block
// in T, blocks in f64.
template <class T, int kSums, class F>
FOVEA_INLINE void add_sums(std::int64_t n, double (&totals)[kSums], const F& f) {
  constexpr std::int64_t kBlock = 4096;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    Vec<T> sums[kSums];
    for (Vec<T>& sum : sums) sum = broadcast(T(0));
    const std::int64_t end = begin + kBlock < n ? begin + kBlock : n;
    for (std::int64_t i = begin; i < end; i += kLanes<T>) f(i, sums);
    for (int k = 0; k < kSums; ++k) totals[k] += static_cast<double>(sum_lanes(sums[k]));
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
