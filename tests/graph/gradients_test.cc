#include "fovea/graph/gradients.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fovea/graph/executable.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"

using namespace fovea;

namespace {

Tensor scalar(double value) { return Tensor::scalar(f64, value); }

double value(const Expr& y, std::initializer_list<Binding> bindings) {
  return evaluate(std::vector{y}, std::vector<Binding>(bindings))[0].item();
}

}  // namespace

TEST_CASE("derivatives of a scalar chain, to the third order") {
  const Expr x = input("x", f64, {});
  Expr y = exp(2 * x);  // its n-th derivative is 2^n exp(2x)
  for (int order = 1; order <= 3; ++order) {
    y = gradients(y, {x})[0];
    CHECK(value(y, {{x, scalar(0.3)}}) ==
          doctest::Approx(std::pow(2, order) * std::exp(0.6)).epsilon(1e-14));
  }
}

TEST_CASE("fan-out is added up, also of one input used twice by one op") {
  const Expr x = input("x", f64, {});
  const Expr y = x * x + 3 * x - x / x;
  CHECK(value(gradients(y, {x})[0], {{x, scalar(5)}}) == doctest::Approx(13));
}

TEST_CASE("a gradient is summed down to the shape that was broadcast") {
  const Expr a = input("a", f64, {2, 1, 3}), b = input("b", f64, {4, 1});
  const std::vector<Expr> outputs{a * b};
  const std::vector<Expr> wrt{a, b};
  const Expr weights = constant(Tensor::from<double>(
      {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24},
      {2, 4, 3}));
  const std::vector<Expr> d = gradients(outputs, wrt, std::vector{weights});
  REQUIRE(d[0].shape() == a.shape());
  REQUIRE(d[1].shape() == b.shape());
  const Tensor av = Tensor::from<double>({1, 2, 3, 4, 5, 6}, {2, 1, 3});
  const Tensor bv = Tensor::from<double>({1, -1, 2, 0}, {4, 1});
  const std::vector<Tensor> got = evaluate(d, std::vector<Binding>{{a, av}, {b, bv}});
  // da[i,0,k] = Σ_j w[i,j,k] b[j]; for i = k = 0: 1·1 − 4 + 7·2 = 11.
  CHECK(got[0].to_vector<double>() == std::vector<double>{11, 13, 15, 35, 37, 39});
  // db[j] = Σ_ik w[i,j,k] a[i,k]; for j = 0: 1+4+9 + 52+70+90.
  CHECK(got[1].to_vector<double>()[0] == 226);
}

TEST_CASE("gradients of slices that do not overlap are joined; others are added up") {
  const Expr x = input("x", f64, {6});
  const Tensor at = Tensor::zeros(f64, {6});
  const auto gradient = [&](const Expr& y) { return gradients(y, {x})[0]; };
  const auto values = [&](const Expr& d) {
    return evaluate(std::vector{d}, std::vector<Binding>{{x, at}})[0].to_vector<double>();
  };
  const auto name = [](const Expr& d) { return d.node().op().type().name; };
  const auto sum_of = [&](Slice part) { return sum(slice(x, part)); };

  const Expr split = gradient(2 * sum_of({.start = 4}) + 3 * sum_of({.end = 3}) +
                              4 * sum_of({.start = -3, .end = 4}));
  CHECK(name(split) == "concat");
  CHECK(values(split) == std::vector<double>{3, 3, 3, 4, 2, 2});
  const Expr gaps =
      gradient(2 * sum_of({.start = 4, .end = 5}) + 3 * sum_of({.start = 1, .end = 3}));
  CHECK(name(gaps) == "concat");
  CHECK(values(gaps) == std::vector<double>{0, 3, 3, 0, 2, 0});
  const Expr nothing = gradient(2 * sum_of({.end = 2}) + 3 * sum_of({.start = 9}));
  CHECK(values(nothing) == std::vector<double>{2, 2, 0, 0, 0, 0});
  const Expr overlap = gradient(2 * sum_of({.end = 3}) + 3 * sum_of({.start = 2}));
  CHECK(name(overlap) == "add");
  CHECK(values(overlap) == std::vector<double>{2, 2, 5, 3, 3, 3});
  const Expr steps = gradient(2 * sum_of({.step = 2}) + 3 * sum_of({.start = 1, .step = 2}));
  CHECK(values(steps) == std::vector<double>{2, 3, 2, 3, 2, 3});
  const Expr back = gradient(2 * sum_of({.end = 2}) + sum(slice(x, {.start = 3, .step = -1}) * 3));
  CHECK(values(back) == std::vector<double>{5, 5, 3, 3, 0, 0});
  const Expr more = gradient(2 * sum_of({.end = 2}) + 3 * sum_of({.start = 2}) + sum(x));
  CHECK(values(more) == std::vector<double>{3, 3, 4, 4, 4, 4});

  const Expr m = reshape(x, {.shape = {2, 3}});
  const auto column = [&](std::int64_t i) { return sum(select(m, {.axis = -1, .index = i})); };
  const auto row = [&](std::int64_t i) { return sum(select(m, {.axis = 0, .index = i})); };
  CHECK(values(gradient(2 * column(-1) + 3 * column(0) + 4 * column(1))) ==
        std::vector<double>{3, 4, 2, 3, 4, 2});
  CHECK(values(gradient(2 * column(0) + 3 * row(1))) == std::vector<double>{2, 0, 0, 5, 3, 3});
}

