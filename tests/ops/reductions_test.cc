#include "fovea/ops/reductions.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fovea/ops/elementwise.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

const Tensor& two_by_three() {
  static const Tensor x = doubles({1, 2, 3, 4, 5, 9}, {2, 3});
  return x;
}

TEST_CASE("axes: all, one, some, none") {
  const Tensor x = two_by_three();
  check(eval::sum(x), {}, {24});
  check(eval::sum(x, {.axes = 0}), {3}, {5, 7, 12});
  check(eval::sum(x, {.axes = -1, .keep_dims = true}), {2, 1}, {6, 18});
  check(eval::sum(x, {.axes = {0, 1}, .keep_dims = true}), {1, 1}, {24});
  check(eval::sum(x, {.axes = Axes(std::vector<std::int64_t>{})}), {2, 3}, {1, 2, 3, 4, 5, 9});
  check(eval::mean(x, {.axes = 1}), {2}, {2, 6});
  check(eval::max(x, {.axes = 0}), {3}, {4, 5, 9});
  check(eval::min(x), {}, {1});
  CHECK(error_of([&] { eval::sum(x, {.axes = 2}); }) ==
        "sum: axis 2 at rank 2; -2 to 1 are required");
  CHECK(error_of([&] {
          eval::max(x, {.axes = {1, -1}});
        }) == "max: axis 1 is named twice; each axis at most once");
}

TEST_CASE("middle and outer axes of any strides") {
  std::vector<double> values(2 * 3 * 4);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  const Tensor x = doubles(values, {2, 3, 4});
  check(eval::sum(x, {.axes = 1}), {2, 4}, {12, 15, 18, 21, 48, 51, 54, 57});
  check(eval::sum(x, {.axes = {0, 2}}), {3}, {60, 92, 124});
  check(eval::max(x.slice(2, {}, {}, -2), {.axes = {0, 1}}), {2}, {23, 21});
  check(eval::sum(x.transpose({2, 0, 1}), {.axes = {0, 2}}), {2}, {66, 210});
}

TEST_CASE("of no elements: 0, NaN, an error") {
  const Tensor none = doubles({}, {2, 0});
  check(eval::sum(none, {.axes = 1}), {2}, {0, 0});
  check(eval::mean(none, {.axes = 1}), {2}, {kNaN, kNaN});
  check(eval::sum(none, {.axes = 0}), {0}, {});
  CHECK(error_of([&] { eval::max(none, {.axes = 1}); }) ==
        "max: x (2, 0) is empty along axis 1; at least one element is required");
  CHECK(error_of([&] { eval::min(none); }).starts_with("min: "));
  check(eval::max(none, {.axes = 0}), {0}, {});
}

TEST_CASE("i64 sums wrap around, and maxima are exact") {
  constexpr std::int64_t kHighest = std::numeric_limits<std::int64_t>::max();
  CHECK(eval::sum(integers({kHighest, 1}, {2})).at<std::int64_t>({}) == -kHighest - 1);
  CHECK(eval::max(integers({kHighest - 1, kHighest, 3}, {3})).at<std::int64_t>({}) == kHighest);
}

TEST_CASE("NaN reaches max and min from any position, and infinities are numbers") {
  for (int at : {0, 1, 4999, 5000, 9999}) {
    Tensor x = Tensor::full(f32, {10000}, 3);
    x.mutable_data<float>()[at] = std::nanf("");
    CHECK(std::isnan(eval::max(x).item()));
    CHECK(std::isnan(eval::min(x).item()));
  }
  check(eval::max(doubles({-kInf, -kInf}, {2})), {}, {-kInf});
  check(eval::min(doubles({kInf, 2, -kInf}, {3})), {}, {-kInf});
}

TEST_CASE("a million f32 add up as in f64") {
  const Shape shape{1000, 1000};
  const Tensor x = random_uniform(f32, shape, 0, 1, {1, 2});
  const double exact = eval::sum(x.astype(f64)).item();
  CHECK(eval::sum(x).item() == doctest::Approx(exact).epsilon(1e-7));
  CHECK(eval::mean(x).item() == doctest::Approx(exact / 1e6).epsilon(1e-7));
  check(eval::sum(x, {.axes = 0}).astype(f64), {1000},
        numbers_of(eval::sum(x.astype(f64), {.axes = 0})), 1e-7);
  const Tensor tenths = Tensor::full(f32, {1000000}, 0.1);
  CHECK(eval::sum(tenths).item() == static_cast<double>(static_cast<float>(1e6 * double(0.1f))));
}

TEST_CASE("strides and threads do not change a bit") {
  const Tensor x = random_normal(f32, {129, 5003}, 0, 1, {3, 4});
  const Tensor turned = x.transpose({1, 0}).copy();
  const int threads = num_threads();
  const Tensor rows = eval::sum(x, {.axes = 1}), all = eval::sum(x),
               columns = eval::mean(x, {.axes = 0});
  CHECK(equal_bits(rows, eval::sum(turned.transpose({1, 0}), {.axes = 1})));
  CHECK(equal_bits(rows, eval::sum(turned, {.axes = 0})));
  CHECK(equal_bits(all, eval::sum(turned.transpose({1, 0}))));
  for (int n : {1, 3}) {
    set_num_threads(n);
    CHECK(equal_bits(rows, eval::sum(x, {.axes = 1})));
    CHECK(equal_bits(all, eval::sum(x)));
    CHECK(equal_bits(columns, eval::mean(x, {.axes = 0})));
  }
  set_num_threads(threads);
}

TEST_CASE("gradients: sums repeat, means divide, ties of max share") {
  const Tensor x = doubles({1, 5, 5, 7, 2, 7}, {2, 3}), d = doubles({6, 12}, {2});
  const auto along_1 = [&](auto reduce) {
    return gradients_at([&](const std::vector<Expr>& in) { return reduce(in[0]); }, {x}, d)[0];
  };
  check(along_1([](const Expr& e) { return sum(e, {.axes = 1}); }), {2, 3}, {6, 6, 6, 12, 12, 12});
  check(along_1([](const Expr& e) { return mean(e, {.axes = 1}); }), {2, 3}, {2, 2, 2, 4, 4, 4});
  check(along_1([](const Expr& e) { return max(e, {.axes = 1}); }), {2, 3}, {0, 3, 3, 6, 0, 6});
  check(along_1([](const Expr& e) { return min(e, {.axes = 1}); }), {2, 3}, {6, 0, 0, 0, 12, 0});
}

TEST_CASE("an infinite cotangent of max reaches only the largest element") {
  const auto f = [](const std::vector<Expr>& in) { return max(in[0]); };
  check(gradients_at(f, {doubles({1, 3, 2}, {3})}, doubles({kInf}, {}))[0], {3}, {0, kInf, 0});
}

TEST_CASE("names of extents stay with the axes that stay") {
  const Expr x = input("x", f32, {{2, "batch"}, {16, "length"}, 64});
  CHECK(to_string(sum(x, {.axes = -1}).shape()) == "(batch=2, length=16)");
  CHECK(to_string(mean(x, {.axes = 1, .keep_dims = true}).shape()) == "(batch=2, 1, 64)");
}

}  // namespace
}  // namespace fovea::test
