#include "fovea/ops/attention_terms.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "fovea/ops/activations.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/masked_matmul.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"

namespace fovea::detail {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<Extent> list(const Shape& shape) { return {shape.begin(), shape.end()}; }

// 0, 1, 2, … as i64 of this shape.
Expr count(const Shape& shape) {
  const Tensor t = Tensor::empty(i64, shape);
  std::iota(t.mutable_data<std::int64_t>(), t.mutable_data<std::int64_t>() + t.numel(), 0);
  return constant(t);
}

// a + b, or the nearest integer that there is.
std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b < 0 ? std::numeric_limits<std::int64_t>::min()
               : std::numeric_limits<std::int64_t>::max();
}

// Causal and window as one: key j is visible to query i iff low ≤ j − i − origin ≤ high, where the
// origin is 0, or, `from_key_lengths`, the item's key length minus the number of queries. A bound
// that hides nothing is null; the others are small, whatever the attributes were.
struct Band {
  std::optional<std::int64_t> low, high;
  bool from_key_lengths = false;
};

Band band_of(const Attention& a, const AttentionExtents& e, bool has_key_lengths) {
  Band band;
  const bool bottom_right = a.align == Align::bottom_right;
  band.from_key_lengths = bottom_right && has_key_lengths;
  const std::int64_t offset = band.from_key_lengths ? 0
                              : bottom_right        ? e.keys - e.queries
                                                    : a.query_offset.value_or(0);
  if (a.window.left) band.low = saturated_sum(offset, -*a.window.left);
  if (a.window.right) band.high = saturated_sum(offset, *a.window.right);
  if (a.causal) band.high = offset;
  // j − i − origin lies within ±reach.
  const std::int64_t reach =
      band.from_key_lengths ? e.queries + e.keys : std::max(e.queries, e.keys);
  if (band.low && *band.low <= -reach) band.low.reset();
  if (band.high && *band.high >= reach) band.high.reset();
  if (band.low) band.low = std::min(*band.low, reach);
  if (band.high) band.high = std::max(*band.high, -reach);
  return band;
}

// The softcap, or the nearest that a cotangent can be multiplied by; 0 stays 0.
double workable(double softcap, DType dtype) {
  const auto clamped = [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    return std::clamp(softcap, double{Limits::min() / Limits::epsilon()},
                      double{Limits::max() * Limits::epsilon()});
  };
  return softcap == 0 ? 0 : dtype == f32 ? clamped(0.0f) : clamped(0.0);
}

Expr both(const Expr& a, const Expr& b) { return a ? logical_and(a, b) : b; }

}  // namespace

AttentionTerms::AttentionTerms(std::string_view where, const Attention& a,
                               const Attention::In<Expr>& in)
    : extents_(attention_extents(in.q.shape(), in.k.shape(), in.v.shape())),
      scores_(scores_shape(in.q.shape(), in.k.shape())),
      scale_(attention_scale(a, extents_)),
      softcap_(workable(a.softcap, in.q.dtype())),
      q_(in.q),
      k_(per_query_head(in.k)),
      v_(per_query_head(in.v)),
      bias_(in.bias.value_or(Expr())),
      visible_(visible(a, in)) {
  if (a.require) {
    fail(where,
         "a derivative that is said with other ops, in Lq * Lk memory; require \"fused\" allows "
         "first derivatives of y and lse only");
  }
}

Expr AttentionTerms::per_query_head(const Expr& x) const {
  const std::int64_t groups = extents_.kv_heads == 0 ? 1 : extents_.heads / extents_.kv_heads;
  if (groups == 1) return x;
  const Shape grouped = x.shape().inserted(2, 1);
  const Expr repeated =
      broadcast_to(reshape(x, {.shape = list(grouped)}), {.shape = list(grouped.with(2, groups))});
  return reshape(repeated, {.shape = list(x.shape().with(1, extents_.heads))});
}

Expr AttentionTerms::visible(const Attention& a, const Attention::In<Expr>& in) const {
  const Band band = band_of(a, extents_, in.key_lengths.has_value());
  Expr all = in.mask.value_or(Expr());
  if (in.bias) all = both(all, not_equal(*in.bias, -kInfinity));
  const Expr key = count({extents_.keys}), query = count({extents_.queries, 1});
  Expr distance = key - query;
  if (in.key_lengths) {
    Shape one_each = scores_;
    for (std::int64_t axis = 1; axis < extents_.rank; ++axis) one_each = one_each.with(axis, 1);
    const Expr lengths = reshape(*in.key_lengths, {.shape = list(one_each)});
    all = both(all, less(key, lengths));
    if (band.from_key_lengths) distance = distance - (lengths - extents_.queries);
  }
  if (band.low) all = both(all, greater_equal(distance, *band.low));
  if (band.high) all = both(all, less_equal(distance, *band.high));
  return all ? broadcast_to(all, {.shape = list(scores_)}) : all;
}

Expr AttentionTerms::raw(bool hidden_too) const {
  return scale_ * (hidden_too ? matmul(q_, k_, {.transpose_b = true}) : pair(q_, k_));
}

Expr AttentionTerms::checked(const Expr& raw) const {
  return raw * where(isfinite(raw), constant(raw.dtype(), 1), kNan);
}

Expr AttentionTerms::capped(const Expr& raw) const {
  return softcap_ > 0 ? softcap_ * tanh(raw / softcap_) : raw;
}

Expr AttentionTerms::biased(const Expr& capped) const {
  return shown(bias_ ? capped + bias_ : capped, -kInfinity);
}

Expr AttentionTerms::shown(const Expr& x, double otherwise) const {
  return visible_ ? where(visible_, x, otherwise) : x;
}

Expr AttentionTerms::pair(const Expr& x, const Expr& z) const {
  return visible_ ? masked_matmul(x, swap_last_axes(z), visible_, {.masks = Masks::result})
                  : matmul(x, z, {.transpose_b = true});
}

Expr AttentionTerms::gather(const Expr& w, const Expr& z) const {
  return visible_ ? masked_matmul(w, z, visible_, {.masks = Masks::a}) : matmul(w, z);
}

Expr AttentionTerms::scatter(const Expr& w, const Expr& x) const {
  const Expr each =
      visible_ ? masked_matmul(swap_last_axes(w), x, swap_last_axes(visible_), {.masks = Masks::a})
               : matmul(w, x, {.transpose_a = true});
  if (extents_.heads == extents_.kv_heads) return each;
  const Shape one_head = each.shape().with(1, extents_.kv_heads);
  const Shape grouped = one_head.inserted(2, extents_.heads / extents_.kv_heads);
  return sum(reshape(each, {.shape = list(grouped)}), {.axes = 2});
}

Expr column(const Expr& x) { return reshape(x, {.shape = list(x.shape().inserted(x.rank(), 1))}); }

}  // namespace fovea::detail
