// layer_norm and rms_norm, over the last axis, and their gradients.
#pragma once

#include <array>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

template <class T>
struct XWeightBias {
  T x;
  std::optional<T> weight = {}, bias = {};
  static constexpr std::array<std::string_view, 3> names{"x", "weight", "bias"};
  static constexpr std::array<std::string_view, 3> docs{"(..., width)", "(width); 1 when left out",
                                                        "(width); 0 when left out"};
};
template <class T>
struct XWeightDy {
  T x;
  std::optional<T> weight = {};
  T dy;
  static constexpr std::array<std::string_view, 3> names{"x", "weight", "dy"};
};
template <class T>
struct DxDweightDbias {
  T dx, dweight, dbias;
  static constexpr std::array<std::string_view, 3> names{"dx", "dweight", "dbias"};
};

/// x (.., width), weight (width) and bias (width), of one float dtype; y as x. The variance divides
/// by the number of elements. Source: Ba, Kiros and Hinton, "Layer normalization" (arXiv
/// 1607.06450).
struct LayerNorm {
  static constexpr std::string_view
      name = "layer_norm",
      doc = "y = (x - mean x) / sqrt(var x + eps) * weight + bias, mean and var over the last axis";
  template <class T>
  using In = XWeightBias<T>;
  template <class T>
  using Out = Y<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &LayerNorm::eps, "added to the variance; 0 or more"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<LayerNorm>> samples();
  static std::vector<Reject<LayerNorm>> rejects();
};

/// x (.., width), weight (width) and bias (width), of one float dtype; y as x. Source: Zhang and
/// Sennrich, "Root mean square layer normalization" (arXiv 1910.07467).
struct RmsNorm {
  static constexpr std::string_view
      name = "rms_norm",
      doc = "y = x / sqrt(mean x^2 + eps) * weight + bias, the mean over the last axis";
  template <class T>
  using In = XWeightBias<T>;
  template <class T>
  using Out = Y<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &RmsNorm::eps, "added to the mean of the squares; 0 or more"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<RmsNorm>> samples();
  static std::vector<Reject<RmsNorm>> rejects();
};

/// dx, dweight and dbias as of a `layer_norm` of x and weight; without a weight, dweight is that of
/// ones. Only outputs that somebody uses are computed. Rows are added up in an order that follows
/// from their number alone.
struct LayerNormGradient {
  static constexpr std::string_view name = "layer_norm_gradient",
                                    doc = "Gradients of layer_norm for a cotangent dy of its y";
  template <class T>
  using In = XWeightDy<T>;
  template <class T>
  using Out = DxDweightDbias<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &LayerNormGradient::eps, "as for layer_norm"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<LayerNormGradient>> samples();
  static std::vector<Reject<LayerNormGradient>> rejects();
};

/// dx, dweight and dbias as of a `rms_norm` of x and weight; without a weight, dweight is that of
/// ones. Only outputs that somebody uses are computed. Rows are added up in an order that follows
/// from their number alone.
struct RmsNormGradient {
  static constexpr std::string_view name = "rms_norm_gradient",
                                    doc = "Gradients of rms_norm for a cotangent dy of its y";
  template <class T>
  using In = XWeightDy<T>;
  template <class T>
  using Out = DxDweightDbias<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &RmsNormGradient::eps, "as for rms_norm"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<RmsNormGradient>> samples();
  static std::vector<Reject<RmsNormGradient>> rejects();
};

/// `layer_norm(x, weight, bias)`; a null weight or bias is left out.
inline Expr layer_norm(const LayerNorm::In<Expr>& in, LayerNorm a = {},
                       std::source_location at = std::source_location::current()) {
  return apply(a, in, at).y;
}
inline Expr layer_norm(const Expr& x, const Expr& weight = {}, const Expr& bias = {},
                       LayerNorm a = {},
                       std::source_location at = std::source_location::current()) {
  return apply(a, {x, weight, bias}, at).y;
}
/// `rms_norm(x, weight, bias)`; a null weight or bias is left out.
inline Expr rms_norm(const RmsNorm::In<Expr>& in, RmsNorm a = {},
                     std::source_location at = std::source_location::current()) {
  return apply(a, in, at).y;
}
inline Expr rms_norm(const Expr& x, const Expr& weight = {}, const Expr& bias = {}, RmsNorm a = {},
                     std::source_location at = std::source_location::current()) {
  return apply(a, {x, weight, bias}, at).y;
}

namespace eval {

inline Tensor layer_norm(const LayerNorm::In<Tensor>& in, LayerNorm a = {}) {
  return apply(a, in).y;
}
inline Tensor rms_norm(const RmsNorm::In<Tensor>& in, RmsNorm a = {}) { return apply(a, in).y; }

}  // namespace eval

}  // namespace fovea
