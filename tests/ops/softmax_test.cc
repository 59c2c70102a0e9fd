#include "fovea/ops/softmax.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "fovea/ops/elementwise.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

// By the definition, in f64, of a contiguous last axis.
Numbers reference_softmax(const Tensor& x) {
  Numbers y = numbers_of(x);
  const auto length = static_cast<std::ptrdiff_t>(x.shape()[-1].value());
  for (auto row = y.begin(); row != y.end(); row += length) {
    const double most = *std::max_element(row, row + length);
    double total = 0;
    for (auto e = row; e != row + length; ++e) total += * e = std::exp(*e - most);
    for (auto e = row; e != row + length; ++e) *e /= total;
  }
  return y;
}

TEST_CASE("softmax along any axis of any strides") {
  const Tensor x = random_normal(f64, {3, 40, 5}, 0, 3, {1, 1});
  check(eval::softmax(x), {3, 40, 5}, reference_softmax(x), 1e-15);
  const Tensor middle = x.transpose({0, 2, 1});
  check(eval::softmax(middle), {3, 5, 40}, reference_softmax(middle.copy()), 1e-15);
  CHECK(
      equal_bits(eval::softmax(x, {.axis = 1}), eval::softmax(middle).transpose({0, 2, 1}).copy()));
  CHECK(equal_bits(eval::softmax(x.astype(f32), {.axis = -3}),
                   eval::softmax(x.astype(f32).transpose({1, 2, 0})).transpose({2, 0, 1}).copy()));
}

void check_layouts(const Shape& shape) {
  const Tensor x = random_normal(f32, shape, 0, 3, {1, 3});
  const Tensor dy = random_normal(f32, shape, 0, 1, {1, 4});
  const auto swapped = [](const Tensor& t) { return t.transpose({0, 2, 1}); };
  const Tensor rows = swapped(x).copy(), d_rows = swapped(dy).copy();
  const auto same = [&](auto f) {
    const auto gradient = [&](const Tensor& at, const Tensor& d, std::int64_t axis) {
      return gradients_at([&](const std::vector<Expr>& in) { return f(in[0], axis); }, {at}, d)[0];
    };
    const Tensor along = gradient(rows, d_rows, 2);
    CHECK(equal_bits(swapped(gradient(x, dy, 1)).copy(), along));    // columns
    CHECK(equal_bits(gradient(swapped(x), swapped(dy), 2), along));  // neither rows nor columns
  };
  same([](const Expr& e, std::int64_t axis) { return softmax(e, {.axis = axis}); });
  same([](const Expr& e, std::int64_t axis) { return log_softmax(e, {.axis = axis}); });
  CHECK(equal_bits(swapped(eval::log_softmax(x, {.axis = 1})).copy(), eval::log_softmax(rows)));
  CHECK(equal_bits(eval::logsumexp(x, {.axes = 1}), eval::logsumexp(rows, {.axes = 2})));
  CHECK(equal_bits(eval::logsumexp(swapped(x), {.axes = 2}), eval::logsumexp(rows, {.axes = 2})));
}

TEST_CASE("any layout gives the same bits, forward and backward") {
  check_layouts({2, 300, 270});   // several tasks, several blocks of columns
  check_layouts({1, 1100, 270});  // so long that columns are copied
}

TEST_CASE("softmax and log_softmax up to the format's limits") {
  const Tensor x = floats({-3e38, 0, 3e38, 1e4, 1e4 - 1, -1e4}, {2, 3});
  const double p = 1 / (1 + std::exp(-1.0));
  check(eval::softmax(x), {2, 3}, {0, 0, 1, p, 1 - p, 0}, 1e-6);
  check(eval::log_softmax(x), {2, 3},
        {-kInf, -3e38, 0, std::log(p), std::log(1 - p), std::log(p) - 20000}, 1e-6);
  check(eval::log_softmax(doubles({0, -800}, {2})), {2}, {0, -800});
}

