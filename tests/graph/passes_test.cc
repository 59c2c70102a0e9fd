#include "fovea/graph/passes.h"

#include <doctest/doctest.h>

#include <sys/resource.h>

#include <functional>
#include <limits>
#include <string>
#include <thread>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/ops/activations.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"

using namespace fovea;

namespace {

Tensor draw(const Expr& x, std::uint64_t stream) {
  if (x.dtype() == boolean) return random_bernoulli(x.shape(), 0.5, {5, stream});
  return random_normal(x.dtype(), x.shape(), 0, 1, {5, stream});
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

std::size_t nodes(std::span<const Expr> exprs) { return topological_order(exprs).size(); }

// All passes, and none, on the same numbers.
void check_same(std::span<const Expr> inputs, std::span<const Expr> outputs) {
  std::vector<Tensor> values;
  for (const Expr& x : inputs) values.push_back(draw(x, values.size()));
  const Executable run = compile(inputs, outputs),
                   plain = compile(inputs, outputs, CompileOptions::plain());
  const std::vector<Tensor> want = plain(values);
  for (int round = 0; round < 2; ++round) {
    const std::vector<Tensor> got = run(values);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(equal_bits(got[i], want[i]));
  }
}

}  // namespace

TEST_CASE("equal nodes become one, different ones stay") {
  const Expr x = input("x", f64, {3, 4}), y = input("x", f64, {3, 4});
  const auto merged = [](std::vector<Expr> exprs) { return nodes(merge_equal(exprs)); };
  CHECK(merged({exp(x) + 1, exp(x) + 1}) == 4);  // x, exp, 1, add
  CHECK(merged({sum(x, {.axes = 0}), sum(x, {.axes = 0})}) == 2);
  CHECK(merged({sum(x, {.axes = 0}), sum(x, {.axes = 1})}) == 3);
  CHECK(merged({exp(x), exp(y)}) == 4);
  CHECK(merged({x - y, y - x}) == 4);
  CHECK(merged({x + 1, x + 2, x + 1.0}) == 5);
  CHECK(merged({x + 0.0, x + -0.0}) == 5);  // 1/(x + 0) tells them apart
  // What is equal only after its operands have become one; three times.
  std::vector<Expr> deep;
  for (int i = 0; i < 3; ++i) deep.push_back(tanh(matmul(exp(x), transpose(exp(y)) * 2)));
  CHECK(merged(deep) == 9);
  const std::vector<Expr> once = merge_equal(deep);
  CHECK(same(once[0], once[1]));
  CHECK(same(once[0], once[2]));
}

TEST_CASE("what depends on constants only is computed once, with the errors of a run") {
  const Expr x = input("x", f64, {});
  const Expr c = exp(constant(f64, 0)) + 2;
  const std::vector<Expr> folded = fold_constants(std::vector{x * c, c});
  CHECK(nodes(folded) == 3);  // x, 3, mul
  CHECK(folded[1].node().value().item() == 3);
  // As large as 512 KiB, no larger.
  const auto filled = [](std::int64_t n) { return broadcast_to(constant(f64, 1), {.shape = {n}}); };
  CHECK(nodes(fold_constants(std::vector{filled(1 << 16)})) == 1);
  CHECK(nodes(fold_constants(std::vector{filled((1 << 16) + 1)})) == 2);
}

TEST_CASE("what no output needs is not done") {
  const Expr x = input("x", f64, {4});
  const Expr unused = softmax(x);
  const Executable run = compile({x}, {exp(x)});
  CHECK(run.explain().find("softmax") == std::string::npos);
  CHECK(unused.shape() == Shape{4});
}

TEST_CASE("an elementwise chain is one step, cut where somebody else reads") {
  const Expr x = input("x", f64, {40});
  const Expr a = exp(x * 2), b = tanh(a + 1);
  CHECK(compile({x}, {b}).explain().find("mul + exp + add + tanh") != std::string::npos);
  const std::string cut = compile({x}, {b, a}).explain();
  CHECK(cut.find("mul + exp  ->") != std::string::npos);
  CHECK(cut.find("add + tanh  ->") != std::string::npos);
  // Longer than a chain may be.
  Expr y = x;
  for (int i = 0; i < 100; ++i) y = tanh(y) * 1.5 + x;
  check_same(std::vector{x}, std::vector{y});
}

TEST_CASE("what follows a product elementwise is done with it, to the same bits") {
  for (const DType dtype : {f32, f64}) {
    const Expr x = input("x", dtype, {70, 48}), w = input("w", dtype, {48, 130});
    const Expr bias = input("bias", dtype, {130}), column = input("column", dtype, {70, 1});
    const Expr residual = input("residual", dtype, {70, 130}), mask = input("mask", boolean, {130});
    const std::vector<Expr> inputs{x, w, bias, column, residual, mask};
    const Expr p = matmul(x, w);
    const std::vector<Expr> fused{p + bias,
                                  relu(p + bias),
                                  gelu(p + bias),
                                  silu(p * 0.5),
                                  tanh(p),
                                  residual + p,
                                  residual - gelu(p + bias) * column,
                                  where(mask, p, -1),
                                  p * p + exp(-abs(p)),
                                  matmul(x, w * 2) + tanh(p)};
    for (const Expr& y : fused) {
      CAPTURE(y.node().op().type().name);
      CHECK(count(compile(inputs, std::vector{y}).explain(), "matmul + ") == 1);
      check_same(inputs, std::vector{y});
    }
    const std::vector<Expr> apart{
        p,
        exp(transpose(p)),  // not in its own shape
        broadcast_to(p, {.shape = {2, 70, 130}}) * 2,
        softmax(p + bias) + p,                                  // read by another step
        where(less(p, 0), constant(boolean, 0), equal(p, p))};  // of another dtype
    for (const Expr& y : apart) {
      CHECK(count(compile(inputs, std::vector{y}).explain(), "matmul + ") == 0);
      check_same(inputs, std::vector{y});
    }
    // The product is a result, too.
    CHECK(count(compile(inputs, std::vector{p, tanh(p)}).explain(), "matmul + ") == 0);
    check_same(inputs, std::vector{p, tanh(p)});
  }
}

TEST_CASE("products of every rank take an epilogue, and nothing is computed from nothing") {
  const auto check = [](const Shape& a, const Shape& b, const Shape& c) {
    const Expr x = input("x", f32, a), w = input("w", f32, b), bias = input("bias", f32, c);
    const std::vector<Expr> outputs{gelu(matmul(x, w) + bias) - 1};
    CHECK(count(compile({x, w, bias}, {outputs[0]}).explain(), "matmul + ") == 1);
    check_same(std::vector{x, w, bias}, outputs);
  };
  check({3, 50, 20}, {20, 300}, {300});
  check({2, 3, 5, 7}, {2, 1, 7, 4}, {3, 5, 1});
  check({9}, {9, 33}, {33});
  check({33, 9}, {9}, {33});
  check({9}, {9}, {});
  check({4, 0}, {0, 6}, {6});
  check({0, 5}, {5, 6}, {6});
  check({1, 5}, {5, 5000}, {5000});
}

TEST_CASE("an epilogue reads nothing that its product has overwritten, on any number of threads") {
  const Expr x = input("x", f32, {64, 64});
  Expr y = x;
  for (int i = 0; i < 4; ++i) y = y + tanh(matmul(y, y) * 0.1);
  const Expr loss = sum(y * y);
  const std::vector<Expr> outputs{y, loss, gradients(loss, {x})[0]};
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    check_same(std::vector{x}, outputs);
  }
  set_num_threads(before);
}

