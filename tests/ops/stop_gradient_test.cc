#include "fovea/ops/stop_gradient.h"

#include <doctest/doctest.h>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/jvp.h"
#include "fovea/ops/elementwise.h"
#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("stop_gradient passes values and no gradient") {
  const Tensor x = doubles({2, 3}, {2}), d = doubles({1, 10}, {2});
  CHECK(equal_bits(eval::stop_gradient(x), x));
  const auto half = [](const std::vector<Expr>& in) { return stop_gradient(in[0]) * in[0]; };
  check(gradients_at(half, {x}, d)[0], {2}, {2, 30});
  const auto none = [](const std::vector<Expr>& in) { return square(stop_gradient(in[0])); };
  check(gradients_at(none, {x}, d)[0], {2}, {0, 0});
}

TEST_CASE("it may be differentiated with respect to") {
  const Expr x = input("x", f64, {2}), stopped = stop_gradient(x);
  const Expr y = stopped * x, d = constant(doubles({1, 10}, {2}));
  const auto gradient = gradients(std::span(&y, 1), std::span(&stopped, 1), std::span(&d, 1));
  check(evaluate(gradient, std::vector<Binding>{{x, doubles({2, 3}, {2})}})[0], {2}, {2, 30});
}

TEST_CASE("tangents do not pass either") {
  const Expr x = input("x", f64, {2}), t = constant(doubles({1, 10}, {2}));
  const Expr outputs[] = {stop_gradient(x), stop_gradient(x) * x};
  const auto tangents = jvp(outputs, std::span(&x, 1), std::span(&t, 1));
  CHECK(!tangents[0]);
  check(evaluate(std::span(&tangents[1], 1), std::vector<Binding>{{x, doubles({2, 3}, {2})}})[0],
        {2}, {2, 30});
}

TEST_CASE("gradient checks hold it fixed") {
  const Expr x = input("x", f64, {2});
  const Expr y = square(x) * stop_gradient(exp(x));
  const GradientReport report =
      check_gradients(std::span(&y, 1), std::span(&x, 1), {.values = {{x, doubles({2, 3}, {2})}}});
  CHECK_MESSAGE(report.passed(), to_string(report));
}

}  // namespace
}  // namespace fovea::test
