#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/passes.h"
#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/op.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/random.h"

using namespace fovea;

namespace {

std::int64_t count(std::span<const Expr> exprs, std::string_view name) {
  std::int64_t n = 0;
  for (const Node* node : topological_order(exprs)) {
    n += node->kind() == Node::Kind::op && node->op().type().name == name ? 1 : 0;
  }
  return n;
}

Tensor draw(const Expr& x, std::uint64_t stream) {
  if (x.dtype() == boolean) return random_bernoulli(x.shape(), 0.7, {3, stream});
  return random_normal(x.dtype(), x.shape(), 0, 1, {3, stream});
}

// Evaluates both and compares; the fused op sums in another order.
void check_close(std::span<const Expr> got, std::span<const Expr> want,
                 std::span<const Expr> inputs) {
  std::vector<Binding> bindings;
  for (const Expr& x : inputs) bindings.emplace_back(x, draw(x, bindings.size()));
  const std::vector<Tensor> a = evaluate(got, bindings), b = evaluate(want, bindings);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = a[i].to_vector<double>(), y = b[i].to_vector<double>();
    REQUIRE(x.size() == y.size());
    for (std::size_t j = 0; j < x.size(); ++j) CHECK(x[j] == doctest::Approx(y[j]).epsilon(1e-12));
  }
}

const double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE(
    "composed attention becomes the op, with scale, bias and mask, in every way of writing it") {
  const Expr q = input("q", f64, {2, 3, 5, 4}), k = input("k", f64, {2, 3, 7, 4}),
             v = input("v", f64, {2, 3, 7, 6});
  const Expr bias = input("bias", f64, {3, 1, 7}), mask = input("mask", boolean, {5, 7});
  const std::vector<Expr> inputs{q, k, v, bias, mask};
  const Expr kt = transpose(k, {.perm = {0, 1, 3, 2}});
  const Expr hidden = constant(f64, -kInfinity);
  const std::vector<Expr> all{matmul(softmax(scale(matmul(q, kt), {.factor = 0.5})), v),
                              matmul(softmax(matmul(q, k, {.transpose_b = true}) * 0.5), v),
                              matmul(softmax(0.5 * matmul(q, kt) + bias), v),
                              matmul(softmax(bias + matmul(q, kt) / 2, {.axis = 3}), v),
                              matmul(softmax(where(mask, matmul(q, kt) / 2 + bias, hidden)), v),
                              matmul(softmax(where(mask, matmul(q, kt), hidden)), v)};
  const std::vector<Expr> fused = fuse_attention(all);
  for (const Expr& y : fused) CHECK(count(std::vector{y}, "attention") == 1);
  CHECK(count(fused, "softmax") == 0);
  check_close(fused, all, inputs);
}

TEST_CASE("composed softcaps and repeated heads become attributes of the op") {
  const Expr q = input("q", f64, {2, 6, 5, 4}), k = input("k", f64, {2, 3, 7, 4}),
             v = input("v", f64, {2, 3, 7, 6});
  const Expr bias = input("bias", f64, {6, 1, 7}), mask = input("mask", boolean, {5, 7});
  const auto repeated = [](const Expr& x) {
    const Shape& s = x.shape();
    const Expr wide = broadcast_to(reshape(x, {.shape = {s[0], s[1], 1, s[2], s[3]}}),
                                   {.shape = {s[0], s[1], 2, s[2], s[3]}});
    return reshape(wide, {.shape = {s[0], 2 * s[1], s[2], s[3]}});
  };
  const auto s = [&] { return matmul(q, repeated(k), {.transpose_b = true}); };
  const Expr kt = transpose(repeated(k), {.perm = {0, 1, 3, 2}});
  const Expr hidden = constant(f64, -kInfinity);
  const std::vector<Expr> all{
      matmul(softmax(s() * 0.5), repeated(v)), matmul(softmax(3 * tanh(s() / 6)), repeated(v)),
      matmul(softmax(scale(tanh(scale(matmul(q, kt), {.factor = 0.2})), {.factor = 2})),
             repeated(v)),
      matmul(softmax(where(mask, tanh(s()) + bias, hidden)), repeated(v))};
  const std::vector<Expr> fused = fuse_attention(all);
  for (const Expr& y : fused) CHECK(count(std::vector{y}, "attention") == 1);
  CHECK(count(fused, "softmax") == 0);
  CHECK(count(fused, "tanh") == 0);
  CHECK(count(fused, "broadcast_to") == 0);
  check_close(fused, all, std::vector<Expr>{q, k, v, bias, mask});
  // A cap on what has a bias already, a second one, one of another sign, other factors.
  for (const Expr& scores :
       {2 * tanh(s() + bias), 2 * tanh(tanh(s())), -2 * tanh(s()), tanh(s()) * s()}) {
    const Expr y = matmul(softmax(scores), repeated(v));
    CHECK(count(fuse_attention(std::vector{y}), "attention") == 0);
  }
}

TEST_CASE("a composition that is something else, or that somebody looks into, stays") {
  const Expr q = input("q", f64, {5, 4}), k = input("k", f64, {7, 4}), v = input("v", f64, {7, 6});
  const Expr s = matmul(q, k, {.transpose_b = true});
  const Expr p = softmax(s);
  std::vector<AttentionNote> notes;
  CHECK(count(fuse_attention(std::vector{matmul(p, v), p}, &notes), "attention") == 0);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].text.find("its probabilities are used elsewhere") != std::string::npos);
  CHECK(count(fuse_attention(std::vector{matmul(p, v), sum(s)}), "attention") == 0);
  CHECK(count(fuse_attention(std::vector{matmul(softmax(s, {.axis = 0}), v)}), "attention") == 0);
  CHECK(count(fuse_attention(std::vector{matmul(softmax(exp(s)), v)}), "attention") == 0);
  CHECK(count(fuse_attention(std::vector{matmul(softmax((s + s) * 2), v)}), "attention") == 0);
}

TEST_CASE(
    "layers on top of each other are all fused, and gradients fuse before they differentiate") {
  const Expr x = input("x", f64, {2, 6, 4});
  Expr y = x;
  for (int layer = 0; layer < 3; ++layer) {
    y = y + matmul(softmax(matmul(y, y, {.transpose_b = true}) / 2), y);
  }
  const std::vector<Expr> outputs{sum(y * y)};
  CHECK(count(fuse_attention(outputs), "attention") == 3);
  const std::vector<Expr> d = gradients(outputs[0], {x});
  CHECK(count(d, "attention") == 3);
  CHECK(count(d, "attention_gradient") == 3);
  CHECK(count(d, "softmax") == 0);
  const Executable run = compile({x}, {y});
  CHECK(run.explain().find("now fused") != std::string::npos);
}
