#include <limits>

#include "fovea/ops/attention.h"
#include "fovea/ops/attention_gradient.h"

namespace fovea {

namespace {

using arg::normal;

constexpr double kHidden = -std::numeric_limits<double>::infinity();

// (2, 3, 2), (2, 4, 2), (2, 4, 3): lengths and dims differ.
Attention::In<Arg> batched() { return {normal({2, 3, 2}), normal({2, 4, 2}), normal({2, 4, 3})}; }

Attention::In<Arg> with(Attention::In<Arg> in, Arg mask, Arg bias = {}, Arg key_lengths = {}) {
  in.mask = std::move(mask), in.bias = std::move(bias), in.key_lengths = std::move(key_lengths);
  return in;
}

// A row that sees nothing, one that sees all, one that sees some.
Arg hiding_mask() { return arg::values({0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1}, {3, 4}, boolean); }
Arg hiding_bias() {
  return arg::values({0.3, kHidden, -1, 0.5, kHidden, kHidden, kHidden, kHidden, 1, 2, -0.5, 0},
                     {3, 4});
}
Arg lengths(double first, double second) { return arg::values({first, second}, {2}, i64); }

// Calls that attention and its gradient are both tried on.
std::vector<Sample<Attention>> calls() {
  const Attention plain;
  return {
      {plain, {normal({3, 2}), normal({4, 2}), normal({4, 3})}, "rank 2, D, Dv, Lq and Lk differ"},
      {{.scale = -0.7, .softcap = 1.5}, batched(), "rank 3, scale and softcap"},
      {plain,
       {normal({2, 4, 3, 2}), normal({2, 2, 2, 2}), normal({2, 2, 2, 3})},
       "rank 4, two query heads for each KV head"},
      {{.causal = true}, {normal({4, 2}), normal({4, 2}), normal({4, 2})}, "causal"},
      {{.causal = true, .align = Align::top_left}, batched(), "causal, top left"},
      {{.causal = true, .align = Align::bottom_right}, batched(), "causal, bottom right"},
      {{.causal = true, .align = Align::bottom_right},
       {normal({4, 2}), normal({2, 2}), normal({2, 2})},
       "causal, bottom right: the first queries see nothing"},
      {{.causal = true, .window = {1, {}}, .query_offset = 1}, batched(), "causal window, offset"},
      {{.window = {{}, 0}, .query_offset = -2}, batched(), "window open on the left"},
      {{.window = {1, 1}}, {normal({5, 2}), normal({5, 2}), normal({5, 1})}, "window"},
      {plain, with(batched(), hiding_mask()), "a query that sees nothing"},
      {plain, with(batched(), {}, hiding_bias()), "bias that hides"},
      {{.softcap = 2}, with(batched(), {}, normal({4})), "bias for keys"},
      {plain, with(batched(), {}, normal({2, 1, 1})), "bias for items"},
      {plain,
       with({normal({2, 4, 3, 2}), normal({2, 2, 4, 2}), normal({2, 2, 4, 2})},
            arg::values({1, 0, 1, 1, 1, 1, 0, 1}, {2, 1, 1, 4}, boolean), normal({4, 3, 1})),
       "rank 4, mask for items and keys, bias for heads and queries"},
      {plain, with(batched(), {}, {}, lengths(3, 0)), "key lengths"},
      {{.causal = true, .window = {1, {}}, .align = Align::bottom_right},
       with(batched(), hiding_mask(), normal({3, 4}), lengths(4, 2)),
       "everything at once"},
      {plain, {normal({2, 3, 2}), normal({2, 0, 2}), normal({2, 0, 3})}, "no keys"},
      {plain, {normal({2, 0, 2}), normal({2, 3, 2}), normal({2, 3, 3})}, "no queries"},
      {plain, {normal({0, 3, 2}), normal({0, 3, 2}), normal({0, 3, 2})}, "no items"}};
}

}  // namespace

std::vector<Sample<Attention>> Attention::samples() {
  std::vector<Sample<Attention>> all = calls();
  all.push_back(
      {{.softcap = 1.5, .scores_stage = ScoresStage::capped}, batched(), "capped scores"});
  all.push_back({{.scores_stage = ScoresStage::biased},
                 with(batched(), arg::values({1, 0, 1, 1}, {4}, boolean), normal({3, 1})),
                 "scores with bias and mask"});
  return all;
}

std::vector<Reject<Attention>> Attention::rejects() {
  const Attention plain;
  const Arg x = normal({3, 2});
  const auto plus = [&](Arg mask, Arg bias = {}, Arg key_lengths = {}) {
    return with(batched(), std::move(mask), std::move(bias), std::move(key_lengths));
  };
  return {
      {plain, {normal({2}), normal({2}), normal({2})}, "rank 1"},
      {plain, {x, normal({2, 3, 2}), x}, "one rank"},
      {plain, {arg::integers({3, 2}, 0, 3), x, x}, "f32 or f64"},
      {plain, {x, arg::integers({3, 2}, 0, 3), x}, "one dtype"},
      {plain, {x, normal({3, 4}), x}, "inner extents 2 and 4 differ"},
      {plain, {normal({3, 0}), normal({3, 0}), x}, "at least 1"},
      {plain, {x, x, normal({4, 2})}, "lengths 3 and 4"},
      {plain, {normal({2, 3, 2}), normal({1, 3, 2}), normal({2, 3, 2})}, "batches of 2, 1 and 2"},
      {plain, {normal({1, 3, 2, 2}), normal({1, 2, 2, 2}), normal({1, 2, 2, 2})}, "multiple"},
      {plain, {normal({1, 2, 2, 2}), normal({1, 2, 2, 2}), normal({1, 1, 2, 2})}, "heads"},
      {plain, plus(normal({3, 4})), "bool is required"},
      {plain, plus(arg::bernoulli({4, 4})), "does not broadcast"},
      {plain, plus({}, normal({1, 2, 3, 4})), "does not broadcast"},
      {plain, plus({}, arg::bernoulli({3, 4})), "one dtype"},
      {plain, plus({}, {}, normal({2})), "i64"},
      {plain, plus({}, {}, arg::integers({3}, 0, 4)), "one length for each item"},
      {plain, plus({}, {}, lengths(5, 1)), "[0, 4]"},
      {plain, plus({}, {}, lengths(4, -1)), "[0, 4]"},
      {plain, with({x, x, x}, {}, {}, arg::integers({1}, 0, 3)), "rank 3 or 4"},
      {{.causal = true}, batched(), "bottom_right"},
      {{.window = {1, 0}}, batched(), "top_left"},
      {{.window = {-1, 0}}, {x, x, x}, "left side of window"},
      {{.align = Align::top_left, .query_offset = 0}, {x, x, x}, "one of them at most"},
      {{.scale = kHidden}, {x, x, x}, "finite"},
      {{.softcap = -1}, {x, x, x}, "softcap"},
      {{.require = Require::fused}, {x, x, x}, "require"}};
}

std::vector<Sample<AttentionGradient>> AttentionGradient::samples() {
  std::vector<Sample<AttentionGradient>> all;
  for (const Sample<Attention>& call : calls()) {
    const Attention::In<Arg>& in = call.in;
    const std::int64_t last = in.q.shape.rank() - 1;
    const Arg y = normal(in.q.shape.with(last, in.v.shape[-1])),
              lse = normal(in.q.shape.without(last));
    const bool only_y = all.size() % 3 == 1, only_lse = all.size() % 3 == 2;
    all.push_back({AttentionGradient{call.op},
                   {.q = in.q,
                    .k = in.k,
                    .v = in.v,
                    .mask = in.mask,
                    .bias = in.bias,
                    .key_lengths = in.key_lengths,
                    .y = only_lse ? Arg() : y,
                    .lse = lse,
                    .dy = only_lse ? Arg() : y,
                    .dlse = only_y ? Arg() : lse},
                   call.note});
  }
  return all;
}

std::vector<Reject<AttentionGradient>> AttentionGradient::rejects() {
  const AttentionGradient plain;
  const Arg x = normal({3, 2}), lse = normal({3}), wrong = normal({2});
  return {{plain, {.q = x, .k = x, .v = x, .y = x, .lse = wrong, .dy = x}, "lse is f64 (2,)"},
          {plain, {.q = x, .k = x, .v = x, .y = lse, .lse = lse, .dy = x}, "y is f64 (3,)"},
          {plain, {.q = x, .k = x, .v = x, .y = x, .lse = lse, .dy = lse}, "dy is f64 (3,)"},
          {plain, {.q = x, .k = x, .v = x, .lse = lse, .dlse = wrong}, "dlse is f64 (2,)"},
          {plain, {.q = x, .k = x, .v = x, .lse = lse, .dy = x}, "dy without y"},
          {plain, {.q = x, .k = x, .v = x, .y = x, .lse = lse}, "neither dy nor dlse"},
          {plain, {.q = x, .k = normal({3, 1}), .v = x, .y = x, .lse = lse, .dy = x}, "differ"}};
}

}  // namespace fovea
