#include "fovea/ops/activations.h"

#include <array>
#include <cmath>
#include <numbers>

#include "fovea/ops/define.h"
#include "fovea/ops/map_kernel.h"
#include "fovea/ops/samples.h"

namespace fovea {

namespace {

struct TanhMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().tanh(n, x, y);
  }
};

struct SigmoidMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().sigmoid(n, x, y);
  }
};

struct ErfMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().erf(n, x, y);
  }
};

struct SiluMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    std::array<T, detail::kMostMapped> s;
    SigmoidMap::map(n, x, s.data());
    for (std::int64_t i = 0; i < n; ++i) {
      const T si = s[static_cast<std::size_t>(i)];
      y[i] = si == T(0) ? T(0) : x[i] * si;
    }
  }
};

struct GeluMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().gelu(n, x, y);
  }
};

struct GeluTanhMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().gelu_tanh(n, x, y);
  }
};

// tanh's argument: factor (x + cubic x³).
constexpr double kGeluFactor = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
constexpr double kGeluCubic = 0.044715;

}  // namespace

TileKernel Tanh::tile_kernel(std::span<const DType> in) const {
  return detail::map_kernel<TanhMap>(in[0]);
}
TileKernel Sigmoid::tile_kernel(std::span<const DType> in) const {
  return detail::map_kernel<SigmoidMap>(in[0]);
}
TileKernel Erf::tile_kernel(std::span<const DType> in) const {
  return detail::map_kernel<ErfMap>(in[0]);
}
TileKernel Silu::tile_kernel(std::span<const DType> in) const {
  return detail::map_kernel<SiluMap>(in[0]);
}
TileKernel Gelu::tile_kernel(std::span<const DType> in) const {
  return approximate == GeluApproximate::none ? detail::map_kernel<GeluMap>(in[0])
                                              : detail::map_kernel<GeluTanhMap>(in[0]);
}

Expr Erf::derivative(const Expr& x, const Expr&) const {
  return 2 * std::numbers::inv_sqrtpi * exp(-square(x));
}

// s = sigmoid x: (x s)' = s + x s (1 - s), where infinity times 0 is 0.
Expr Silu::derivative(const Expr& x, const Expr& y) const {
  const Expr s = sigmoid(x);
  return s + where(equal(s, 1), 0, y) * (1 - s);
}

// (x Φ(x))' = Φ(x) + x φ(x); with s = sigmoid u, (x s)' = s + x s (1 − s) u'. Infinity times 0 is
// 0.
Gelu::In<Expr> Gelu::vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
  const Expr& x = in.x;
  const Expr square_x = square(x);
  if (approximate == GeluApproximate::none) {
    const Expr cdf = 0.5 * (1 + erf(x / std::numbers::sqrt2));
    const Expr bell = exp(-0.5 * square_x);
    const double height = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
    return {d.y * (cdf + where(equal(bell, 0), 0, x) * (height * bell))};
  }
  const Expr s = sigmoid(2 * kGeluFactor * x * (1 + kGeluCubic * square_x)), rest = 1 - s;
  const Expr flat = logical_or(equal(s, 0), equal(rest, 0));
  const Expr slope = 2 * kGeluFactor * (1 + 3 * kGeluCubic * where(flat, 0, square_x));
  return {d.y * (s + where(flat, 0, out.y) * rest * slope)};
}

Y<Expr> Gelu::decomposition(const In<Expr>& in) const {
  const Expr& x = in.x;
  if (approximate == GeluApproximate::none) {
    return {0.5 * x * (1 + erf(x / std::numbers::sqrt2))};
  }
  return {0.5 * x * (1 + tanh(kGeluFactor * (x + kGeluCubic * x * square(x))))};
}

FOVEA_SAMPLES(Tanh, unary_samples<Tanh>(), unary_rejects)
FOVEA_SAMPLES(Sigmoid, unary_samples<Sigmoid>(), unary_rejects)
FOVEA_SAMPLES(Erf, unary_samples<Erf>(), unary_rejects)
FOVEA_SAMPLES(Silu, unary_samples<Silu>(), unary_rejects)

std::vector<Sample<Relu>> Relu::samples() {
  return {{{}, {arg::spread({2, 3})}}, {{}, {arg::spread({})}}, {{}, {arg::normal({0, 4})}}};
}
std::vector<Reject<Relu>> Relu::rejects() { return detail::unary_rejects<Relu>(); }

std::vector<Sample<Gelu>> Gelu::samples() {
  constexpr GeluApproximate tanh = GeluApproximate::tanh;
  return {{{}, {arg::uniform({2, 3}, -3, 3)}},
          {{.approximate = tanh}, {arg::uniform({2, 3}, -3, 3)}},
          {{}, {arg::normal({})}},
          {{.approximate = tanh}, {arg::normal({0, 4})}, "nothing"}};
}
std::vector<Reject<Gelu>> Gelu::rejects() { return detail::unary_rejects<Gelu>(); }

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Tanh);
FOVEA_DEFINE_OP(fovea::Sigmoid);
FOVEA_DEFINE_OP(fovea::Erf);
FOVEA_DEFINE_OP(fovea::Relu);
FOVEA_DEFINE_OP(fovea::Silu);
FOVEA_DEFINE_OP(fovea::Gelu);
