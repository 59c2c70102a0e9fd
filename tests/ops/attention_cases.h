// Random attention calls over all options.
#pragma once

#include <random>

#include "attention_reference.h"

namespace fovea::test {

struct Case {
  Attention a;
  Attention::In<Tensor> in;
  Tensor dy, dlse;  ///< cotangents; f64, like all floats here
};

/// The inputs as `dtype`, with everything else unchanged.
inline Attention::In<Tensor> as(DType dtype, Attention::In<Tensor> in) {
  for (Tensor* t : {&in.q, &in.k, &in.v}) *t = t->astype(dtype);
  if (in.bias) in.bias = in.bias->astype(dtype);
  return in;
}

class Cases {
 public:
  explicit Cases(std::uint64_t seed) : random_(seed) {}

  Case next() {
    Case c;
    const std::int64_t rank = pick({2, 3, 4, 4}), batch = pick({1, 2, 3});
    const std::int64_t kv_heads = pick({1, 2}), heads = kv_heads * pick({1, 1, 2, 3});
    const std::int64_t queries = pick({0, 1, 2, 5, 17, 33, 40}), keys = pick({0, 1, 3, 16, 31, 70});
    const std::int64_t dim = pick({1, 2, 5, 8, 17}), value_dim = pick({1, 3, 8, 16, 0, dim, dim});
    const auto shape = [&](std::int64_t h, std::int64_t length, std::int64_t d) {
      return rank == 2   ? Shape{length, d}
             : rank == 3 ? Shape{batch, length, d}
                         : Shape{batch, h, length, d};
    };
    c.in.q = normal(shape(heads, queries, dim));
    c.in.k = normal(shape(kv_heads, keys, dim));
    c.in.v = normal(shape(kv_heads, keys, value_dim));
    c.dy = normal(shape(heads, queries, value_dim));
    c.dlse = normal(shape(heads, queries, 1)).reshape(shape(heads, queries, 1).without(rank - 1));
    const Shape scores = shape(heads, queries, keys);
    if (one_in(3))
      c.in.mask = random_bernoulli(broadcastable(scores), one_in(2) ? 0.5 : 0.9, key());
    if (one_in(3)) c.in.bias = bias(broadcastable(scores));
    if (rank > 2 && one_in(3)) c.in.key_lengths = random_integers({batch}, 0, keys + 1, key());
    options(c.a, queries != keys);
    return c;
  }

 private:
  std::int64_t pick(std::initializer_list<std::int64_t> from) {
    return *(from.begin() + static_cast<std::ptrdiff_t>(random_() % from.size()));
  }
  bool one_in(unsigned n) { return random_() % n == 0; }
  Key key() { return {random_(), 0}; }
  Tensor normal(const Shape& shape) { return random_normal(f64, shape, 0, 1, key()); }

  // `scores` with some axes broadcast and perhaps leading ones missing.
  Shape broadcastable(Shape scores) {
    for (std::int64_t axis = 0; axis < scores.rank(); ++axis) {
      if (one_in(3)) scores = scores.with(axis, 1);
    }
    while (scores.rank() > 0 && scores[0] == 1 && one_in(2)) scores = scores.without(0);
    return scores;
  }

  Tensor bias(const Shape& shape) {
    const Tensor t = normal(shape);
    double* values = t.mutable_data<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      if (one_in(7)) values[i] = -kInfinity;
    }
    return t;
  }

  void options(Attention& a, bool lengths_differ) {
    constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
    if (one_in(4)) a.scale = one_in(3) ? 0.0 : one_in(2) ? -0.3 : 2.5;
    if (one_in(4)) a.softcap = one_in(2) ? 0.5 : 20.0;
    a.causal = one_in(3);
    if (one_in(4)) a.window.left = pick({0, 1, 7, 1000, kMost});
    if (one_in(4)) a.window.right = pick({0, 1, 7, 1000, kMost});
    if (one_in(3)) {
      a.query_offset = pick({-40, -1, 0, 1, 3, 50, kMost - 5, -kMost});
    } else if (lengths_differ || one_in(2)) {
      a.align = one_in(2) ? Align::top_left : Align::bottom_right;
    }
  }

  std::mt19937_64 random_;
};

}  // namespace fovea::test
