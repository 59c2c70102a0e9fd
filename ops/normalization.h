// layer_norm and rms_norm, over the last axis.
#pragma once

#include <array>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// x (.., width), weight (width) and bias (width), of one float dtype; y as x. The variance divides
/// by the number of elements. Source: Ba, Kiros and Hinton, "Layer normalization" (arXiv
/// 1607.06450).
struct LayerNorm {
  static constexpr std::string_view
      name = "layer_norm",
      doc = "y = (x - mean x) / sqrt(var x + eps) * weight + bias, mean and var over the last axis";
  template <class T>
  struct In {
    T x;
    std::optional<T> weight = {}, bias = {};
    static constexpr std::array<std::string_view, 3> names{"x", "weight", "bias"};
  };
  template <class T>
  using Out = Y<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &LayerNorm::eps, "added to the variance; 0 or more"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
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
  struct In {
    T x;
    std::optional<T> weight = {}, bias = {};
    static constexpr std::array<std::string_view, 3> names{"x", "weight", "bias"};
  };
  template <class T>
  using Out = Y<T>;
  double eps = 1e-5;
  static constexpr std::tuple attributes{
      Attribute{"eps", &RmsNorm::eps, "added to the mean of the squares; 0 or more"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<RmsNorm>> samples();
  static std::vector<Reject<RmsNorm>> rejects();
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