TEST_CASE("rows with infinities and NaN") {
  const Tensor x = doubles({-kInf, -kInf, -kInf, 0, 0, -kInf, kInf, 1, 2, kNaN, 1, -kInf}, {4, 3});
  check(eval::softmax(x), {4, 3}, {0, 0, 0, 0.5, 0.5, 0, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN});
  const double half = -std::log(2.0);
  check(eval::log_softmax(x), {4, 3},
        {-kInf, -kInf, -kInf, half, half, -kInf, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN}, 1e-15);
  check(eval::logsumexp(x, {.axes = 1}), {4}, {-kInf, -half, kInf, kNaN}, 1e-15);
}

TEST_CASE("a row of nothing has gradients 0") {
  const Tensor x = doubles({-kInf, -kInf, 1, 2}, {2, 2}), d = doubles({3, 4, 5, 6}, {2, 2});
  const double p = 1 / (1 + std::exp(-1.0));
  const auto at = [&](auto f, const Tensor& cotangent) {
    return gradients_at([&](const std::vector<Expr>& in) { return f(in[0]); }, {x}, cotangent)[0];
  };
  check(at([](const Expr& e) { return softmax(e); }, d), {2, 2}, {0, 0, -p * (1 - p), p * (1 - p)},
        1e-15);
  check(at([](const Expr& e) { return log_softmax(e); }, d), {2, 2},
        {0, 0, 5 - 11 * (1 - p), 6 - 11 * p}, 1e-15);
  check(at([](const Expr& e) { return logsumexp(e, {.axes = 1}); }, doubles({3, 4}, {2})), {2, 2},
        {0, 0, 4 * (1 - p), 4 * p}, 1e-15);
}

TEST_CASE("the gradient of logsumexp where it is +inf") {
  const Tensor dx = gradients_at([](const std::vector<Expr>& in) { return logsumexp(in[0]); },
                                 {doubles({kInf, 1, -kInf}, {3})}, doubles({2}, {}))[0];
  check(dx, {3}, {kNaN, 0, 0});
}

TEST_CASE("second derivatives at a row of nothing are 0 too") {
  const auto f = [](const std::vector<Expr>& in) {
    return gradients(sum(square(softmax(in[0])) + log_softmax(in[0])), {in[0]})[0];
  };
  const Tensor x = doubles({-kInf, -kInf}, {1, 2});
  check(gradients_at(f, {x}, doubles({1, 1}, {1, 2}))[0], {1, 2}, {0, 0});
}

TEST_CASE("logsumexp reduces like sum") {
  const Tensor x = random_normal(f64, {4, 6, 3}, 500, 3, {5, 6});
  const Tensor p = eval::exp(eval::sub(x, Tensor::scalar(f64, 500)));
  const auto reference = [&](Axes axes) {
    Numbers y = numbers_of(eval::sum(p, {.axes = axes}));
    for (double& v : y) v = std::log(v) + 500;
    return y;
  };
  check(eval::logsumexp(x), {}, reference({}), 1e-15);
  check(eval::logsumexp(x, {.axes = 1}), {4, 3}, reference(1), 1e-15);
  check(eval::logsumexp(x, {.axes = {0, 2}, .keep_dims = true}), {1, 6, 1}, reference({0, 2}),
        1e-15);
  check(eval::logsumexp(doubles({}, {0, 2}), {.axes = 0}), {2}, {-kInf, -kInf});
}

TEST_CASE("axes without elements and rows without number are legal") {
  check(eval::softmax(doubles({}, {3, 0})), {3, 0}, {});
  check(eval::log_softmax(doubles({}, {0, 3})), {0, 3}, {});
  CHECK(error_of([] { eval::softmax(doubles({1}, {})); }) ==
        "softmax: axis -1 of a scalar; a scalar has no axes");
  CHECK(error_of([] { eval::softmax(doubles({1}, {1}), {.axis = 1}); }) ==
        "softmax: axis 1 at rank 1; -1 to 0 are required");
}

}  // namespace
}  // namespace fovea::test
