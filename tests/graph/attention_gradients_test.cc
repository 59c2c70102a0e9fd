// Attention inside graphs: gradients of every output and order, and their memory.
#include <doctest/doctest.h>

#include <cmath>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/random.h"

using namespace fovea;

namespace {

Tensor normal(const Shape& shape, std::uint64_t stream) {
  return random_normal(f64, shape, 0, 1, {50, stream});
}

// Σ w∘y for fixed random weights: a loss that no symmetry makes zero.
Expr weighted(const Expr& y, std::uint64_t stream) {
  return sum(y * constant(normal(y.shape(), stream)));
}

struct Graph {
  Expr q = input("q", f64, {2, 4, 2}), k = input("k", f64, {2, 5, 2}),
       v = input("v", f64, {2, 5, 3}), bias = input("bias", f64, {4, 1}),
       mask = input("mask", boolean, {4, 5});
  std::vector<Binding> bindings() const {
    Tensor visible = random_bernoulli({4, 5}, 0.7, {50, 20});
    visible.select(0, 2).copy_from(Tensor::zeros(boolean, {5}));  // query 2 sees nothing
    return {{q, normal({2, 4, 2}, 0)},
            {k, normal({2, 5, 2}, 1)},
            {v, normal({2, 5, 3}, 2)},
            {bias, normal({4, 1}, 3)},
            {mask, visible}};
  }
  Attention::Out<Expr> call(const Attention& a) const {
    return attention({.q = q, .k = k, .v = v, .mask = mask, .bias = bias}, a);
  }
};

double value(const Expr& y, const std::vector<Binding>& bindings) {
  return evaluate(std::vector{y}, bindings)[0].item();
}

// Compares the gradient of `loss` with central differences of order h⁴.
void check_gradient(const Expr& loss, const Graph& g) {
  const std::vector<Expr> wrt{g.q, g.k, g.v, g.bias};
  const std::vector<Binding> bindings = g.bindings();
  const std::vector<Tensor> d = evaluate(gradients(loss, wrt), bindings);
  for (std::size_t x = 0; x < wrt.size(); ++x) {
    for (std::int64_t i = 0; i < wrt[x].shape().numel(); ++i) {
      const auto at = [&](double step) {
        std::vector<Binding> moved = bindings;
        moved[x].second = moved[x].second.copy();
        moved[x].second.mutable_data<double>()[i] += step;
        return value(loss, moved);
      };
      const double h = 1e-3;
      const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      CAPTURE(x);
      CAPTURE(i);
      CHECK(d[x].data<double>()[i] == doctest::Approx(numeric).epsilon(1e-7).scale(1));
    }
  }
}

std::size_t count_ops(const std::vector<Expr>& outputs, std::string_view name) {
  std::size_t count = 0;
  for (const Node* node : topological_order(outputs)) {
    count += node->kind() == Node::Kind::op && node->op().type().name == name;
  }
  return count;
}

}  // namespace

TEST_CASE("attention: gradients of each output, alone and together") {
  const Graph g;
  for (const ScoresStage stage : {ScoresStage::raw, ScoresStage::capped}) {
    const auto [y, lse, scores, probs] =
        g.call({.softcap = 2, .window = {2, 1}, .align = Align::top_left, .scores_stage = stage});
    // lse of a query that sees nothing is -inf: exp makes it 0.
    for (const Expr& loss :
         {weighted(y, 10), weighted(exp(lse), 11), weighted(scores, 12), weighted(probs, 13)}) {
      check_gradient(loss, g);
    }
    check_gradient(weighted(y, 10) + weighted(scores, 12) * weighted(probs, 13), g);
  }
}

TEST_CASE("attention: gradients of gradients") {
  const Graph g;
  const auto out = g.call({.softcap = 2});
  const std::vector<Expr> first = gradients(weighted(out.y, 10), {g.q, g.k, g.v, g.bias});
  Expr loss = weighted(first[0], 14);
  for (std::size_t i = 1; i < first.size(); ++i) loss = loss + weighted(first[i], 14 + i);
  check_gradient(loss, g);
}

