#include "fovea/ops/attention_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "fovea/tensor/format.h"
#include "fovea/tensor/strided.h"

namespace fovea::detail {

namespace {

using Specs = Attention::In<TensorSpec>;

void check_dtypes(std::string_view where, const Specs& in) {
  if (!is_float(in.q.dtype)) {
    fail(where, "q is {}; f32 or f64 is required", to_string(in.q));
  }
  const auto same = [&](std::string_view name, const TensorSpec& x) {
    if (x.dtype != in.q.dtype) {
      fail(where, "q is {} and {} is {}; one dtype is required", to_string(in.q), name,
           to_string(x));
    }
  };
  same("k", in.k);
  same("v", in.v);
  if (in.mask && in.mask->dtype != boolean) {
    fail(where,
         "mask is {}; bool is required, true = visible (what is added to the scores is bias)",
         to_string(*in.mask));
  }
  if (in.bias) same("bias", *in.bias);
  if (in.key_lengths && in.key_lengths->dtype != i64) {
    fail(where, "key_lengths is {}; i64 is required", to_string(*in.key_lengths));
  }
}

void check_ranks(std::string_view where, const Shape& q, const Shape& k, const Shape& v) {
  if (q.rank() < 2 || q.rank() > 4) {
    fail(where,
         "q {} has rank {}; (length, dim), (batch, length, dim) or (batch, heads, length, dim) is "
         "required",
         q, q.rank());
  }
  if (k.rank() != q.rank() || v.rank() != q.rank()) {
    fail(where, "q {}, k {} and v {} have ranks {}, {} and {}; one rank is required", q, k, v,
         q.rank(), k.rank(), v.rank());
  }
}

void check_extents(std::string_view where, const Shape& q, const Shape& k, const Shape& v) {
  const std::int64_t rank = q.rank();
  if (rank >= 3 && (k[0] != q[0] || v[0] != q[0])) {
    fail(where, "q {}, k {} and v {} have batches of {}, {} and {}; equal ones are required", q, k,
         v, q[0], k[0], v[0]);
  }
  if (rank == 4 && k[1] != v[1]) {
    fail(where, "k {} and v {} have {} and {} heads; as many are required", k, v, k[1], v[1]);
  }
  if (rank == 4 && (k[1] == 0 ? q[1] != 0 : q[1] % k[1] != 0)) {
    fail(where, "q {} has {} heads, k {} and v have {}; a multiple of these is required", q, q[1],
         k, k[1]);
  }
  if (q[-1] != k[-1]) {
    fail(where, "q {} and k {}: inner extents {} and {} differ; equal ones are required", q, k,
         q[-1], k[-1]);
  }
  if (q[-1] < 1) {
    fail(where, "q {} and k {} have inner extents of 0; at least 1 is required", q, k);
  }
  if (k[-2] != v[-2]) {
    fail(where, "k {} and v {} have lengths {} and {}; equal ones are required", k, v, k[-2],
         v[-2]);
  }
}

void check_restrictions(std::string_view where, const Specs& in, const Shape& scores) {
  const auto broadcasts = [&](std::string_view name, const Shape& shape) {
    if (!broadcasts_to(shape, scores)) {
      fail(where, "{} {} does not broadcast to the scores; {} of the shape {} is required", name,
           shape,
           scores.rank() == 4   ? "(batch, heads, Lq, Lk)"
           : scores.rank() == 3 ? "(batch, Lq, Lk)"
                                : "(Lq, Lk)",
           scores);
    }
  };
  if (in.mask) broadcasts("mask", in.mask->shape);
  if (in.bias) broadcasts("bias", in.bias->shape);
  if (!in.key_lengths) return;
  const Shape& lengths = in.key_lengths->shape;
  if (scores.rank() == 2) {
    fail(where, "key_lengths {} beside q {} of rank 2; a batch (rank 3 or 4) is required", lengths,
         in.q.shape);
  }
  if (lengths.rank() != 1 || lengths[0] != scores[0]) {
    fail(where, "key_lengths {}; one length for each item of the batch, ({},), is required",
         lengths, scores[0]);
  }
}

// `# # . .`: a row of keys, visible up to `last`.
std::string picture(std::int64_t keys, std::int64_t last) {
  std::string text;
  for (std::int64_t j = 0; j < keys; ++j) {
    text += j == 0 ? "" : " ";
    text += j <= last ? '#' : '.';
  }
  return text;
}

void check_position(std::string_view where, const Attention& a, const AttentionExtents& extents) {
  if (a.align && a.query_offset) {
    fail(where, "align \"{}\" and query_offset {}; one of them at most",
         EnumNames<Align>::names[static_cast<std::size_t>(*a.align)], *a.query_offset);
  }
  const bool windowed = a.window.left || a.window.right;
  if (!(a.causal || windowed) || a.align || a.query_offset || extents.queries == extents.keys) {
    return;
  }
  // The picture is small, whatever the lengths: 3 queries and 5 keys, or the other way round.
  const std::int64_t queries = extents.queries < extents.keys ? 3 : 5, keys = 8 - queries;
  std::string pictures;
  for (std::int64_t i = 0; i < queries; ++i) {
    pictures += format("\n    {}        {}", picture(keys, i), picture(keys, i + keys - queries));
  }
  fail(where,
       "{} with {} queries and {} keys; align \"top_left\" or \"bottom_right\", or query_offset "
       "(the key position of query 0), is required. For {} queries (rows) and {} keys, causal "
       "(#: visible):\n    {:<{}}{}{}",
       a.causal ? "causal" : "window", extents.queries, extents.keys, queries, keys, "top_left",
       2 * keys - 1 + 8, "bottom_right", pictures);
}

void check_attributes(std::string_view where, const Attention& a, DType dtype) {
  const double largest =
      dtype == f32 ? double{std::numeric_limits<float>::max()} : std::numeric_limits<double>::max();
  if (a.scale && !(std::abs(*a.scale) <= largest)) {
    fail(where, "scale is {}; a finite number in {} is required", *a.scale, name_of(dtype));
  }
  if (!(a.softcap >= 0) || !std::isfinite(a.softcap)) {
    fail(where, "softcap is {}; 0 (none) or a finite positive number is required", a.softcap);
  }
  const auto side = [&](std::string_view name, const std::optional<std::int64_t>& extent) {
    if (extent && *extent < 0) {
      fail(where,
           "the {} side of window is {}; a number of keys, or null for no bound, is required", name,
           *extent);
    }
  };
  side("left", a.window.left);
  side("right", a.window.right);
}

}  // namespace

AttentionExtents attention_extents(const Shape& q, const Shape& k, const Shape& v) {
  const std::int64_t rank = q.rank();
  AttentionExtents e{
      .rank = rank, .queries = q[-2], .keys = k[-2], .dim = q[-1], .value_dim = v[-1]};
  if (rank >= 3) e.batch = q[0];
  if (rank == 4) e.heads = q[1], e.kv_heads = k[1];
  return e;
}

Shape scores_shape(const Shape& q, const Shape& k) { return q.with(-1, k[-2]); }

AttentionExtents check_attention(std::string_view where, const Attention& a, const Specs& in) {
  check_dtypes(where, in);
  check_ranks(where, in.q.shape, in.k.shape, in.v.shape);
  check_extents(where, in.q.shape, in.k.shape, in.v.shape);
  const AttentionExtents extents = attention_extents(in.q.shape, in.k.shape, in.v.shape);
  check_restrictions(where, in, scores_shape(in.q.shape, in.k.shape));
  check_attributes(where, a, in.q.dtype);
  check_position(where, a, extents);
  return extents;
}

void check_key_lengths(std::string_view where, const Tensor& key_lengths, std::int64_t keys) {
  const std::int64_t* lengths = key_lengths.data<std::int64_t>();
  for (std::int64_t b = 0; b < key_lengths.numel(); ++b) {
    const std::int64_t length = lengths[b * key_lengths.strides()[0]];
    if (length < 0 || length > keys) {
      fail(where, "key_lengths[{}] is {}; a length in [0, {}] is required", b, length, keys);
    }
  }
}

double attention_scale(const Attention& a, const AttentionExtents& extents) {
  return a.scale.value_or(1 / std::sqrt(static_cast<double>(extents.dim)));
}

bool has_dense_rows(const Tensor& t) { return t.shape()[-1] <= 1 || t.strides().back() == 1; }

Tensor dense_rows(const Tensor& t) { return has_dense_rows(t) ? t : t.contiguous(); }

}  // namespace fovea::detail
