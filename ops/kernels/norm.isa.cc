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
FOVEA_INLINE Moments<T> moments_of(const T* x, std::int64_t n, double eps, bool centred) {
  const auto count = static_cast<double>(n);
  T shift = 0;
  if (centred) {
    double sum[1] = {};
    add_sums<T>(n, sum, [&](std::int64_t i, std::int64_t some, auto& sums) FOVEA_INLINE_LAMBDA {
      sums[0] = sums[0] + load_some(x + i, some, T(0));
    });
    shift = static_cast<T>(sum[0] / count);
  }
  double totals[2] = {};
  add_sums<T>(n, totals, [&](std::int64_t i, std::int64_t some, auto& sums) FOVEA_INLINE_LAMBDA {
    const Vec<T> d = load_some(x + i, some, shift) - broadcast(shift);
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
  const Moments<T> moments = moments_of(row.x, row.length, row.eps, row.centred);
  by_vectors<T>(0, row.length, [&](std::int64_t i, std::int64_t some) FOVEA_INLINE_LAMBDA {
    Vec<T> y = moments.normalised(load_some(row.x + i, some, T(0)));
    if (row.weight != nullptr) y = y * load_some(row.weight + i, some, T(0));
    if (row.bias != nullptr) y = y + load_some(row.bias + i, some, T(0));
    store_some(row.y + i, y, some);
  });
}

// g = dy · weight: dx = scale · (g − mean g − x̂ mean(g x̂)), without the mean of g when the row is
// not centred; dweight = dy · x̂, dbias = dy.
template <class T>
void norm_gradient_row(const NormGradientRow<T>& row) {
  const std::int64_t n = row.length;
  const Moments<T> moments = moments_of(row.x, n, row.eps, row.centred);
  const auto normalised = [&](std::int64_t i, std::int64_t some) FOVEA_INLINE_LAMBDA {
    return moments.normalised(load_some(row.x + i, some, T(0)));
  };
  const auto weighted = [&](const Vec<T>& dy, std::int64_t i,
                            std::int64_t some) FOVEA_INLINE_LAMBDA {
    return row.weight == nullptr ? dy : dy * load_some(row.weight + i, some, T(0));
  };
  double totals[2] = {};
  if (row.dx != nullptr) {
    add_sums<T>(n, totals, [&](std::int64_t i, std::int64_t some, auto& sums) FOVEA_INLINE_LAMBDA {
      const Vec<T> g = weighted(load_some(row.dy + i, some, T(0)), i, some);
      sums[0] = sums[0] + g;
      sums[1] = fma(g, normalised(i, some), sums[1]);
    });
  }
  const auto count = static_cast<double>(n);
  const Vec<T> mean = broadcast(static_cast<T>(row.centred ? totals[0] / count : 0));
  const Vec<T> slope = broadcast(static_cast<T>(totals[1] / count));
  by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) FOVEA_INLINE_LAMBDA {
    const Vec<T> dy = load_some(row.dy + i, some, T(0)), x = normalised(i, some);
    if (row.dx != nullptr) {
      const Vec<T> dx = ((weighted(dy, i, some) - mean) - x * slope) * broadcast(moments.scale);
      store_some(row.dx + i, dx, some);
    }
    if (row.dweight != nullptr) {
      store_some(row.dweight + i, fma(dy, x, load_some(row.dweight + i, some, T(0))), some);
    }
    if (row.dbias != nullptr) {
      store_some(row.dbias + i, load_some(row.dbias + i, some, T(0)) + dy, some);
    }
  });
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
