#include "fovea/graph/jvp.h"

#include <doctest/doctest.h>

#include <string>

#include "fovea/graph/gradients.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"

namespace fovea {
namespace {

Expr one_jvp(const Expr& y, const Expr& x, const Expr& t) {
  return jvp(std::span(&y, 1), std::span(&x, 1), std::span(&t, 1))[0];
}

double scalar_value(const Expr& y, const Expr& x, double at) {
  const std::vector<Binding> bindings{{x, Tensor::scalar(x.dtype(), at)}};
  return evaluate(std::span(&y, 1), bindings)[0].item();
}

TEST_CASE("tangents of rows, products and sums") {
  const Expr x = input("x", f64, {});
  const Expr t = constant(f64, 2);
  CHECK(scalar_value(one_jvp(exp(x), x, t), x, 0.5) == doctest::Approx(2 * std::exp(0.5)));
  CHECK(scalar_value(one_jvp(x * x * x, x, t), x, 3) == doctest::Approx(2 * 27));
  CHECK(scalar_value(one_jvp(x - x * 4, x, t), x, 3) == doctest::Approx(-6));
  CHECK(scalar_value(one_jvp(1 / x, x, t), x, 4) == doctest::Approx(-2.0 / 16));
}

TEST_CASE("an input without a tangent counts as one that stays, also among the inputs of concat") {
  const Expr a = input("a", f64, {2}), b = input("b", f64, {3});
  const Expr t = constant(Tensor::from({1.0, 2.0}, {2}));
  const Expr moved = one_jvp(concat({a, b}, {.axis = 0}), a, t);
  const std::vector<Binding> bindings{{a, Tensor::zeros(f64, {2})}, {b, Tensor::zeros(f64, {3})}};
  CHECK(evaluate(std::span(&moved, 1), bindings)[0].to_vector<double>() ==
        std::vector<double>{1, 2, 0, 0, 0});
}

TEST_CASE("null is a zero tangent; integers and bools stop it") {
  const Expr x = input("x", f64, {3}), other = input("other", f64, {3});
  const Expr t = constant(Tensor::full(f64, {3}, 1));
  CHECK_FALSE(one_jvp(exp(other), x, t));
  CHECK_FALSE(one_jvp(exp(x), x, Expr()));
  CHECK_FALSE(one_jvp(cast(cast(x, {.dtype = i64}), {.dtype = f64}), x, t));
}

TEST_CASE("an intermediate value has its own tangent beside what reaches it") {
  const Expr x = input("x", f64, {});
  const Expr y = x * x, z = y * 10;
  const std::vector<Expr> wrt{x, y}, t{constant(f64, 1), constant(f64, 5)};
  const Expr moved = jvp(std::span(&z, 1), wrt, t)[0];
  CHECK(scalar_value(moved, x, 3) == doctest::Approx(10 * (5 + 6)));
}

TEST_CASE("a chain of a hundred thousand nodes") {
  const Expr x = input("x", f64, {});
  Expr y = x;
  for (int i = 0; i < 100000; ++i) y = -y;
  CHECK(scalar_value(one_jvp(y, x, constant(f64, 1)), x, 7) == 1);
}

TEST_CASE("tangents of gradients: second derivatives, forward over reverse") {
  const Expr x = input("x", f64, {});
  const Expr dx = gradients(x * x * x * x, {x})[0];
  CHECK(scalar_value(one_jvp(dx, x, constant(f64, 1)), x, 2) == doctest::Approx(12 * 4));
}

TEST_CASE("what is refused") {
  const auto text = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const Expr x = input("x", f64, {3}), n = input("n", i64, {3}), y = exp(x);
  CHECK(text([&] { one_jvp(y, n, Expr()); }).find("f32 or f64 is required") != std::string::npos);
  CHECK(text([&] { one_jvp(y, x, constant(f64, 1)); }).find("must be equal") != std::string::npos);
  CHECK(text([&] { jvp(std::span(&y, 1), std::span(&x, 1), {}); }).find("0 tangents") !=
        std::string::npos);
}

}  // namespace
}  // namespace fovea