TEST_CASE("what nobody depends on gets zeros, and a wrt may be an intermediate value") {
  const Expr x = input("x", f64, {2}), other = input("other", f64, {3});
  const Expr middle = exp(x);
  const Expr y = sum(middle * middle);
  const std::vector<Expr> d = gradients(y, {other, middle, x});
  const Tensor at = Tensor::from<double>({0, 1}, {2});
  const std::vector<Tensor> got = evaluate(d, std::vector<Binding>{{x, at}});
  CHECK(got[0].to_vector<double>() == std::vector<double>{0, 0, 0});
  CHECK(got[1].to_vector<double>()[1] == doctest::Approx(2 * std::exp(1)));
  CHECK(got[2].to_vector<double>()[1] == doctest::Approx(2 * std::exp(2)));
}

TEST_CASE("mistakes are told where they are made") {
  const Expr x = input("x", f64, {2}), n = input("n", i64, {2});
  CHECK_THROWS_WITH_AS(gradients(x * x, {x}), doctest::Contains("(2,) without a cotangent"), Error);
  CHECK_THROWS_WITH_AS(gradients(sum(x), {n}), doctest::Contains("wrt is i64 (2,)"), Error);
  const std::vector<Expr> y{x * x}, wrt{x}, wrong{input("d", f64, {3})};
  CHECK_THROWS_WITH_AS(gradients(y, wrt, wrong),
                       doctest::Contains("a cotangent f64 (3,) for an output f64 (2,)"), Error);
  CHECK_THROWS_WITH_AS(gradients(y, wrt, std::vector<Expr>{{}, {}}),
                       doctest::Contains("2 cotangents for 1 outputs"), Error);
}

TEST_CASE("a chain of 300,000 nodes is differentiated without exhausting the stack") {
  const Expr first = input("x", f64, {});
  Expr x = first;
  for (int i = 0; i < 300'000; ++i) x = -x;
  CHECK(value(gradients(x, {first})[0], {{first, scalar(1)}}) == 1);
}

TEST_CASE("as_dtype changes inputs, constants and casts; substitute replaces what it is told") {
  const Expr x = input("x", f32, {2});
  const Expr y = cast(x * 2, {.dtype = f32}) + 1;
  std::vector<std::pair<Expr, Expr>> inputs;
  const Expr wide = as_dtype(std::vector{y}, f64, &inputs)[0];
  REQUIRE(inputs.size() == 1);
  CHECK(wide.dtype() == f64);
  CHECK(inputs[0].second.dtype() == f64);
  const Tensor at = Tensor::from<double>({0.1, -3}, {2});
  const std::vector<Tensor> got =
      evaluate(std::vector{wide}, std::vector<Binding>{{inputs[0].second, at}});
  CHECK(got[0].to_vector<double>() == std::vector<double>{0.2 + 1, -5});
  const Expr z = input("z", f32, {2});
  const Expr swapped = substitute(std::vector{y}, std::vector{x}, std::vector{z})[0];
  CHECK(same(substitute(std::vector{swapped}, std::vector{x}, std::vector{y})[0], swapped));
  CHECK_THROWS_WITH_AS(substitute(std::vector{y}, std::vector{x}, std::vector{wide}),
                       doctest::Contains("substitute"), Error);
}
