#include "fovea/ops/kernels/norm.h"

#include <math.h>

#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// x̂ = ((x − shift) − rest) · scale: shift is the mean up to rounding, rest what that leaves, so
// that rows far from 0 lose nothing.
template <class T>
struct Moments {
  T shift, rest, scale;

  FOVEA_INLINE Vec<T> normalised(const Vec<T>& x) const {
    return ((x - broadcast(shift)) - broadcast(rest)) * broadcast(scale);
  }
};

// The corrected two-pass algorithm: T. Chan, G. Golub and R. LeVeque, "Algorithms for computing the
// sample variance" (1983).
template <class T>
Moments<T> moments_of(const T* x, std::int64_t n, double eps, bool centred) {
  const auto count = static_cast<double>(n);
  T shift = 0;
  if (centred) {
    double total[1] = {};
    add_sums<T>(n, total, [&](std::int64_t i, auto& sums) {
      sums[0] = sums[0] + load_some(x + i, n - i, T(0));
    });
    shift = static_cast<T>(total[0] / count);
  }
  double totals[2] = {};
  add_sums<T>(n, totals, [&](std::int64_t i, auto& sums) {
    const Vec<T> d = load_some(x + i, n - i, shift) - broadcast(shift);
    sums[0] = sums[0] + d;
    sums[1] = fma(d, d, sums[1]);
  });
  const double rest = centred ? totals[0] / count : 0;
  const double variance = totals[1] / count - rest * rest;
  const double scale = 1 / ::sqrt((variance < 0 ? 0 : variance) + eps);
  return {shift, static_cast<T>(rest), static_cast<T>(scale)};
}

template <class T>
void norm_row(const NormRow<T>& row) {
  const std::int64_t n = row.length;
  const Moments<T> moments = moments_of(row.x, n, row.eps, row.centred);
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    Vec<T> y = moments.normalised(load_some(row.x + i, n - i, T(0)));
    if (row.weight != nullptr) y = y * load_some(row.weight + i, n - i, T(0));
    if (row.bias != nullptr) y = y + load_some(row.bias + i, n - i, T(0));
    store_some(row.y + i, y, n - i);
  }
}

// g = dy · weight: dx = scale · (g − mean g − x̂ mean(g x̂)), without the mean of g when the row is
// not centred; dweight = dy · x̂, dbias = dy.
template <class T>
void norm_gradient_row(const NormGradientRow<T>& row) {
  const std::int64_t n = row.length;
  const Moments<T> moments = moments_of(row.x, n, row.eps, row.centred);
  const auto scaled = [&](const Vec<T>& dy, std::int64_t i) {
    return row.weight == nullptr ? dy : dy * load_some(row.weight + i, n - i, T(0));
  };
  const auto normalised = [&](std::int64_t i) {
    return moments.normalised(load_some(row.x + i, n - i, T(0)));
  };
  if (row.dx != nullptr) {
    double totals[2] = {};
    add_sums<T>(n, totals, [&](std::int64_t i, auto& sums) {
      const Vec<T> g = scaled(load_some(row.dy + i, n - i, T(0)), i);
      sums[0] = sums[0] + g;
      sums[1] = fma(g, normalised(i), sums[1]);
    });
    const auto count = static_cast<double>(n);
    const Vec<T> mean = broadcast(static_cast<T>(row.centred ? totals[0] / count : 0));
    const Vec<T> slope = broadcast(static_cast<T>(totals[1] / count));
    for (std::int64_t i = 0; i < n; i += kLanes<T>) {
      const Vec<T> g = scaled(load_some(row.dy + i, n - i, T(0)), i);
      const Vec<T> dx = ((g - mean) - normalised(i) * slope) * broadcast(moments.scale);
      store_some(row.dx + i, dx, n - i);
    }
  }
  if (row.dweight == nullptr && row.dbias == nullptr) return;
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    const Vec<T> dy = load_some(row.dy + i, n - i, T(0));
    if (row.dweight != nullptr) {
      const Vec<T> sum = load_some(row.dweight + i, n - i, T(0));
      store_some(row.dweight + i, fma(dy, normalised(i), sum), n - i);
    }
    if (row.dbias != nullptr) {
      store_some(row.dbias + i, load_some(row.dbias + i, n - i, T(0)) + dy, n - i);
    }
  }
}

template <class T>
void add(Loops<T>& loops) {
  loops.norm_row = norm_row<T>;
  loops.norm_gradient_row = norm_gradient_row<T>;
}

}  // namespace

void add_norm(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