TEST_CASE("attention: a softcap beyond all scores changes no gradient of probs") {
  const Expr q = input("q", f32, {5, 3}), k = input("k", f32, {4, 3}), v = input("v", f32, {4, 2});
  const std::vector<Binding> bindings{{q, normal({5, 3}, 20).astype(f32)},
                                      {k, normal({4, 3}, 21).astype(f32)},
                                      {v, normal({4, 2}, 22).astype(f32)}};
  const auto d = [&](double softcap) {
    const auto out = attention({.q = q, .k = k, .v = v}, {.softcap = softcap});
    const std::vector<Expr> dq = gradients(100 * sum(square(out.probs)), {q});
    return evaluate(dq, bindings)[0].to_vector<float>();
  };
  const std::vector<float> without = d(0), with = d(1e300);
  for (std::size_t i = 0; i < without.size(); ++i) {
    CHECK(with[i] == doctest::Approx(without[i]).epsilon(1e-4));
  }
}

TEST_CASE("attention: one value in all three places") {
  const Expr x = input("x", f64, {5, 3});
  const Expr loss = weighted(attention(x, x, x, {.causal = true}), 10);
  const Expr q = input("q", f64, {5, 3}), k = input("k", f64, {5, 3}), v = input("v", f64, {5, 3});
  const Expr apart = weighted(attention(q, k, v, {.causal = true}), 10);
  const std::vector<Expr> d = gradients(apart, {q, k, v});
  const Tensor value = normal({5, 3}, 4);
  const std::vector<Binding> bindings{{x, value}, {q, value}, {k, value}, {v, value}};
  const std::vector<Tensor> got =
      evaluate(std::vector{gradients(loss, {x})[0], d[0] + d[1] + d[2]}, bindings);
  for (std::int64_t i = 0; i < 15; ++i) {
    CHECK(got[0].data<double>()[i] == doctest::Approx(got[1].data<double>()[i]).epsilon(1e-12));
  }
}

TEST_CASE("attention: one node for the gradients of y and lse, none of scores") {
  const Graph g;
  const auto out = g.call({});
  const std::vector<Expr> d =
      gradients(weighted(out.y, 10) + weighted(out.lse, 11), {g.q, g.k, g.v, g.bias});
  CHECK(count_ops(d, "attention_gradient") == 1);
  CHECK(count_ops(d, "attention") == 1);
  CHECK(count_ops(d, "matmul") + count_ops(d, "masked_matmul") == 0);
}

TEST_CASE("attention: require fused refuses derivatives that take more memory") {
  const Graph g;
  const auto out = g.call({.require = Require::fused});
  const std::vector<Expr> d = gradients(weighted(out.y, 10) + weighted(exp(out.lse), 11), {g.q});
  CHECK_NOTHROW(evaluate(d, g.bindings()));
  CHECK_THROWS_WITH_AS(gradients(weighted(d[0], 12), {g.k}),
                       doctest::Contains("attention_gradient: a derivative"), Error);
  CHECK_THROWS_WITH_AS(gradients(weighted(out.probs, 13), {g.k}),
                       doctest::Contains("attention: a derivative"), Error);
}

TEST_CASE(
    "attention: forward and backward at length 32768 take memory that grows with the length") {
  const Shape shape{1, 1, 32768, 64};
  const Expr q = input("q", f32, shape), k = input("k", f32, shape), v = input("v", f32, shape),
             dy = input("dy", f32, shape);
  const Expr y = attention(q, k, v, {.causal = true});
  const std::vector<Expr> wrt{q, k, v};
  const std::vector<Expr> d = gradients(std::vector{y}, wrt, std::vector{dy});
  const Executable step = compile({q, k, v, dy}, {y, d[0], d[1], d[2]});
  const std::size_t outputs = 4 * 32768 * 64 * sizeof(float);
  CHECK(step.peak_bytes() < outputs + 100'000'000);
}
