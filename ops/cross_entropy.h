// cross_entropy: the loss of classifiers and language models, and its gradient.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

enum class LossReduction : std::uint8_t { mean, sum, none };
template <>
struct EnumNames<LossReduction> {
  static constexpr std::array names{"mean", "sum", "none"};
};

/// logits (.., classes), targets i64 (..), each a class from 0 or `ignore_index`; any other is an
/// Error of the run. An ignored target contributes 0 to y and to y's gradients, whatever its
/// logits, and does not count in the mean; the mean of none is 0. y is a scalar, or for `none` has
/// the shape of targets, and so has lse, which does not depend on them.
struct CrossEntropy {
  static constexpr std::string_view
      name = "cross_entropy",
      doc = "y = lse - (the target's logit), reduced; lse = log sum exp(logits)";
  template <class T>
  struct In {
    T logits, targets;
    static constexpr std::array<std::string_view, 2> names{"logits", "targets"};
    static constexpr std::array<std::string_view, 2> docs{
        "(..., classes)", "i64 (...): classes, from 0; or ignore_index"};
  };
  template <class T>
  struct Out {
    T y, lse;
    static constexpr std::array<std::string_view, 2> names{"y", "lse"};
    static constexpr std::array<std::string_view, 2> docs{
        "a scalar; of targets' shape where reduction is none", "of targets' shape"};
  };
  LossReduction reduction = LossReduction::mean;
  std::int64_t ignore_index = -100;
  static constexpr std::tuple attributes{
      Attribute{"reduction", &CrossEntropy::reduction,
                "mean over the targets that are not ignored, sum, or none: each target's own"},
      Attribute{"ignore_index", &CrossEntropy::ignore_index,
                "a target that does not count; may be a class"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<CrossEntropy>> samples();
  static std::vector<Reject<CrossEntropy>> rejects();
};

/// With p = exp(logits − lse): the gradient of dy · y is dy (p − one_hot(target)) for targets that
/// count, divided by their number for a mean, and exactly 0 for ignored ones; that of Σ dlse∘lse is
/// dlse · p. `lse` counts as an input of its own: second derivatives come from that.
struct CrossEntropyGradient {
  static constexpr std::string_view name = "cross_entropy_gradient",
                                    doc = "Gradient of cross_entropy for cotangents of y and lse";
  template <class T>
  struct In {
    T logits, targets, lse;
    std::optional<T> dy = {}, dlse = {};  ///< at least one
    static constexpr std::array<std::string_view, 5> names{"logits", "targets", "lse", "dy",
                                                           "dlse"};
  };
  template <class T>
  struct Out {
    T dlogits;
    static constexpr std::array<std::string_view, 1> names{"dlogits"};
  };
  LossReduction reduction = LossReduction::mean;
  std::int64_t ignore_index = -100;
  static constexpr std::tuple attributes{
      Attribute{"reduction", &CrossEntropyGradient::reduction, "as for cross_entropy"},
      Attribute{"ignore_index", &CrossEntropyGradient::ignore_index, "as for cross_entropy"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<CrossEntropyGradient>> samples();
  static std::vector<Reject<CrossEntropyGradient>> rejects();
};

/// The loss alone, as most people want it.
inline Expr cross_entropy(const Expr& logits, const Expr& targets, CrossEntropy a = {},
                          std::source_location at = std::source_location::current()) {
  return apply(a, {logits, targets}, at).y;
}
/// Both outputs.
inline CrossEntropy::Out<Expr> cross_entropy(
    const CrossEntropy::In<Expr>& in, CrossEntropy a = {},
    std::source_location at = std::source_location::current()) {
  return apply(a, in, at);
}

namespace eval {
inline Tensor cross_entropy(const Tensor& logits, const Tensor& targets, CrossEntropy a = {}) {
  return apply(a, {logits, targets}, {true, false}).y;
}
}  // namespace eval

}  // namespace fovea