TEST_CASE("frozen weights are packed once for all that share them, and freed with the last") {
  for (const DType dtype : {f32, f64}) {
    PackedWeights packed;
    CHECK(packed.bytes() == 0);
    const Tensor weights = random_normal(dtype, {130, 48}, 0, 1, {5, 9});
    std::vector<Executable> kept;
    std::size_t bytes = 0;
    for (const Shape& shape : {Shape{1, 48}, Shape{70, 48}, Shape{3, 5, 48}, Shape{48}}) {
      const Expr x = input("x", dtype, shape), w = input("w", dtype, {130, 48});
      const Tensor value = draw(x, 3);
      const std::vector<Expr> outputs{tanh(matmul(x, w, {.transpose_b = true})),
                                      matmul(x, transpose(w))};
      const std::vector<Tensor> want =
          compile(std::vector{x, w}, outputs, CompileOptions::plain())({value, weights});
      const CompileOptions options{.frozen = {{w, weights}}, .packed = packed};
      kept.push_back(compile(std::vector{x}, outputs, options));
      CHECK(count(kept.back().explain(), "(b packed)") == 2);
      const std::vector<Tensor> got = kept.back()({value});
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(equal_bits(got[i], want[i]));
      if (bytes == 0) bytes = packed.bytes();
      CHECK(bytes >= weights.nbytes());
      CHECK(packed.bytes() == bytes);
    }
    kept.clear();
    CHECK(packed.bytes() == 0);
    const Expr x = input("x", dtype, {2, 130}), w = input("w", dtype, {130, 48});
    CompileOptions off{.pack_frozen = false, .frozen = {{w, weights}}, .packed = packed};
    const Executable unpacked = compile({x}, {matmul(x, w)}, off);
    CHECK(packed.bytes() == 0);
  }
}

TEST_CASE("packed forms stay within what is allowed; weights beyond that are read as they are") {
  PackedWeights packed;
  const Tensor weights = random_normal(f32, {48, 48}, 0, 1, {5, 9});
  const Expr x = input("x", f32, {5, 48}), a = input("a", f32, {48, 48});
  const Expr c = input("c", f32, {48, 48});
  const Tensor value = draw(x, 3);
  const std::vector<Expr> outputs{matmul(matmul(x, a), c)};
  const Tensor want = compile({x, a, c}, {outputs[0]})({value, weights, weights.copy()})[0];
  for (const std::size_t packs : {0, 1, 2}) {
    const CompileOptions options{.frozen = {{a, weights}, {c, weights.copy()}},
                                 .packed = packed,
                                 .most_packed = packs * weights.nbytes()};
    const Executable some = compile(std::vector{x}, outputs, options);
    CHECK(count(some.explain(), "(b packed)") == packs);
    CHECK(packed.bytes() <= options.most_packed);
    CHECK(equal_bits(some({value})[0], want));
  }
}

TEST_CASE("folding a long chain of constants does not keep them all") {
  const Expr x = input("x", f32, {256, 256});
  Expr c = constant(Tensor::full(f32, {256, 256}, 0.5));
  for (int i = 0; i < 20000; ++i) c = cos(c);  // 5 GB, were each kept
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const Executable chain = compile({x}, {x + c});
  getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 500000);  // KiB
  CHECK(chain.peak_bytes() < 10000000);
}
