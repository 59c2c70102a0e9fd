// tril and triu: the triangles of matrices.
#pragma once

#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// x (.., rows, columns), of any dtype; what is left out is 0 whatever it was, also where it was
/// NaN.
struct Tril {
  static constexpr std::string_view name = "tril",
                                    doc =
                                        "x on and below a diagonal of its last two axes, 0 above: "
                                        "y[i, j] = x[i, j] where j - i <= k";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t k = 0;
  static constexpr std::tuple attributes{
      Attribute{"k", &Tril::k, "the diagonal: 0 the main one, negative below it"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Tril>> samples();
  static std::vector<Reject<Tril>> rejects();
};

/// x (.., rows, columns), of any dtype; what is left out is 0 whatever it was, also where it was
/// NaN.
struct Triu {
  static constexpr std::string_view name = "triu",
                                    doc =
                                        "x on and above a diagonal of its last two axes, 0 below: "
                                        "y[i, j] = x[i, j] where j - i >= k";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t k = 0;
  static constexpr std::tuple attributes{
      Attribute{"k", &Triu::k, "the diagonal: 0 the main one, negative below it"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Triu>> samples();
  static std::vector<Reject<Triu>> rejects();
};

inline Expr tril(const Expr& x, Tril a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr triu(const Expr& x, Triu a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {
inline Tensor tril(const Tensor& x, Tril a = {}) { return apply(a, {x}).y; }
inline Tensor triu(const Tensor& x, Triu a = {}) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
