// Attention on pointers: forward, backward, and the optional scores and probabilities.
//
// The mathematics, for query i and key j of one batch item and one query head h, which reads KV
// head h / (heads / kv_heads):
//
//     s[i,j] = scale · Σ_d q[i,d] k[j,d];   s = softcap · tanh(s / softcap) if softcap > 0;   s +=
//     bias[i,j]; s[i,j] = −inf unless visible;   lse[i] = log Σ_j exp s[i,j];   p[i,j] = exp(s[i,j]
//     − lse[i]);   y[i] = Σ_j p[i,j] v[j].
//
// Queries are tiled in panels, keys in blocks, with an online softmax (arXiv 1805.02867,
// 2307.08691), so that memory grows with the lengths and not with their product. Results do not
// depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fovea::kernels {

/// A (batch, heads, length, dim) operand: element (b, h, i, d) is `data[b*batch + h*head + i*row +
/// d]`. Strides are in elements and may be 0 or negative; the last axis is contiguous. Also used
/// without the last axis, for `lse`. Null `data` means absent.
template <class T>
struct HeadView {
  T* data = nullptr;
  std::int64_t batch = 0, head = 0, row = 0;

  operator HeadView<const T>() const requires(!std::is_const_v<T>) {
    return {data, batch, head, row};
  }
};

/// Something of the scores' shape (batch, heads, queries, keys): element (b, h, i, j) is
/// `data[b*batch + h*head + i*row + j*column]`. An axis that is broadcast has stride 0. Null `data`
/// means absent.
template <class T>
struct ScoreView {
  T* data = nullptr;
  std::int64_t batch = 0, head = 0, row = 0, column = 0;
};

/// No bound on that side of the window.
inline constexpr std::int64_t kUnbounded = -1;

/// Inputs and options, T float or double. The caller has checked the extents: none is negative,
/// `dim` ≥ 1, `heads` is a multiple of `kv_heads` (or 0).
template <class T>
struct AttentionProblem {
  std::int64_t batch = 1, heads = 1, kv_heads = 1;
  std::int64_t queries = 0, keys = 0, dim = 0, value_dim = 0;

  HeadView<const T> q;  ///< (batch, heads, queries, dim)
  HeadView<const T> k;  ///< (batch, kv_heads, keys, dim)
  HeadView<const T> v;  ///< (batch, kv_heads, keys, value_dim)

  ScoreView<const bool> mask;  ///< true = visible; may be absent
  ScoreView<const T> bias;     ///< added to the scores, −inf hides; may be absent

  /// Key j of item b is visible iff `j < key_lengths[b * key_lengths_stride]`; may be null.
  const std::int64_t* key_lengths = nullptr;
  std::int64_t key_lengths_stride = 1;

  double scale = 1;    ///< any finite number
  double softcap = 0;  ///< 0: none

  /// `j ≤ i + offset`.
  bool causal = false;
  /// `i + offset − left ≤ j ≤ i + offset + right`; each not negative, or `kUnbounded`.
  std::int64_t left = kUnbounded, right = kUnbounded;
  /// The offset is `query_offset`, any integer; or, with `bottom_right`, the item's key length
  /// minus `queries`.
  std::int64_t query_offset = 0;
  bool bottom_right = false;
};

/// What `attention_forward` fills; either may be absent.
template <class T>
struct AttentionResult {
  HeadView<T> y;    ///< (batch, heads, queries, value_dim); 0 for a query that sees nothing
  HeadView<T> lse;  ///< (batch, heads, queries); −inf for a query that sees nothing
};

/// What `attention_backward` reads and fills.
template <class T>
struct AttentionGradient {
  HeadView<const T> y, lse;  ///< the forward's own results
  HeadView<const T> dy;      ///< cotangent of y; absent means zeros
  HeadView<const T> dlse;    ///< cotangent of lse, (batch, heads, queries); absent means zeros

  /// Gradients, each filled completely; an absent one is not computed.
  HeadView<T> dq, dk, dv;
  /// Gradient of the bias: summed over every axis whose stride here is 0 (so the strides of a
  /// contiguous array of the bias's own shape, 0 where it broadcasts).
  ScoreView<T> dbias;
};

/// Bytes of scratch, for the problem's extents and the loop slots `slots` (fovea::num_threads()).
/// Pointers, strides and options of the problem are not read.
template <class T>
std::size_t attention_forward_scratch(const AttentionProblem<T>& problem, int slots);
template <class T>
std::size_t attention_backward_scratch(const AttentionProblem<T>& problem, int slots);

/// Fills `result`. `scratch` is aligned to 64 bytes and has `attention_forward_scratch(problem,
/// slots)` bytes. Runs in parallel over (batch, head, panel of queries), serially if there are more
/// threads now than `slots`. What is hidden from a query never reaches it, not even NaN or
/// infinity; a query that sees a value that is not finite gets a row that is not finite.
template <class T>
void attention_forward(const AttentionProblem<T>& problem, const AttentionResult<T>& result,
                       void* scratch, int slots);

/// Fills the gradients that are wanted, from P = exp(s − lse) and dS = P ∘ (dP − D), dP = dy vᵀ, D
/// = Σ dy∘y − dlse. The contract is that of the forward pass; hidden rows get and send exact zeros.
/// Every sum has one order, whoever computes its parts: few heads are shared among threads by
/// groups of queries, which add to dk and dv one after the other.
template <class T>
void attention_backward(const AttentionProblem<T>& problem, const AttentionGradient<T>& gradient,
                        void* scratch, int slots);

/// `raw`: scale · q kᵀ; `capped`: after the softcap; both not masked. `biased`: after the bias,
/// −inf where hidden.
enum class ScoresStage : std::uint8_t { raw, capped, biased };

/// scores(b, h, i, j) for all i and j. `scratch` as for `attention_forward`.
template <class T>
void attention_scores(const AttentionProblem<T>& problem, ScoresStage stage,
                      const ScoreView<T>& scores, void* scratch, int slots);

/// probs(b, h, i, j) = exp(s − lse), 0 where hidden, from the forward's own `lse`, which may lie in
/// a column of `probs`. `scratch` as for `attention_forward`.
template <class T>
void attention_probs(const AttentionProblem<T>& problem, const HeadView<const T>& lse,
                     const ScoreView<T>& probs, void* scratch, int slots);

}  // namespace fovea::kernels
