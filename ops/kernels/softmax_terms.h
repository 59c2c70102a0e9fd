// What softmax and its relatives are made of: the maximum and the sum of a line, in a row, and what
// becomes of these.
#pragma once

#include <math.h>

#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// NaN elements may be left out: they come up again in the sum.
template <class T>
FOVEA_INLINE T max_of(const T* x, std::int64_t n) {
  constexpr std::int64_t kChains = 4, kStep = kChains * kLanes<T>;
  Vec<T> most[kChains];
  for (auto& m : most) m = broadcast(-kInfinity<T>);
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
#pragma GCC unroll 4
    for (std::int64_t c = 0; c < kChains; ++c) most[c] = max(load(x + i + c * kLanes<T>), most[c]);
  }
  by_vectors<T>(i, n, [&](std::int64_t at, std::int64_t count) {
    most[0] = max(load_some(x + at, count, -kInfinity<T>), most[0]);
  });
  return max_lanes(max(max(most[0], most[1]), max(most[2], most[3])));
}

// Σ exp(x − shift). The exponentials go to y unless it is null.
template <class T>
FOVEA_INLINE double exponentials(const T* x, std::int64_t n, T shift, T* y) {
  return row_sum<T>(n, [&](std::int64_t i, std::int64_t count,
                           const Vec<T>& sum) FOVEA_INLINE_LAMBDA {
    const Vec<T> e = exp_of_difference(load_some(x + i, count, -kInfinity<T>) - broadcast(shift));
    if (y != nullptr) store_some(y + i, e, count);
    return sum + e;
  });
}

// A maximum that can be subtracted where all is −inf.
template <class T>
FOVEA_INLINE T shift_of(T max) {
  return max == -kInfinity<T> ? T(0) : max;
}

// Nothing but −inf adds up to 0: probabilities 0, log-probabilities −inf.
template <class T>
FOVEA_INLINE T inverse_of_sum(double sum) {
  return static_cast<T>(sum == 0 ? 0 : 1 / sum);
}
template <class T>
FOVEA_INLINE T log_of_sum_or_0(double sum) {
  return static_cast<T>(sum == 0 ? 0 : ::log(sum));
}

// log Σ exp x, from the maximum and Σ exp(x − shift_of(max)) of n elements `step` apart.
template <class T>
FOVEA_INLINE T logsumexp_of(T max, double sum, const T* x, std::int64_t n, std::int64_t step) {
  if (max != kInfinity<T>) {
    return sum == 0 ? -kInfinity<T> : static_cast<T>(static_cast<double>(max) + ::log(sum));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    if (x[i * step] != x[i * step]) return x[i * step];
  }
  return max;
}

template <class T>
FOVEA_INLINE bool all_minus_infinity(const T* x, std::int64_t n, std::int64_t step) {
  for (std::int64_t i = 0; i < n; ++i) {
    if (x[i * step] != -kInfinity<T>) return false;
  }
  return true;
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
