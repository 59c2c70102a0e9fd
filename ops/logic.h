// Elementwise ops that make or use bools: comparisons, logical ops, isfinite, where; and cast.
#pragma once

#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/elementwise_base.h"

namespace fovea {

// Comparisons: any dtype, false < true; with NaN only not_equal is true.

struct Equal : Predicate<Equal, Domain::any> {
  static constexpr std::string_view name = "equal", doc = "y = a == b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a == b;
  }
  static std::vector<Sample<Equal>> samples();
  static std::vector<Reject<Equal>> rejects();
};

struct NotEqual : Predicate<NotEqual, Domain::any> {
  static constexpr std::string_view name = "not_equal", doc = "y = a != b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a != b;
  }
  static std::vector<Sample<NotEqual>> samples();
  static std::vector<Reject<NotEqual>> rejects();
};

struct Less : Predicate<Less, Domain::any> {
  static constexpr std::string_view name = "less", doc = "y = a < b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a < b;
  }
  static std::vector<Sample<Less>> samples();
  static std::vector<Reject<Less>> rejects();
};

struct LessEqual : Predicate<LessEqual, Domain::any> {
  static constexpr std::string_view name = "less_equal", doc = "y = a <= b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a <= b;
  }
  static std::vector<Sample<LessEqual>> samples();
  static std::vector<Reject<LessEqual>> rejects();
};

struct Greater : Predicate<Greater, Domain::any> {
  static constexpr std::string_view name = "greater", doc = "y = a > b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a > b;
  }
  static std::vector<Sample<Greater>> samples();
  static std::vector<Reject<Greater>> rejects();
};

struct GreaterEqual : Predicate<GreaterEqual, Domain::any> {
  static constexpr std::string_view name = "greater_equal", doc = "y = a >= b, a bool";
  template <class T>
  bool formula(T a, T b) const {
    return a >= b;
  }
  static std::vector<Sample<GreaterEqual>> samples();
  static std::vector<Reject<GreaterEqual>> rejects();
};

struct LogicalAnd : Predicate<LogicalAnd, Domain::bools> {
  static constexpr std::string_view name = "logical_and", doc = "y = a and b, of bools";
  bool formula(bool a, bool b) const { return a && b; }
  static std::vector<Sample<LogicalAnd>> samples();
  static std::vector<Reject<LogicalAnd>> rejects();
};

struct LogicalOr : Predicate<LogicalOr, Domain::bools> {
  static constexpr std::string_view name = "logical_or", doc = "y = a or b, of bools";
  bool formula(bool a, bool b) const { return a || b; }
  static std::vector<Sample<LogicalOr>> samples();
  static std::vector<Reject<LogicalOr>> rejects();
};

struct LogicalXor : Predicate<LogicalXor, Domain::bools> {
  static constexpr std::string_view name = "logical_xor", doc = "y = either a or b, of bools";
  bool formula(bool a, bool b) const { return a != b; }
  static std::vector<Sample<LogicalXor>> samples();
  static std::vector<Reject<LogicalXor>> rejects();
};

struct LogicalNot : UnaryPredicate<LogicalNot, Domain::bools> {
  static constexpr std::string_view name = "logical_not", doc = "y = not x, of bools";
  bool formula(bool x) const { return !x; }
  static std::vector<Sample<LogicalNot>> samples();
  static std::vector<Reject<LogicalNot>> rejects();
};

struct IsFinite : UnaryPredicate<IsFinite, Domain::numbers> {
  static constexpr std::string_view name = "isfinite",
                                    doc = "y = x is neither infinite nor NaN, a bool";
  // inf - inf and NaN - NaN are NaN.
  template <class T>
  bool formula(T x) const {
    return x - x == T(0);
  }
  static std::vector<Sample<IsFinite>> samples();
  static std::vector<Reject<IsFinite>> rejects();
};

/// All three broadcast; a and b have one dtype, any. A NaN that is not taken reaches neither y nor
/// a gradient.
struct Where {
  static constexpr std::string_view name = "where",
                                    doc = "y = a where `condition` is true, b elsewhere";
  template <class T>
  struct In {
    T condition, a, b;
    static constexpr std::array<std::string_view, 3> names{"condition", "a", "b"};
    static constexpr std::array<std::string_view, 3> docs{"bool; all three broadcast", "any dtype",
                                                          "of a's dtype"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr bool broadcasts = true, overwrites = true;
  static constexpr Linear linear = Linear::jointly;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  TileKernel tile_kernel(std::span<const DType> in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Where>> samples();
  static std::vector<Reject<Where>> rejects();
};

/// Converts as C++ does, and without surprises: to bool, not zero (NaN is true); to i64, rounded
/// towards 0, and 0 for NaN and for what does not fit.
struct Cast {
  static constexpr std::string_view name = "cast", doc = "y = x, converted to `dtype`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;

  std::optional<DType> dtype = {};
  static constexpr std::tuple attributes{Attribute{"dtype", &Cast::dtype, "what x becomes"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  TileKernel tile_kernel(std::span<const DType> in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Cast>> samples();
  static std::vector<Reject<Cast>> rejects();
};

FOVEA_BINARY(Equal, equal)
FOVEA_BINARY(NotEqual, not_equal)
FOVEA_BINARY(Less, less)
FOVEA_BINARY(LessEqual, less_equal)
FOVEA_BINARY(Greater, greater)
FOVEA_BINARY(GreaterEqual, greater_equal)
FOVEA_BINARY(LogicalAnd, logical_and)
FOVEA_BINARY(LogicalOr, logical_or)
FOVEA_BINARY(LogicalXor, logical_xor)
FOVEA_UNARY(LogicalNot, logical_not)
FOVEA_UNARY(IsFinite, isfinite)

inline Expr where(const Expr& condition, const Operand& a, const Operand& b,
                  std::source_location at = std::source_location::current()) {
  return apply(Where{}, {condition, a.beside(b), b.beside(a)}, at).y;
}

inline Expr cast(const Expr& x, Cast a, std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {
inline Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return apply(Where{}, {condition, a, b}).y;
}
inline Tensor cast(const Tensor& x, Cast a) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
