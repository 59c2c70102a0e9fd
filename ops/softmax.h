// softmax, log_softmax and logsumexp: exponentials that neither overflow nor lose what is small.
//
// Rows may hold -inf, and be nothing but -inf: probabilities 0, log-probabilities and log-sum -inf,
// gradients 0. A row with NaN has NaN results; so has one with +inf, but its logsumexp is +inf
// (with a gradient that is NaN where the row is +inf, and 0 elsewhere).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

struct Softmax {
  static constexpr std::string_view name = "softmax",
                                    doc = "y = exp(x - max x) / sum exp(x - max x) along `axis`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Softmax::axis, "axis that sums to one; negative counts from the end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Softmax>> samples();
  static std::vector<Reject<Softmax>> rejects();
};

struct LogSoftmax {
  static constexpr std::string_view name = "log_softmax",
                                    doc = "y = x - max x - log sum exp(x - max x) along `axis`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &LogSoftmax::axis,
                "axis along which exp(y) sums to one; negative counts from the end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<LogSoftmax>> samples();
  static std::vector<Reject<LogSoftmax>> rejects();
};

/// Of no elements -inf.
struct LogSumExp {
  static constexpr std::string_view name = "logsumexp", doc = "y = log sum exp(x) along `axes`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Axes axes = {};
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axes", &LogSumExp::axes, "axes to reduce, negative count from the end; null: all"},
      Attribute{"keep_dims", &LogSumExp::keep_dims, "whether reduced axes stay, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<LogSumExp>> samples();
  static std::vector<Reject<LogSumExp>> rejects();
};

/// The result of a forward op and its cotangent, of one shape.
template <class T>
struct YDy {
  T y, dy;
  static constexpr std::array<std::string_view, 2> names{"y", "dy"};
};
template <class T>
struct Dx {
  T dx;
  static constexpr std::array<std::string_view, 1> names{"dx"};
};

struct SoftmaxGradient {
  static constexpr std::string_view name = "softmax_gradient",
                                    doc = "dx = y (dy - sum y dy) along `axis`, for y = softmax(x)";
  template <class T>
  using In = YDy<T>;
  template <class T>
  using Out = Dx<T>;
  static constexpr bool overwrites = true;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &SoftmaxGradient::axis, "as for softmax"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<SoftmaxGradient>> samples();
  static std::vector<Reject<SoftmaxGradient>> rejects();
};

struct LogSoftmaxGradient {
  static constexpr std::string_view
      name = "log_softmax_gradient",
      doc = "dx = dy - exp(y) sum dy along `axis`, for y = log_softmax(x); 0 where all y are -inf";
  template <class T>
  using In = YDy<T>;
  template <class T>
  using Out = Dx<T>;
  static constexpr bool overwrites = true;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &LogSoftmaxGradient::axis, "as for log_softmax"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<LogSoftmaxGradient>> samples();
  static std::vector<Reject<LogSoftmaxGradient>> rejects();
};

inline Expr softmax(const Expr& x, Softmax a = {},
                    std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr log_softmax(const Expr& x, LogSoftmax a = {},
                        std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr logsumexp(const Expr& x, LogSumExp a = {},
                      std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {

inline Tensor softmax(const Tensor& x, Softmax a = {}) { return apply(a, {x}).y; }
inline Tensor log_softmax(const Tensor& x, LogSoftmax a = {}) { return apply(a, {x}).y; }
inline Tensor logsumexp(const Tensor& x, LogSumExp a = {}) { return apply(a, {x}).y; }

}  // namespace eval

}  // namespace fovea
