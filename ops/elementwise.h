// Elementwise ops: arithmetic, powers, exponential and trigonometric functions, one row each.
// NumPy broadcasting; dtypes of operands are equal; i64 wraps around. Comparisons and where are in
// logic.h, what neural networks add in activations.h.
#pragma once

#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/elementwise_base.h"
#include "fovea/ops/logic.h"

namespace fovea {

struct Add : Binary<Add> {
  static constexpr std::string_view name = "add", doc = "y = a + b";
  static constexpr Domain domain = Domain::numbers;
  static constexpr Linear linear = Linear::jointly;
  template <class T>
  T formula(T a, T b) const {
    return a + b;
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {d.y, d.y}; }
  static std::vector<Sample<Add>> samples();
  static std::vector<Reject<Add>> rejects();
};

struct Sub : Binary<Sub> {
  static constexpr std::string_view name = "sub", doc = "y = a - b";
  static constexpr Domain domain = Domain::numbers;
  static constexpr Linear linear = Linear::jointly;
  template <class T>
  T formula(T a, T b) const {
    return a - b;
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {d.y, -d.y}; }
  static std::vector<Sample<Sub>> samples();
  static std::vector<Reject<Sub>> rejects();
};

struct Mul : Binary<Mul> {
  static constexpr std::string_view name = "mul", doc = "y = a * b";
  static constexpr Domain domain = Domain::numbers;
  static constexpr Linear linear = Linear::each;
  template <class T>
  T formula(T a, T b) const {
    return a * b;
  }
  AB<Expr> derivative(const Expr& a, const Expr& b, const Expr&) const { return {b, a}; }
  static std::vector<Sample<Mul>> samples();
  static std::vector<Reject<Mul>> rejects();
};

struct Div : Binary<Div> {
  static constexpr std::string_view name = "div", doc = "y = a / b";
  template <class T>
  T formula(T a, T b) const {
    return a / b;
  }
  // d(a/b) = (da - (a/b) db) / b
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
    const Expr da = d.y / in.b;
    return {da, -da * out.y};
  }
  static std::vector<Sample<Div>> samples();
  static std::vector<Reject<Div>> rejects();
};

/// As C's pow: a negative base needs an integral exponent, else NaN. Where a = 0 and b >= 0 the
/// gradient in b is 0; where a < 0 it is NaN. Where a = b = 0 the gradient in a is 0.
struct Pow : Binary<Pow> {
  static constexpr std::string_view name = "pow", doc = "y = a ** b";
  template <class T>
  T formula(T a, T b) const {
    return math::pow(a, b);
  }
  AB<Expr> derivative(const Expr& a, const Expr& b, const Expr& y) const;
  static std::vector<Sample<Pow>> samples();
  static std::vector<Reject<Pow>> rejects();
};

/// Where a = b, each gets half of the gradient.
struct Maximum : Binary<Maximum> {
  static constexpr std::string_view name = "maximum",
                                    doc = "y = the larger of a and b; NaN if either is NaN";
  static constexpr Domain domain = Domain::numbers;
  template <class T>
  T formula(T a, T b) const {
    return a > b ? a : b > a ? b : a == b ? math::tie(a, b) : a + b;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr tied = where(equal(in.a, in.b), 0.5 * d.y, 0);
    return {where(greater(in.a, in.b), d.y, tied), where(greater(in.b, in.a), d.y, tied)};
  }
  static std::vector<Sample<Maximum>> samples();
  static std::vector<Reject<Maximum>> rejects();
};

/// Where a = b, each gets half of the gradient.
struct Minimum : Binary<Minimum> {
  static constexpr std::string_view name = "minimum",
                                    doc = "y = the smaller of a and b; NaN if either is NaN";
  static constexpr Domain domain = Domain::numbers;
  template <class T>
  T formula(T a, T b) const {
    return a < b ? a : b < a ? b : a == b ? math::tie(a, b) : a + b;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr tied = where(equal(in.a, in.b), 0.5 * d.y, 0);
    return {where(less(in.a, in.b), d.y, tied), where(less(in.b, in.a), d.y, tied)};
  }
  static std::vector<Sample<Minimum>> samples();
  static std::vector<Reject<Minimum>> rejects();
};

struct Neg : Unary<Neg> {
  static constexpr std::string_view name = "neg", doc = "y = -x";
  static constexpr Domain domain = Domain::numbers;
  static constexpr Linear linear = Linear::jointly;
  template <class T>
  T formula(T x) const {
    return -x;
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {-d.y}; }
  static std::vector<Sample<Neg>> samples();
  static std::vector<Reject<Neg>> rejects();
};

/// The smallest i64, which has no positive counterpart, stays. The derivative at 0 is 0.
struct Abs : Unary<Abs> {
  static constexpr std::string_view name = "abs", doc = "y = |x|";
  static constexpr Domain domain = Domain::numbers;
  template <class T>
  T formula(T x) const {
    return x < T(0) ? -x : x == T(0) ? T(0) : x;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {where(greater(in.x, 0), d.y, where(less(in.x, 0), -d.y, 0))};
  }
  static std::vector<Sample<Abs>> samples();
  static std::vector<Reject<Abs>> rejects();
};

