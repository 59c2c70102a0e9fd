// Attention and its gradient said with other ops: the same results, and the same promise about what
// is hidden.
#include <doctest/doctest.h>

#include "attention_cases.h"
#include "fovea/ops/attention_gradient.h"
#include "fovea/ops/evaluate.h"

using namespace fovea;
using namespace fovea::test;

namespace {

// An op's decomposition, computed.
template <class A>
std::vector<Tensor> by_decomposition(const A& a, const typename A::template In<Tensor>& in) {
  std::vector<Expr> inputs;
  std::vector<Binding> bindings;
  for (const Tensor& t : flatten(in)) {
    inputs.push_back(t ? input("", t.dtype(), t.shape()) : Expr());
    if (t) bindings.emplace_back(inputs.back(), t);
  }
  return evaluate(flatten(a.decomposition(unflatten<A::template In>(inputs))), bindings);
}

// Equal up to rounding; a row that is not finite in one is not finite in the other, but not always
// in the same places.
bool close(const Tensor& a, const Tensor& b, double tolerance) {
  if (spec_of(a) != spec_of(b)) return false;
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  const std::size_t columns = a.rank() == 0 ? 1 : static_cast<std::size_t>(a.shape()[-1]);
  for (std::size_t row = 0; row < x.size(); row += columns) {
    bool x_finite = true, y_finite = true, near = true;
    for (std::size_t i = row; i < row + columns; ++i) {
      if (x[i] == y[i]) continue;
      x_finite = x_finite && std::isfinite(x[i]);
      y_finite = y_finite && std::isfinite(y[i]);
      near = near && std::abs(x[i] - y[i]) <= tolerance * (1 + std::abs(y[i]));
    }
    if (x_finite != y_finite || (x_finite && !near)) return false;
  }
  return true;
}

void compare(const Attention& a, const Attention::In<Tensor>& in, const Tensor& dy,
             const Tensor& dlse) {
  const auto out = eval::attention(in, a, {true, true, true, true});
  const std::vector<Tensor> said = by_decomposition(a, in);
  CHECK(close(out.y, said[0], 1e-10));
  CHECK(close(out.lse, said[1], 1e-10));
  CHECK(close(out.scores, said[2], 1e-10));
  CHECK(close(out.probs, said[3], 1e-10));
  const AttentionGradient gradient{a};
  for (const int part : {0, 1, 2}) {
    CAPTURE(part);
    AttentionGradient::In<Tensor> given{.q = in.q,
                                        .k = in.k,
                                        .v = in.v,
                                        .mask = in.mask,
                                        .bias = in.bias,
                                        .key_lengths = in.key_lengths,
                                        .lse = out.lse};
    if (part != 1) given.y = out.y, given.dy = dy;
    if (part != 0) given.dlse = dlse;
    const std::vector<Tensor> d = flatten(eval::apply(gradient, given));
    const std::vector<Tensor> d_said = by_decomposition(gradient, given);
    for (std::size_t o = 0; o < d.size(); ++o) {
      CAPTURE(o);
      CHECK(close(d[o], d_said[o], 1e-10));
    }
  }
}

}  // namespace

TEST_CASE("attention: its decomposition on random calls") {
  Cases cases(40);
  for (int i = 0; i < 150; ++i) {
    CAPTURE(i);
    const Case c = cases.next();
    for (const ScoresStage stage : {ScoresStage::raw, ScoresStage::capped, ScoresStage::biased}) {
      Attention a = c.a;
      a.scores_stage = stage;
      compare(a, c.in, c.dy, c.dlse);
    }
  }
}

TEST_CASE("attention: its decomposition keeps what is hidden hidden") {
  const auto random = [](const Shape& shape, std::uint64_t stream) {
    return random_normal(f64, shape, 0, 1, {41, stream});
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::int64_t length = 12, at = 5;
  for (const double bad : {nan, kInfinity, -kInfinity}) {
    for (const std::size_t which : {0u, 1u, 2u, 3u, 4u}) {
      CAPTURE(bad);
      CAPTURE(which);
      std::vector<Tensor> values{random({length, 4}, 0), random({length, 4}, 1),
                                 random({length, 3}, 2), random({length, 3}, 3),
                                 random({length}, 4)};
      const Tensor row = values[which].select(0, at);
      row.copy_from(Tensor::full(f64, row.shape(), bad));
      for (const bool nobody_sees_it : {false, true}) {
        Attention::In<Tensor> in{values[0], values[1], values[2]};
        const Tensor mask = Tensor::full(boolean, {length, length}, 1);
        mask.select(0, at)
            .slice(0, nobody_sees_it ? 0 : 3)
            .copy_from(Tensor::zeros(boolean, {nobody_sees_it ? length : length - 3}));
        mask.select(1, at)
            .slice(0, nobody_sees_it ? 0 : 3)
            .copy_from(Tensor::zeros(boolean, {nobody_sees_it ? length : length - 3}));
        in.mask = mask;
        compare({.softcap = 3}, in, values[3], values[4]);
        compare({.causal = true, .scores_stage = ScoresStage::biased}, in, values[3], values[4]);
      }
    }
  }
}

TEST_CASE("attention: its decomposition with a softcap that f32 cannot hold") {
  const auto random = [](std::uint64_t stream) {
    return random_normal(f32, {4, 3}, 0, 1, {42, stream});
  };
  const Attention::In<Tensor> in{random(0), random(1), random(2)};
  const auto near = [](const Tensor& a, const Tensor& b, double tolerance) {
    return close(a.astype(f64), b.astype(f64), tolerance);
  };
  for (const double softcap : {1e-300, 1e300}) {
    CAPTURE(softcap);
    const Attention a{.softcap = softcap};
    const auto out = eval::attention(in, a);
    CHECK(near(out.y, by_decomposition(a, in)[0], 1e-6));
    const AttentionGradient gradient{a};
    const AttentionGradient::In<Tensor> given{
        .q = in.q, .k = in.k, .v = in.v, .y = out.y, .lse = out.lse, .dy = random(3)};
    const auto d = eval::apply(gradient, given);
    const std::vector<Tensor> said = by_decomposition(gradient, given);
    CHECK(near(d.dq, said[0], 1e-5));
    CHECK(near(d.dv, said[2], 1e-5));
  }
}
