// Elementwise ops: one row each. Formulas work on one element; numpy broadcasting, dtypes of
// operands equal.
#pragma once

#include <source_location>
#include <string_view>
#include <vector>

#include "fovea/ops/elementwise_base.h"

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
  // d(a/b) = da/b - (a/b) db/b
  AB<Expr> derivative(const Expr&, const Expr& b, const Expr& y) const { return {1 / b, -y / b}; }
  static std::vector<Sample<Div>> samples();
  static std::vector<Reject<Div>> rejects();
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

struct Exp : Unary<Exp> {
  static constexpr std::string_view name = "exp", doc = "y = e^x";
  template <class T>
  T formula(T x) const {
    return math::exp(x);
  }
  Expr derivative(const Expr&, const Expr& y) const { return y; }
  static std::vector<Sample<Exp>> samples();
  static std::vector<Reject<Exp>> rejects();
};

// The function of a row, for expressions and for tensors at once.
#define FOVEA_UNARY(Row, function)                                                                 \
  inline Expr function(const Expr& x, std::source_location at = std::source_location::current()) { \
    return apply(Row{}, {x}, at).y;                                                                \
  }                                                                                                \
  namespace eval {                                                                                 \
  inline Tensor function(const Tensor& x) { return apply(Row{}, {x}).y; }                          \
  }
#define FOVEA_BINARY(Row, function)                                                           \
  inline Expr function(const Operand& a, const Operand& b) {                                  \
    return apply(Row{}, {a.beside(b), b.beside(a)}, a.location()).y;                          \
  }                                                                                           \
  namespace eval {                                                                            \
  inline Tensor function(const Tensor& a, const Tensor& b) { return apply(Row{}, {a, b}).y; } \
  }

FOVEA_BINARY(Add, add)
FOVEA_BINARY(Sub, sub)
FOVEA_BINARY(Mul, mul)
FOVEA_BINARY(Div, div)
FOVEA_UNARY(Neg, neg)
FOVEA_UNARY(Exp, exp)

}  // namespace fovea
