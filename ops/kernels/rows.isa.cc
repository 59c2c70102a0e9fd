#include <math.h>

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Calls f(vector, position) along a row; lanes beyond its end are −inf, whose exp is 0.
template <class T, class F>
FOVEA_INLINE void along(const T* x, std::int64_t begin, std::int64_t end, const F& f) {
  std::int64_t i = begin;
  for (; i + kLanes<T> <= end; i += kLanes<T>) f(load(x + i), i);
  if (i == end) return;
  T rest[kLanes<T>];
  for (std::int64_t l = 0; l < kLanes<T>; ++l) rest[l] = i + l < end ? x[i + l] : -kInfinity<T>;
  f(load(rest), i);
}

// NaN elements may be left out: they come up again in the sum.
template <class T>
T max_of(const T* x, std::int64_t n) {
  constexpr std::int64_t kChains = 4, kStep = kChains * kLanes<T>;
  Vec<T> most[kChains];
  for (auto& m : most) m = broadcast(-kInfinity<T>);
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
#pragma GCC unroll 4
    for (std::int64_t c = 0; c < kChains; ++c) most[c] = max(load(x + i + c * kLanes<T>), most[c]);
  }
  along(x, i, n, [&](const Vec<T>& v, std::int64_t) { most[0] = max(v, most[0]); });
  return max_lanes(max(max(most[0], most[1]), max(most[2], most[3])));
}

// Σ exp(x − shift), of blocks that are added up in f64. The exponentials go to y unless it is null.
template <class T>
double exponentials(const T* x, std::int64_t n, T shift, T* y) {
  constexpr std::int64_t kBlock = 4096;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    Vec<T> sum = broadcast(T(0));
    along(x, begin, smaller(begin + kBlock, n), [&](const Vec<T>& v, std::int64_t i) {
      const Vec<T> e = exp(v - broadcast(shift));
      sum = sum + e;
      if (y) store_some(y + i, e, n - i);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

// A maximum that can be subtracted where all is −inf.
template <class T>
T shift_of(T max) {
  return max == -kInfinity<T> ? T(0) : max;
}

template <class T>
void softmax(const T* x, std::int64_t n, T* y) {
  const double sum = exponentials(x, n, shift_of(max_of(x, n)), y);
  const Vec<T> factor = broadcast(static_cast<T>(sum == 0 ? 0 : 1 / sum));
  along(y, 0, n, [&](const Vec<T>& v, std::int64_t i) { store_some(y + i, v * factor, n - i); });
}

template <class T>
void log_softmax(const T* x, std::int64_t n, T* y) {
  const T shift = shift_of(max_of(x, n));
  const double sum = exponentials<T>(x, n, shift, nullptr);
  const T log_sum = static_cast<T>(sum == 0 ? 0 : ::log(sum));
  along(x, 0, n, [&](const Vec<T>& v, std::int64_t i) {
    store_some(y + i, (v - broadcast(shift)) - broadcast(log_sum), n - i);
  });
}

template <class T>
void logsumexp(const T* x, std::int64_t n, T* y) {
  const T max = max_of(x, n);
  if (max == kInfinity<T>) {
    *y = max;
    for (std::int64_t i = 0; i < n; ++i) {
      if (x[i] != x[i]) *y = x[i];
    }
    return;
  }
  const double sum = exponentials<T>(x, n, shift_of(max), nullptr);
  *y = sum == 0 ? -kInfinity<T> : static_cast<T>(static_cast<double>(max) + ::log(sum));
}

// 16 sums in f64, folded and added up for each block.
template <class T>
double sum(const T* x, std::int64_t n, std::int64_t stride) {
  constexpr std::int64_t kSums = 16, kBlock = 256 * kSums;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const T* at = x + begin * stride;
    const std::int64_t count = smaller(kBlock, n - begin), whole = count - count % kSums;
    double sums[kSums] = {};
    if (stride == 1) {
      for (std::int64_t i = 0; i < whole; i += kSums) {
        for (std::int64_t l = 0; l < kSums; ++l) sums[l] += static_cast<double>(at[i + l]);
      }
    } else {
      for (std::int64_t i = 0; i < whole; i += kSums) {
        for (std::int64_t l = 0; l < kSums; ++l)
          sums[l] += static_cast<double>(at[(i + l) * stride]);
      }
    }
    for (std::int64_t i = whole; i < count; ++i)
      sums[i - whole] += static_cast<double>(at[i * stride]);
    for (std::int64_t half = kSums / 2; half > 0; half /= 2) {
      for (std::int64_t l = 0; l < half; ++l) sums[l] += sums[l + half];
    }
    total += sums[0];
  }
  return total;
}

template <class T>
void sum_row(const T* x, std::int64_t n, T* y) {
  *y = static_cast<T>(sum(x, n, 1));
}

template <class T, void (*kRow)(const T*, std::int64_t, T*)>
void each_row(const RowsProblem<T>& p, std::int64_t first, std::int64_t count) {
  for (std::int64_t i = first; i < first + count; ++i) {
    kRow(p.x + i * p.x_stride, p.length, p.y + i * p.y_stride);
  }
}

template <class T>
void add(Loops<T>& loops) {
  loops.softmax_rows = each_row<T, softmax<T>>;
  loops.log_softmax_rows = each_row<T, log_softmax<T>>;
  loops.logsumexp_rows = each_row<T, logsumexp<T>>;
  loops.sum_rows = each_row<T, sum_row<T>>;
  loops.sum = sum<T>;
}

}  // namespace

void add_rows(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
