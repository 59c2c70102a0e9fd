// Scaled dot-product attention: one op, fused, with every restriction on what a query may see.
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

/// Keys that a query sees on either side of its own position; a side that is null has no bound.
///
///     attention(q, k, v, {.causal = true, .window = {256, 0}, .align = Align::top_left});
struct Window {
  std::optional<std::int64_t> left = {}, right = {};

  friend bool operator==(const Window&, const Window&) = default;
};

/// In a model: `[256, 0]`, `[null, 4]`.
template <>
struct AttributeCodec<Window> {
  static AttributeType type();
  static AttributeValue encode(const Window& window);
  static Window decode(const AttributeValue& value);
};

/// Where query 0 stands among the keys: at key 0, or so that the last query stands at the last key.
enum class Align { top_left, bottom_right };
template <>
struct EnumNames<Align> {
  static constexpr std::array<std::string_view, 2> names{"top_left", "bottom_right"};
};

/// Which scores the output `scores` holds: `scale · q kᵀ`, these after the softcap, or those with
/// bias and −inf where hidden. The first two are not masked.
enum class ScoresStage { raw, capped, biased };
template <>
struct EnumNames<ScoresStage> {
  static constexpr std::array<std::string_view, 3> names{"raw", "capped", "biased"};
};

/// How attention must be computed: `fused` takes memory that grows with the lengths, not with their
/// product.
enum class Require { fused };
template <>
struct EnumNames<Require> {
  static constexpr std::array<std::string_view, 1> names{"fused"};
};

/// y[i] = Σ_j p[i,j] v[j], p[i,j] = exp(s[i,j] − lse[i]), lse[i] = log Σ_j exp s[i,j] over the keys
/// j that query i sees, where s = scale · q kᵀ, then softcap · tanh(s / softcap), then + bias.
///
/// Shapes (leading axes may be missing: rank 2 is (length, dim), rank 3 (batch, length, dim)):
///
///     q (batch, heads, Lq, D)      k (batch, kv_heads, Lk, D)      v (batch, kv_heads, Lk, Dv)
///     y (batch, heads, Lq, Dv)     lse (batch, heads, Lq)    scores, probs (batch, heads, Lq, Lk)
///
/// `heads` is a multiple of `kv_heads`; query head h reads head h / (heads / kv_heads) of k and v.
/// A key is visible unless one of mask, a bias of −inf, key_lengths, causal or window hides it.
/// What is hidden from a query does not reach it, not even NaN or infinity, and receives exactly 0
/// from it. A query that sees nothing has y = 0, lse = −inf and gradients of 0; one that sees a
/// value that is not finite gets a row that is not finite. Lengths, heads and batches of 0 are
/// legal.
///
/// Only outputs that somebody uses are computed; scores and probs take Lq·Lk memory.
///
/// Throws Error for dtypes, ranks or extents that do not fit; for `causal` or `window` where Lq and
/// Lk differ and neither `align` nor `query_offset` is given; for both of these; for values out of
/// range; when it runs, for a key length outside [0, Lk].
///
/// Sources: arXiv 1706.03762; grouped heads 2305.13245; fused 2205.14135, 2307.08691.
struct Attention {
  static constexpr std::string_view name = "attention";
  static constexpr std::string_view doc =
      "y = softmax(scale * q k^T + bias over the keys that each query sees) v.";

  template <class T>
  struct In {
    T q, k, v;
    std::optional<T> mask = {}, bias = {}, key_lengths = {};
    static constexpr std::array<std::string_view, 6> names{"q",    "k",    "v",
                                                           "mask", "bias", "key_lengths"};
    static constexpr std::array<std::string_view, 6> docs{
        "(batch, heads, Lq, D); leading axes may be missing: (batch, Lq, D), (Lq, D)",
        "(batch, kv_heads, Lk, D); heads is a multiple of kv_heads, query head h reads head h / "
        "(heads / kv_heads)",
        "(batch, kv_heads, Lk, Dv)",
        "bool, true = visible; broadcasts, aligned to the right, to (batch, heads, Lq, Lk)",
        "of q's dtype, added to the scores, -inf hides; broadcasts as mask does",
        "i64 (batch): key j of item b is visible iff j < key_lengths[b]"};
  };
  template <class T>
  struct Out {
    T y, lse, scores, probs;
    static constexpr std::array<std::string_view, 4> names{"y", "lse", "scores", "probs"};
    static constexpr std::array<std::string_view, 4> docs{
        "(batch, heads, Lq, Dv); 0 for a query that sees no key",
        "(batch, heads, Lq): log of the sum of exp(scores) over the keys that a query sees; -inf "
        "for none",
        "(batch, heads, Lq, Lk), as scores_stage says; takes Lq * Lk memory",
        "(batch, heads, Lq, Lk): the probabilities; takes Lq * Lk memory"};
  };

  std::optional<double> scale = {};
  double softcap = 0;
  bool causal = false;
  Window window = {};
  std::optional<Align> align = {};
  std::optional<std::int64_t> query_offset = {};
  ScoresStage scores_stage = ScoresStage::raw;
  std::optional<Require> require = {};

  static constexpr std::tuple attributes{
      Attribute{"scale", &Attention::scale, "factor of q k^T, finite; 1/sqrt(D) when left out"},
      Attribute{"softcap", &Attention::softcap,
                "scores become softcap * tanh(scores / softcap); 0: they do not"},
      Attribute{"causal", &Attention::causal, "query i sees key j iff j <= i + query_offset"},
      Attribute{"window", &Attention::window,
                "[left, right]: query i sees key j iff i + query_offset - left <= j <= i + "
                "query_offset + right; null: no bound"},
      Attribute{"align", &Attention::align,
                "query_offset 0, or the one at which the last query stands at the last key (of "
                "key_lengths, where given)"},
      Attribute{"query_offset", &Attention::query_offset,
                "key position of query 0, any integer; not together with align. One of them is "
                "needed where "
                "causal or window is given and Lq differs from Lk"},
      Attribute{"scores_stage", &Attention::scores_stage,
                "what `scores` holds: scale * q k^T, the same after softcap, or with bias and -inf "
                "where hidden"},
      Attribute{"require", &Attention::require,
                "\"fused\": refuse to compute anything that takes Lq * Lk memory"}};
  static constexpr std::array<std::string_view, 3> reserved_inputs{"sink", "query_lengths",
                                                                   "segments"};
  static constexpr std::array<std::string_view, 3> reserved_attributes{"score", "alibi", "dropout"};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  /// Those of both products, whatever is hidden.
  double flops(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  bool vjp_covers(const Out<Expr>& d) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Attention>> samples();
  static std::vector<Reject<Attention>> rejects();
};

/// The output y.
Expr attention(const Expr& q, const Expr& k, const Expr& v, const Attention& a = {},
               std::source_location at = std::source_location::current());

/// All outputs: `auto [y, lse, scores, probs] = attention({.q = q, .k = k, .v = v, .mask = m});`
Attention::Out<Expr> attention(const Attention::In<Expr>& in, const Attention& a = {},
                               std::source_location at = std::source_location::current());

namespace eval {

/// At once. `wanted[i]` says whether output i is computed; the others are null.
Attention::Out<Tensor> attention(const Attention::In<Tensor>& in, const Attention& a = {},
                                 std::vector<bool> wanted = {true, true, false, false});

}  // namespace eval

}  // namespace fovea
