// The gradient of attention as an op of its own.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/attention.h"

namespace fovea {

/// Gradients of Σ dy∘y + Σ dlse∘lse for attention's results y and lse, with attention's inputs and
/// attributes, in memory that grows with the lengths:
///
///     p = exp(s − lse),  ds = p ∘ (dy vᵀ − Σ dy∘y + dlse),  dv = pᵀ dy,  dbias = ds,
///     dq = scale · ds k,  dk = scale · dsᵀ q   (ds times 1 − tanh² before, with a softcap).
///
/// `y` and `lse` count as inputs of their own: second derivatives come from that. dbias has the
/// shape of the bias, (0) without one. A query that sees nothing, and whatever is hidden, gets and
/// sends exactly 0.
///
/// Throws Error for what attention refuses, for y, lse, dy or dlse of another shape than
/// attention's results, for dy without y, and without both dy and dlse.
///
/// Source: arXiv 2307.08691, algorithm 2.
struct AttentionGradient : Attention {
  static constexpr std::string_view name = "attention_gradient";
  static constexpr std::string_view doc =
      "Gradients of sum(dy * y) + sum(dlse * lse) for the results y and lse of attention.";

  template <class T>
  struct In {
    T q, k, v;
    std::optional<T> mask = {}, bias = {}, key_lengths = {};
    std::optional<T> y = {};
    T lse;
    std::optional<T> dy = {}, dlse = {};
    static constexpr std::array<std::string_view, 10> names{
        "q", "k", "v", "mask", "bias", "key_lengths", "y", "lse", "dy", "dlse"};
    static constexpr std::array<std::string_view, 10> docs{"as for attention",
                                                           "as for attention",
                                                           "as for attention",
                                                           "as for attention",
                                                           "as for attention",
                                                           "as for attention",
                                                           "attention's y; needed with dy",
                                                           "attention's lse",
                                                           "cotangent of y; 0 when left out",
                                                           "cotangent of lse; 0 when left out"};
  };
  template <class T>
  struct Out {
    T dq, dk, dv, dbias;
    static constexpr std::array<std::string_view, 4> names{"dq", "dk", "dv", "dbias"};
  };

  static constexpr std::tuple attributes{
      std::get<0>(Attention::attributes), std::get<1>(Attention::attributes),
      std::get<2>(Attention::attributes), std::get<3>(Attention::attributes),
      std::get<4>(Attention::attributes), std::get<5>(Attention::attributes),
      std::get<7>(Attention::attributes)};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<AttentionGradient>> samples();
  static std::vector<Reject<AttentionGradient>> rejects();
};

}  // namespace fovea
