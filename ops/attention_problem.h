// What attention and its gradient have in common: checked extents, and the kernels' view of
// tensors. Internal.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "fovea/ops/attention.h"
#include "fovea/ops/kernels/attention.h"

namespace fovea::detail {

/// Extents of a call; axes that its rank lacks are 1.
struct AttentionExtents {
  std::int64_t rank = 0;
  std::int64_t batch = 1, heads = 1, kv_heads = 1;
  std::int64_t queries = 0, keys = 0, dim = 0, value_dim = 0;
};
AttentionExtents attention_extents(const Shape& q, const Shape& k, const Shape& v);
/// (batch, heads, queries, keys), as far as the rank goes.
Shape scores_shape(const Shape& q, const Shape& k);

/// Throws Error, naming `where`, unless the inputs and attributes fit together.
AttentionExtents check_attention(std::string_view where, const Attention& a,
                                 const Attention::In<TensorSpec>& in);

/// Throws Error unless each key length is in [0, keys].
void check_key_lengths(std::string_view where, const Tensor& key_lengths, std::int64_t keys);

/// 1/√dim unless given.
double attention_scale(const Attention& a, const AttentionExtents& extents);

/// Whether the last axis of `t` is contiguous.
bool has_dense_rows(const Tensor& t);

/// `t` with its last axis contiguous: itself, or a copy.
Tensor dense_rows(const Tensor& t);

/// A (batch, heads, length, dim) tensor, or one without the last axis, of a call of rank `rank`.
template <class T>
kernels::HeadView<T> head_view(T* data, const Strides& strides, std::int64_t rank) {
  kernels::HeadView<T> view{.data = data};
  if (rank >= 3) view.batch = strides[0];
  if (rank == 4) view.head = strides[1];
  view.row = strides[static_cast<std::size_t>(rank - 2)];
  return view;
}
template <class T>
kernels::HeadView<const T> read_heads(const std::optional<Tensor>& t, std::int64_t rank) {
  return t ? head_view(t->data<T>(), t->strides(), rank) : kernels::HeadView<const T>{};
}
template <class T>
kernels::HeadView<T> write_heads(const Tensor& t, std::int64_t rank) {
  return t ? head_view(t.mutable_data<T>(), t.strides(), rank) : kernels::HeadView<T>{};
}

/// Something that broadcasts, aligned to the right, to the scores of a call of rank `rank`.
template <class T>
kernels::ScoreView<T> score_view(T* data, const Tensor& t, std::int64_t rank) {
  const auto stride = [&](std::int64_t from_right) {
    const std::int64_t axis = t.rank() - from_right;
    const bool broadcast = from_right > rank || axis < 0 || t.shape()[axis] == 1;
    return broadcast ? 0 : t.strides()[static_cast<std::size_t>(axis)];
  };
  const bool heads = rank == 4;
  return {.data = data,
          .batch = stride(heads ? 4 : 3),
          .head = heads ? stride(3) : 0,
          .row = stride(2),
          .column = stride(1)};
}

/// Everything but tensors; enough for the kernels to say how much scratch they need.
template <class T>
kernels::AttentionProblem<T> attention_problem(const Attention& a,
                                               const AttentionExtents& extents) {
  kernels::AttentionProblem<T> p;
  p.batch = extents.batch, p.heads = extents.heads, p.kv_heads = extents.kv_heads;
  p.queries = extents.queries, p.keys = extents.keys;
  p.dim = extents.dim, p.value_dim = extents.value_dim;
  p.scale = attention_scale(a, extents);
  p.softcap = a.softcap;
  p.causal = a.causal;
  p.left = a.window.left.value_or(kernels::kUnbounded);
  p.right = a.window.right.value_or(kernels::kUnbounded);
  p.query_offset = a.query_offset.value_or(0);
  p.bottom_right = a.align == Align::bottom_right;
  return p;
}

/// The problem with its tensors: q, k and v with contiguous last axes (`dense_rows`).
template <class T>
kernels::AttentionProblem<T> attention_problem(const Attention& a, const Attention::In<Tensor>& in,
                                               const AttentionExtents& extents) {
  kernels::AttentionProblem<T> p = attention_problem<T>(a, extents);
  p.q = read_heads<T>(in.q, extents.rank);
  p.k = read_heads<T>(in.k, extents.rank);
  p.v = read_heads<T>(in.v, extents.rank);
  if (in.mask) p.mask = score_view(in.mask->data<bool>(), *in.mask, extents.rank);
  if (in.bias) p.bias = score_view(in.bias->data<T>(), *in.bias, extents.rank);
  if (in.key_lengths) {
    p.key_lengths = in.key_lengths->data<std::int64_t>();
    p.key_lengths_stride = in.key_lengths->strides()[0];
  }
  return p;
}

}  // namespace fovea::detail