struct Square : Unary<Square> {
  static constexpr std::string_view name = "square", doc = "y = x * x";
  static constexpr Domain domain = Domain::numbers;
  template <class T>
  T formula(T x) const {
    return x * x;
  }
  Expr derivative(const Expr& x, const Expr&) const { return 2 * x; }
  static std::vector<Sample<Square>> samples();
  static std::vector<Reject<Square>> rejects();
};

struct Reciprocal : Unary<Reciprocal> {
  static constexpr std::string_view name = "reciprocal", doc = "y = 1 / x";
  template <class T>
  T formula(T x) const {
    return T(1) / x;
  }
  Expr derivative(const Expr&, const Expr& y) const { return -y * y; }
  static std::vector<Sample<Reciprocal>> samples();
  static std::vector<Reject<Reciprocal>> rejects();
};

struct Sqrt : Unary<Sqrt> {
  static constexpr std::string_view name = "sqrt", doc = "y = the square root of x";
  template <class T>
  T formula(T x) const {
    return math::sqrt(x);
  }
  Expr derivative(const Expr&, const Expr& y) const { return 0.5 / y; }
  static std::vector<Sample<Sqrt>> samples();
  static std::vector<Reject<Sqrt>> rejects();
};

struct Rsqrt : Unary<Rsqrt> {
  static constexpr std::string_view name = "rsqrt", doc = "y = 1 / sqrt(x)";
  template <class T>
  T formula(T x) const {
    return T(1) / math::sqrt(x);
  }
  Expr derivative(const Expr& x, const Expr& y) const { return -0.5 * y / x; }
  static std::vector<Sample<Rsqrt>> samples();
  static std::vector<Reject<Rsqrt>> rejects();
};

// An op with attributes has no base: users' designated initialisers would not reach past it.
struct Scale {
  static constexpr std::string_view name = "scale", doc = "y = factor * x";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;
  static constexpr Linear linear = Linear::jointly;
  double factor = 1;
  static constexpr std::tuple attributes{
      Attribute{"factor", &Scale::factor, "what every element is multiplied by"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {detail::infer_elementwise(name, Domain::floats, in.x)};
  }
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Scale, 1, Domain::floats, void>(this, in[0]);
  }
  template <class T>
  T formula(T x) const {
    return static_cast<T>(factor) * x;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Scale>> samples();
  static std::vector<Reject<Scale>> rejects();
};

struct Exp : Unary<Exp> {
  static constexpr std::string_view name = "exp", doc = "y = e^x";
  template <class T>
  T formula(T x) const {
    return math::exp(x);
  }
  TileKernel tile_kernel(std::span<const DType> in) const;
  Expr derivative(const Expr&, const Expr& y) const { return y; }
  static std::vector<Sample<Exp>> samples();
  static std::vector<Reject<Exp>> rejects();
};

struct Log : Unary<Log> {
  static constexpr std::string_view name = "log", doc = "y = the natural logarithm of x";
  template <class T>
  T formula(T x) const {
    return math::log(x);
  }
  Expr derivative(const Expr& x, const Expr&) const { return 1 / x; }
  static std::vector<Sample<Log>> samples();
  static std::vector<Reject<Log>> rejects();
};

struct Sin : Unary<Sin> {
  static constexpr std::string_view name = "sin", doc = "y = sin x, x in radians";
  template <class T>
  T formula(T x) const {
    return math::sin(x);
  }
  Expr derivative(const Expr& x, const Expr& y) const;
  static std::vector<Sample<Sin>> samples();
  static std::vector<Reject<Sin>> rejects();
};

struct Cos : Unary<Cos> {
  static constexpr std::string_view name = "cos", doc = "y = cos x, x in radians";
  template <class T>
  T formula(T x) const {
    return math::cos(x);
  }
  Expr derivative(const Expr& x, const Expr& y) const;
  static std::vector<Sample<Cos>> samples();
  static std::vector<Reject<Cos>> rejects();
};

FOVEA_BINARY(Add, add)
FOVEA_BINARY(Sub, sub)
FOVEA_BINARY(Mul, mul)
FOVEA_BINARY(Div, div)
FOVEA_BINARY(Pow, pow)
FOVEA_BINARY(Maximum, maximum)
FOVEA_BINARY(Minimum, minimum)
FOVEA_UNARY(Neg, neg)
FOVEA_UNARY(Abs, abs)
FOVEA_UNARY(Square, square)
FOVEA_UNARY(Reciprocal, reciprocal)
FOVEA_UNARY(Sqrt, sqrt)
FOVEA_UNARY(Rsqrt, rsqrt)
FOVEA_UNARY(Exp, exp)
FOVEA_UNARY(Log, log)
FOVEA_UNARY(Sin, sin)
FOVEA_UNARY(Cos, cos)

inline Expr scale(const Expr& x, Scale a,
                  std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
namespace eval {
inline Tensor scale(const Tensor& x, Scale a) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
