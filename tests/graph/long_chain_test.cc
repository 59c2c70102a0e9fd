#include <doctest/doctest.h>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/elementwise.h"

using namespace fovea;

namespace {

constexpr int kNodes = 1'000'000;

}  // namespace

TEST_CASE("a chain of a million nodes is built, compiled, run, differentiated and destroyed") {
  const Expr x = input("x", f64, {});
  Expr y = x;
  for (int i = 0; i < kNodes + 1; ++i) y = -y;
  CHECK(topological_order(std::vector{y}).size() == kNodes + 2);
  const Tensor value = Tensor::scalar(f64, 0.75);
  CHECK(compile({x}, {y})({value})[0].item() == -0.75);
  const Expr d = gradients(y, {x})[0];
  CHECK(topological_order(std::vector{d}).size() > kNodes);
  // Every node is made again, for another input.
  const Expr z = input("z", f64, {});
  const Expr other = substitute(std::vector{y}, std::vector{x}, std::vector{z})[0];
  CHECK(topological_order(std::vector{other}).size() == kNodes + 2);
}

TEST_CASE("a long chain whose steps cannot be fused, and its gradient, run") {
  const Expr x = input("x", f64, {});
  Expr y = x;
  for (int i = 0; i < kNodes / 20; ++i) y = -y;
  CompileOptions options;
  options.fuse_elementwise = false;
  const Expr d = gradients(y * x, {x})[0];
  CHECK(compile({x}, {y, d}, options)({Tensor::scalar(f64, 0.75)})[1].item() == 1.5);
}
