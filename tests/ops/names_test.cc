// Functions of ops beside those of the C library: no call is ambiguous.
#include <doctest/doctest.h>
#include <math.h>
#include <stdlib.h>
#include <sys/select.h>

#include "fovea/ops/activations.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"

using namespace fovea;

TEST_CASE("expressions and numbers each find their function") {
  const Expr x = input("x", f32, {2, 3});
  CHECK(exp(x).shape() == x.shape());
  CHECK(pow(x, 2).shape() == x.shape());
  CHECK(abs(-x).shape() == x.shape());
  CHECK(select(x, {.axis = 1, .index = 0}).shape() == Shape{2});
  CHECK(max(x, {.axes = 0}).shape() == Shape{3});
  CHECK(sum(x, {.axes = {0, 1}, .keep_dims = true}).shape() == Shape{1, 1});
  CHECK(matmul(x, x, {.transpose_b = true}).shape() == Shape{2, 2});
  CHECK(concat({x, x}, {.axis = 1}).shape() == Shape{2, 6});
  CHECK(exp(0.0) == 1.0);
  CHECK(pow(2, 3) == 8.0);
  CHECK(abs(-3) == 3);
  CHECK(sqrt(4.0f) == 2.0f);
  timeval none{};
  CHECK(select(0, nullptr, nullptr, nullptr, &none) == 0);
}

TEST_CASE("attributes have defaults, and the place of a call is remembered") {
  const Expr x = input("x", f32, {2, 3}), y = log_softmax(gelu(logsumexp(x, {.axes = 0})));
  CHECK(y.node().location().text().starts_with("names_test.cc:"));
  CHECK(transpose(x).node().location().text().starts_with("names_test.cc:"));
  CHECK(maximum(x, 0).node().location().text().starts_with("names_test.cc:"));
}
