// Reductions: sum, mean, max, min, logsumexp along `axes`.
//
// The order of operations follows from shape and axes alone: neither strides nor the number of
// threads change a bit of a result. f32 is accumulated in f64.
#pragma once

#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Of no elements 0. i64 wraps around.
struct Sum {
  static constexpr std::string_view name = "sum", doc = "y = the sum of x along `axes`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  Axes axes = {};
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axes", &Sum::axes, "axes to reduce, negative count from the end; null: all"},
      Attribute{"keep_dims", &Sum::keep_dims, "whether reduced axes stay, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Sum>> samples();
  static std::vector<Reject<Sum>> rejects();
};

/// Of no elements NaN.
struct Mean {
  static constexpr std::string_view name = "mean", doc = "y = the mean of x along `axes`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  Axes axes = {};
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axes", &Mean::axes, "axes to reduce, negative count from the end; null: all"},
      Attribute{"keep_dims", &Mean::keep_dims, "whether reduced axes stay, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Mean>> samples();
  static std::vector<Reject<Mean>> rejects();
};

/// NaN if an element is NaN. Equal largest elements share the gradient equally. Of no elements: an
/// error.
struct Max {
  static constexpr std::string_view name = "max", doc = "y = the largest element of x along `axes`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Axes axes = {};
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axes", &Max::axes, "axes to reduce, negative count from the end; null: all"},
      Attribute{"keep_dims", &Max::keep_dims, "whether reduced axes stay, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const;
  static std::vector<Sample<Max>> samples();
  static std::vector<Reject<Max>> rejects();
};

/// NaN if an element is NaN. Equal smallest elements share the gradient equally. Of no elements: an
/// error.
struct Min {
  static constexpr std::string_view name = "min",
                                    doc = "y = the smallest element of x along `axes`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Axes axes = {};
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axes", &Min::axes, "axes to reduce, negative count from the end; null: all"},
      Attribute{"keep_dims", &Min::keep_dims, "whether reduced axes stay, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const;
  static std::vector<Sample<Min>> samples();
  static std::vector<Reject<Min>> rejects();
};

inline Expr sum(const Expr& x, Sum a = {},
                std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr mean(const Expr& x, Mean a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr max(const Expr& x, Max a = {},
                std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr min(const Expr& x, Min a = {},
                std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {

inline Tensor sum(const Tensor& x, Sum a = {}) { return apply(a, {x}).y; }
inline Tensor mean(const Tensor& x, Mean a = {}) { return apply(a, {x}).y; }
inline Tensor max(const Tensor& x, Max a = {}) { return apply(a, {x}).y; }
inline Tensor min(const Tensor& x, Min a = {}) { return apply(a, {x}).y; }

}  // namespace eval

}  // namespace fovea
