// Elementwise ops of neural networks: sigmoid, tanh, erf, relu, silu, gelu.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/elementwise.h"

namespace fovea {

struct Tanh : Unary<Tanh> {
  static constexpr std::string_view name = "tanh", doc = "y = tanh x";
  template <class T>
  T formula(T x) const {
    return math::tanh(x);
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  Expr derivative(const Expr&, const Expr& y) const { return 1 - y * y; }
  static std::vector<Sample<Tanh>> samples();
  static std::vector<Reject<Tanh>> rejects();
};

struct Sigmoid : Unary<Sigmoid> {
  static constexpr std::string_view name = "sigmoid",
                                    doc = "y = 1 / (1 + exp(-x)), for any size of x";
  template <class T>
  T formula(T x) const {
    // exp of a negative number does not overflow.
    const T e = math::exp(x < T(0) ? x : -x);
    return (x < T(0) ? e : T(1)) / (T(1) + e);
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  Expr derivative(const Expr&, const Expr& y) const { return y * (1 - y); }
  static std::vector<Sample<Sigmoid>> samples();
  static std::vector<Reject<Sigmoid>> rejects();
};

struct Erf : Unary<Erf> {
  static constexpr std::string_view
      name = "erf",
      doc = "y = the error function of x, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x";
  template <class T>
  T formula(T x) const {
    return math::erf(x);
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  Expr derivative(const Expr& x, const Expr& y) const;
  static std::vector<Sample<Erf>> samples();
  static std::vector<Reject<Erf>> rejects();
};

/// The derivative at 0 is 0.
struct Relu : Unary<Relu> {
  static constexpr std::string_view name = "relu", doc = "y = x where x > 0, else 0; NaN stays";
  template <class T>
  T formula(T x) const {
    return x <= T(0) ? T(0) : x;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {where(greater(in.x, 0), d.y, 0)};
  }
  static std::vector<Sample<Relu>> samples();
  static std::vector<Reject<Relu>> rejects();
};

/// At -infinity 0, its limit; the derivatives at both infinities are their limits too.
struct Silu : Unary<Silu> {
  static constexpr std::string_view name = "silu", doc = "y = x * sigmoid(x), the swish function";
  template <class T>
  T formula(T x) const {
    const T s = Sigmoid{}.formula(x);
    return s == T(0) ? T(0) : s == T(1) ? x : x * s;
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  Expr derivative(const Expr& x, const Expr& y) const;
  static std::vector<Sample<Silu>> samples();
  static std::vector<Reject<Silu>> rejects();
};

enum class GeluApproximate : std::uint8_t { none, tanh };
template <>
struct EnumNames<GeluApproximate> {
  static constexpr std::array names{"none", "tanh"};
};

/// At -infinity 0, its limit; far to the left y keeps its relative accuracy. Source: Hendrycks and
/// Gimpel, "Gaussian error linear units" (arXiv 1606.08415).
struct Gelu {
  static constexpr std::string_view name = "gelu",
                                    doc = "y = x * (the normal distribution's cdf at x)";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;
  GeluApproximate approximate = GeluApproximate::none;
  static constexpr std::tuple attributes{Attribute{
      "approximate", &Gelu::approximate,
      "none: x/2 (1 + erf(x/sqrt(2))); tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {detail::infer_elementwise(name, Domain::floats, in.x)};
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Gelu>> samples();
  static std::vector<Reject<Gelu>> rejects();
};

FOVEA_UNARY(Tanh, tanh)
FOVEA_UNARY(Sigmoid, sigmoid)
FOVEA_UNARY(Erf, erf)
FOVEA_UNARY(Relu, relu)
FOVEA_UNARY(Silu, silu)

inline Expr gelu(const Expr& x, Gelu a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
namespace eval {
inline Tensor gelu(const Tensor& x, Gelu a = {}) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
