#include "fovea/ops/elementwise.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "fovea/ops/activations.h"
#include "fovea/ops/reductions.h"
#include "values.h"

namespace fovea::test {
namespace {

constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kHighest = std::numeric_limits<std::int64_t>::max();

TEST_CASE("arithmetic broadcasts as NumPy does") {
  const Tensor a = doubles({1, 2, 3}, {3, 1}), b = doubles({10, 20}, {2});
  check(eval::add(a, b), {3, 2}, {11, 21, 12, 22, 13, 23});
  check(eval::sub(a, b), {3, 2}, {-9, -19, -8, -18, -7, -17});
  check(eval::mul(a, b), {3, 2}, {10, 20, 20, 40, 30, 60});
  check(eval::div(b, a), {3, 2}, {10, 20, 5, 10, 10.0 / 3, 20.0 / 3});
  check(eval::add(doubles({}, {0, 1}), b), {0, 2}, {});
}

TEST_CASE("i64 wraps around and nothing is undefined") {
  const Tensor low = integers({kLowest}, {1}), high = integers({kHighest}, {1}),
               one = integers({1}, {1});
  CHECK(eval::add(high, one).at<std::int64_t>({0}) == kLowest);
  CHECK(eval::sub(low, one).at<std::int64_t>({0}) == kHighest);
  CHECK(eval::mul(high, integers({2}, {1})).at<std::int64_t>({0}) == -2);
  CHECK(eval::neg(low).at<std::int64_t>({0}) == kLowest);
  CHECK(eval::abs(low).at<std::int64_t>({0}) == kLowest);
  CHECK(eval::abs(integers({-3, 0, 4}, {3})).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{3, 0, 4});
  CHECK(eval::square(integers({1ll << 32}, {1})).at<std::int64_t>({0}) == 0);
}

TEST_CASE("maximum and minimum give NaN for NaN, on either side") {
  const Tensor a = doubles({1, kNaN, 2, kInf, kNaN}, {5}),
               b = doubles({2, 1, kNaN, -kInf, kNaN}, {5});
  check(eval::maximum(a, b), {5}, {2, kNaN, kNaN, kInf, kNaN});
  check(eval::minimum(a, b), {5}, {1, kNaN, kNaN, -kInf, kNaN});
  check(eval::maximum(integers({3, -4}, {2}), integers({2}, {})), {2}, {3, 2});
}

TEST_CASE("a tie of maximum halves the gradient, and no other element gets anything") {
  const auto f = [](const std::vector<Expr>& x) { return maximum(x[0], x[1]); };
  const auto d = gradients_at(f, {doubles({1, 2, 3}, {3}), doubles({2, 2, 2}, {3})},
                              doubles({kInf, 10, kInf}, {3}));
  check(d[0], {3}, {0, 5, kInf});
  check(d[1], {3}, {kInf, 5, 0});
}

TEST_CASE("abs of -0 is 0, its derivative at 0 is 0") {
  CHECK_FALSE(std::signbit(eval::abs(doubles({-0.0}, {})).item()));
  const auto d = gradients_at([](const auto& x) { return abs(x[0]); }, {doubles({-2, 0, 3}, {3})},
                              doubles({1, 1, 1}, {3}));
  check(d[0], {3}, {-1, 0, 1});
}

TEST_CASE("pow has finite gradients at bases of 0 and exponents 0, 1, 2") {
  const auto f = [](const std::vector<Expr>& x) { return pow(x[0], x[1]); };
  const Tensor base = doubles({0, 0, 0, 0, -2, 5}, {6}), power = doubles({0, 1, 2, 3.5, 3, 0}, {6});
  check(eval::pow(base, power), {6}, {1, 0, 0, 0, -8, 1});
  const auto d = gradients_at(f, {base, power}, Tensor::full(f64, {6}, 1));
  check(d[0], {6}, {0, 1, 0, 0, 12, 0});
  check(d[1], {6}, {0, 0, 0, 0, kNaN, std::log(5.0)}, 1e-15);
}

TEST_CASE("second derivatives of pow at 0 are finite: (x^2)'' = 2, (x^1)'' = 0, (x^0)'' = 0") {
  const auto f = [](const std::vector<Expr>& x) {
    const Expr y = pow(x[0], constant(doubles({2, 1, 0}, {3})));
    return gradients(sum(y), {x[0]})[0];
  };
  check(gradients_at(f, {doubles({0, 0, 0}, {3})}, doubles({1, 1, 1}, {3}))[0], {3}, {2, 0, 0});
}

TEST_CASE("division's gradient is 0 for a zero cotangent, also at tiny divisors") {
  const auto f = [](const std::vector<Expr>& x) { return x[0] / x[1]; };
  const auto d = gradients_at(f, {doubles({3}, {1}), doubles({1e-310}, {1})}, doubles({0}, {1}));
  check(d[0], {1}, {0});
}

TEST_CASE("functions of one number") {
  const Tensor x = doubles({0.25, 1, 4}, {3});
  check(eval::sqrt(x), {3}, {0.5, 1, 2});
  check(eval::rsqrt(x), {3}, {2, 1, 0.5});
  check(eval::reciprocal(x), {3}, {4, 1, 0.25});
  check(eval::square(x), {3}, {0.0625, 1, 16});
  check(eval::log(x), {3}, {std::log(0.25), 0, std::log(4.0)}, 1e-15);
  check(eval::exp(x), {3}, {std::exp(0.25), std::exp(1.0), std::exp(4.0)}, 1e-15);
  check(eval::sin(x), {3}, {std::sin(0.25), std::sin(1.0), std::sin(4.0)}, 1e-15);
  check(eval::cos(x), {3}, {std::cos(0.25), std::cos(1.0), std::cos(4.0)}, 1e-15);
  check(eval::tanh(x), {3}, {std::tanh(0.25), std::tanh(1.0), std::tanh(4.0)}, 1e-15);
  check(eval::erf(x), {3}, {std::erf(0.25), std::erf(1.0), std::erf(4.0)}, 1e-15);
  check(eval::neg(x), {3}, {-0.25, -1, -4});
  check(eval::scale(x, {.factor = -3}), {3}, {-0.75, -3, -12});
  check(eval::exp(doubles({-kInf, kInf, kNaN, -1000, 1000}, {5})), {5}, {0, kInf, kNaN, 0, kInf});
}

TEST_CASE("activations of any size of x") {
  const Tensor x = doubles({-kInf, -1000, -50, 0, 50, 1000, kInf, kNaN}, {8});
  check(eval::sigmoid(x), {8}, {0, 0, std::exp(-50.0), 0.5, 1, 1, 1, kNaN}, 1e-22);
  check(eval::silu(x), {8}, {0, 0, -50 * std::exp(-50.0), 0, 50, 1000, kInf, kNaN}, 1e-20);
  check(eval::relu(x), {8}, {0, 0, 0, 0, 50, 1000, kInf, kNaN});
  check(eval::tanh(x), {8}, {-1, -1, -1, 0, 1, 1, 1, kNaN});
  const Tensor y = eval::sigmoid(floats({-80}, {}));
  CHECK(y.item() == doctest::Approx(std::exp(-80.0)).epsilon(1e-5));
}

TEST_CASE("gelu of any size of x, exact relative to the result") {
  const Numbers at{-37, -12, -5, -2, -0.25, 0, 0.25, 2, 12, 1e30};
  Numbers truth;
  for (const double x : at) truth.push_back(x / 2 * std::erfc(-x / std::numbers::sqrt2));
  const auto check_all = [&](DType dtype, std::size_t first, double tolerance) {
    for (std::size_t i = first; i < at.size(); ++i) {
      const double y = eval::gelu(Tensor::full(dtype, {}, at[i])).item();
      CAPTURE(at[i]);
      CHECK(std::abs(y - truth[i]) <= tolerance * std::abs(truth[i]));
    }
  };
  check_all(f64, 0, 2e-13);  // x² is rounded where multiplications do not fuse
  check_all(f32, 1, 1e-5);
  const Tensor ends = doubles({-kInf, kInf, kNaN}, {3});
  for (const GeluApproximate approximate : {GeluApproximate::none, GeluApproximate::tanh}) {
    check(eval::gelu(ends, {.approximate = approximate}), {3}, {0, kInf, kNaN});
    const auto f = [&](const std::vector<Expr>& in) {
      return gelu(in[0], {.approximate = approximate});
    };
    const Tensor x = doubles({-kInf, -1000, 0, 1000, kInf}, {5}), one = Tensor::full(f64, {5}, 1);
    check(gradients_at(f, {x}, one)[0], {5}, {0, 0, 0.5, 1, 1});
  }
}

TEST_CASE("their gradients are finite at large x") {
  const Tensor x = doubles({-1000, -3, 0, 3, 1000}, {5}), one = Tensor::full(f64, {5}, 1);
  const auto at = [&](auto f) {
    return gradients_at([&](const std::vector<Expr>& in) { return f(in[0]); }, {x}, one)[0];
  };
  const double s = 1 / (1 + std::exp(-3.0)), t = s * (1 - s);
  check(at([](const Expr& e) { return sigmoid(e); }), {5}, {0, t, 0.25, t, 0}, 1e-15);
  check(at([](const Expr& e) { return silu(e); }), {5}, {0, 1 - s - 3 * t, 0.5, s + 3 * t, 1},
        1e-15);
  check(gradients_at([](const std::vector<Expr>& in) { return silu(in[0]); },
                     {doubles({-kInf, kInf}, {2})}, doubles({1, 1}, {2}))[0],
        {2}, {0, 1});
  check(at([](const Expr& e) { return relu(e); }), {5}, {0, 0, 0, 1, 1});
  const double g = 2 * std::numbers::inv_sqrtpi * std::exp(-9.0);
  check(at([](const Expr& e) { return erf(e); }), {5}, {0, g, 2 * std::numbers::inv_sqrtpi, g, 0},
        1e-15);
}

TEST_CASE("gelu in both forms") {
  const Numbers x = {-2, -0.5, 0, 1, 3};
  Numbers exact, approximate;
  for (double v : x) {
    exact.push_back(v / 2 * std::erfc(-v / std::numbers::sqrt2));
    const double u = std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v);
    approximate.push_back(v / 2 * (1 + std::tanh(u)));
  }
  check(eval::gelu(doubles(x, {5})), {5}, exact, 1e-15);
  check(eval::gelu(doubles(x, {5}), {.approximate = GeluApproximate::tanh}), {5}, approximate,
        1e-15);
}

TEST_CASE("transposed and broadcast operands are read where they are") {
  const Tensor a = doubles({1, 2, 3, 4, 5, 6}, {2, 3});
  check(eval::add(a.transpose({1, 0}), doubles({10}, {1, 1}).broadcast_to({3, 2})), {3, 2},
        {11, 14, 12, 15, 13, 16});
  check(eval::exp(doubles({0, 9, 1, 9}, {2, 2}).slice(1, 0, 1)), {2, 1}, {1, std::exp(1.0)}, 1e-15);
}

TEST_CASE("dtypes are not promoted, and what is refused says so") {
  CHECK(error_of([] { eval::add(doubles({1}, {1}), floats({1}, {1})); }) ==
        "add: a f64 and b f32; equal dtypes are required (there is no promotion; see cast)");
  CHECK(error_of([] { eval::div(integers({1}, {1}), integers({1}, {1})); }) ==
        "div: a and b are i64; f32 or f64 is required");
  CHECK(
      error_of([] {
        input("a", f32, {2, 3}) + input("b", f32, {4});
      }) ==
      "add: (2, 3) and (4,) do not broadcast: extents 3 and 4 at axis -1; equal or 1 is required");
}

}  // namespace
}  // namespace fovea::test
