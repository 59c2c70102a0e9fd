#include "fovea/ops/attention.h"

#include <doctest/doctest.h>

#include "attention_cases.h"
#include "fovea/ops/attention_gradient.h"
#include "fovea/ops/evaluate.h"
#include "fovea/tensor/parallel.h"

using namespace fovea;
using namespace fovea::test;

namespace {

Tensor matrix(std::initializer_list<double> values, std::int64_t rows) {
  return Tensor::from(values, {rows, static_cast<std::int64_t>(values.size()) / rows});
}

AttentionGradient::Out<Tensor> backward(const Attention& a, const Attention::In<Tensor>& in,
                                        const Tensor& dy, const Tensor& dlse) {
  const auto out = eval::attention(in, a);
  const auto optional = [](const Tensor& t) { return t ? std::optional(t) : std::nullopt; };
  return eval::apply(AttentionGradient{a}, {.q = in.q,
                                            .k = in.k,
                                            .v = in.v,
                                            .mask = in.mask,
                                            .bias = in.bias,
                                            .key_lengths = in.key_lengths,
                                            .y = out.y,
                                            .lse = out.lse,
                                            .dy = optional(dy),
                                            .dlse = optional(dlse)});
}

// As (batch, heads, length, dim) seen through (batch, length, heads, dim) memory.
Tensor heads_inside(const Tensor& t) {
  return t.transpose({0, 2, 1, 3}).contiguous().transpose({0, 2, 1, 3});
}

// A transpose of the last two axes: rows are not contiguous.
Tensor rows_outside(const Tensor& t) {
  return t.transpose({0, 1, 3, 2}).contiguous().transpose({0, 1, 3, 2});
}

struct Threads {
  explicit Threads(int n) : before(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before;
};

}  // namespace

TEST_CASE("attention: the two worked examples, to nine digits") {
  const Tensor y = eval::attention({.q = matrix({0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, 2),
                                    .k = matrix({0.7, 0.8, 0.9, 0.2, 0.3, 0.4}, 2),
                                    .v = matrix({0.5, 0.6, 0.7, 0.1, 0.2, 0.3}, 2)})
                       .y;
  CHECK(difference(y, {0.317277336, 0.417277336, 0.517277336, 0.342637138, 0.442637138,
                       0.542637138}) < 5.1e-10);
  const Tensor z = eval::attention({.q = matrix({1, 2, 3, 4}, 2),
                                    .k = matrix({5, 6, 7, 8}, 2),
                                    .v = matrix({9, 10, 11, 12}, 2)})
                       .y;
  CHECK(difference(z, {10.971667928, 11.971667928, 10.999899605, 11.999899605}) < 5.1e-10);
}

TEST_CASE("attention: the ways to call it") {
  const Expr q = input("q", f32, {2, 4, 8, 16}), k = input("k", f32, {2, 2, 8, 16}),
             v = input("v", f32, {2, 2, 8, 5}), m = input("m", boolean, {8, 8});
  CHECK(attention(q, k, v).shape() == Shape{2, 4, 8, 5});
  CHECK(attention(q, k, v, {.causal = true}).dtype() == f32);
  CHECK(attention(q, k, v, {.window = {256, 0}}).rank() == 4);
  CHECK(attention(q, k, v, {.window = {{}, 0}, .align = Align::bottom_right}).rank() == 4);
  auto [y, lse, scores, probs] = attention({.q = q, .k = k, .v = v, .mask = m}, {.scale = 0.1});
  CHECK(lse.shape() == Shape{2, 4, 8});
  CHECK(scores.shape() == Shape{2, 4, 8, 8});
  CHECK(probs.shape() == scores.shape());
  CHECK(same(y, Expr(lse.node_pointer(), 0)));
}

TEST_CASE("attention: only what is wanted is computed") {
  Cases cases(1);
  const Case c = cases.next();
  const auto usual = eval::attention(c.in, c.a);
  CHECK((usual.y && usual.lse && !usual.scores && !usual.probs));
  const auto all = eval::attention(c.in, c.a, {true, true, true, true});
  for (std::size_t only = 0; only < 4; ++only) {
    CAPTURE(only);
    std::vector<bool> wanted(4);
    wanted[only] = true;
    const std::vector<Tensor> some = flatten(eval::attention(c.in, c.a, wanted));
    for (std::size_t o = 0; o < 4; ++o) CHECK(some[o].defined() == (o == only));
    CHECK(equal_bits(some[only], flatten(all)[only]));
  }
}

TEST_CASE("attention: strided inputs give the bits of contiguous ones") {
  const auto random = [](const Shape& shape, std::uint64_t stream) {
    return random_normal(f32, shape, 0, 1, {7, stream});
  };
  const Attention a{.causal = true};
  const Attention::In<Tensor> in{.q = random({2, 4, 33, 16}, 0),
                                 .k = random({2, 2, 33, 16}, 1),
                                 .v = random({2, 2, 33, 24}, 2),
                                 .bias = random({4, 33, 33}, 3)};
  const Tensor dy = random({2, 4, 33, 24}, 4), dlse = random({2, 4, 33}, 5);
  const auto want = eval::attention(in, a, {true, true, true, true});
  const auto want_d = backward(a, in, dy, dlse);
  for (const auto& view : {heads_inside, rows_outside}) {
    const Attention::In<Tensor> strided{
        .q = view(in.q),
        .k = view(in.k),
        .v = view(in.v),
        .bias = in.bias->transpose({2, 0, 1}).contiguous().transpose({1, 2, 0})};
    REQUIRE_FALSE(strided.q.is_contiguous());
    const auto got = eval::attention(strided, a, {true, true, true, true});
    const auto got_d = backward(a, strided, view(dy), dlse);
    for (std::size_t o = 0; o < 4; ++o) {
      CAPTURE(o);
      CHECK(equal_bits(flatten(got)[o], flatten(want)[o]));
      CHECK(equal_bits(flatten(got_d)[o], flatten(want_d)[o]));
    }
  }
}

TEST_CASE("attention: strides of 0 and below 0") {
  const Tensor row = random_normal(f64, {1, 1, 6, 4}, 0, 1, {8, 0});
  const Attention::In<Tensor> in{.q = row.broadcast_to({2, 3, 6, 4}),
                                 .k = row.slice(2, {}, {}, -1).broadcast_to({2, 3, 6, 4}),
                                 .v = row.broadcast_to({2, 3, 6, 4})};
  const Reference r = reference({}, in);
  CHECK(difference(eval::attention(in).y, r.y) < tolerance(f64, r, r.y));
}

TEST_CASE("attention: the same bits for every number of threads") {
  const auto random = [](const Shape& shape, std::uint64_t stream) {
    return random_normal(f32, shape, 0, 1, {9, stream});
  };
  for (const std::int64_t heads : {1, 4}) {
    const Attention a{.window = {300, 50}};
    const Attention::In<Tensor> in{.q = random({1, heads, 700, 32}, 0),
                                   .k = random({1, 1, 700, 32}, 1),
                                   .v = random({1, 1, 700, 32}, 2),
                                   .bias = random({700}, 3)};
    const Tensor dy = random({1, heads, 700, 32}, 4), dlse = random({1, heads, 700}, 5);
    std::vector<Tensor> want;
    for (const int threads : {1, 2, 3, 8}) {
      CAPTURE(threads);
      const Threads scope(threads);
      std::vector<Tensor> got = flatten(eval::attention(in, a, {true, true, true, true}));
      for (const Tensor& d : flatten(backward(a, in, dy, dlse))) got.push_back(d);
      if (want.empty()) want = got;
      for (std::size_t o = 0; o < got.size(); ++o) CHECK(equal_bits(got[o], want[o]));
    }
  }
}

TEST_CASE("attention: logits of 1e4 and beyond neither overflow nor lose accuracy") {
  for (const double size : {1e4, 1e6}) {
    Tensor q = random_normal(f64, {20, 4}, 0, size, {10, 0});
    const Attention::In<Tensor> in{.q = q,
                                   .k = random_normal(f64, {30, 4}, 0, 1, {10, 1}),
                                   .v = random_normal(f64, {30, 3}, 0, 1, {10, 2})};
    const Tensor dy = random_normal(f64, {20, 3}, 0, 1, {10, 3});
    for (const DType dtype : {f32, f64}) {
      const Attention::In<Tensor> rounded = as(dtype, in);
      const Reference r = reference({}, rounded, dy);
      const auto out = eval::attention(rounded);
      CHECK(difference(out.y, r.y) < tolerance(dtype, r, r.y));
      CHECK(difference(out.lse, r.lse) < tolerance(dtype, r, r.lse));
      const auto d = backward({}, rounded, dy.astype(dtype), {});
      CHECK(largest(d.dq.astype(f64).to_vector<double>()) < 1e3);
      CHECK(difference(d.dv, r.dv) < tolerance(dtype, r, r.dv));
    }
  }
}

TEST_CASE("attention: positions and windows as far as integers go") {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const auto random = [](std::uint64_t stream) {
    return random_normal(f64, {5, 3}, 0, 1, {50, stream});
  };
  const Attention::In<Tensor> in{random(0), random(1), random(2)};
  const auto same = [&](const Attention& a, const Attention& b) {
    CHECK(equal_bits(eval::attention(in, a).y, eval::attention(in, b).y));
  };
  same({.window = {kMost, kMost}, .query_offset = kMost}, {.window = {0, {}}});
  same({.window = {{}, kMost}, .query_offset = -kMost}, {.causal = true});
  same({.window = {kMost, kMost}, .query_offset = 2}, {});
  same({.causal = true, .window = {kMost, kMost}}, {.causal = true});
}
