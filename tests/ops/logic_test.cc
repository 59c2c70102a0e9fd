#include "fovea/ops/logic.h"

#include <doctest/doctest.h>

#include "fovea/ops/elementwise.h"
#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("comparisons of floats: NaN is unequal to everything") {
  const Tensor a = doubles({1, 2, kNaN, kInf}, {4}), b = doubles({1, 3, kNaN, -kInf}, {4});
  check(eval::equal(a, b), {4}, {1, 0, 0, 0});
  check(eval::not_equal(a, b), {4}, {0, 1, 1, 1});
  check(eval::less(a, b), {4}, {0, 1, 0, 0});
  check(eval::less_equal(a, b), {4}, {1, 1, 0, 0});
  check(eval::greater(a, b), {4}, {0, 0, 0, 1});
  check(eval::greater_equal(a, b), {4}, {1, 0, 0, 1});
  CHECK(eval::equal(a, b).dtype() == boolean);
}

TEST_CASE("comparisons of i64 and bool are exact") {
  const std::int64_t big = (1ll << 53) + 1;
  check(eval::greater(integers({big}, {1}), integers({big - 1}, {1})), {1}, {1});
  check(eval::less(bools({false, true}, {2}), bools({true}, {1})), {2}, {1, 0});
}

TEST_CASE("logical ops") {
  const Tensor a = bools({false, false, true, true}, {4}), b = bools({false, true}, {2});
  const Tensor b2 = eval::logical_not(bools({true, false, true, false}, {4}));
  check(eval::logical_and(a, b2), {4}, {0, 0, 0, 1});
  check(eval::logical_or(a, b2), {4}, {0, 1, 1, 1});
  check(eval::logical_xor(a, b2), {4}, {0, 1, 1, 0});
  CHECK(error_of([&] { eval::logical_and(a, doubles({1}, {1})); }).starts_with("logical_and: "));
}

TEST_CASE("isfinite") {
  check(eval::isfinite(doubles({0, -1, kInf, -kInf, kNaN}, {5})), {5}, {1, 1, 0, 0, 0});
  check(eval::isfinite(integers({7}, {1})), {1}, {1});
}

TEST_CASE("where takes one side and does not look at the other, forward or back") {
  const Tensor condition = bools({true, false, true}, {3});
  const Tensor a = doubles({1, kNaN, kInf}, {3}), b = doubles({kNaN, 2, kNaN}, {3});
  check(eval::where(condition, a, b), {3}, {1, 2, kInf});
  const auto f = [](const std::vector<Expr>& x) { return where(x[0], x[1], x[2]); };
  const auto d = gradients_at(f, {condition, a, b}, doubles({kInf, kNaN, 3}, {3}));
  check(d[0], {3}, {kInf, 0, 3});
  check(d[1], {3}, {0, kNaN, 0});
}

TEST_CASE("where broadcasts all three, and its gradients come back in their shapes") {
  const Tensor condition = bools({true, false}, {2, 1});
  const auto f = [](const std::vector<Expr>& x) { return where(x[0], x[1], x[2]); };
  const auto d = gradients_at(f, {condition, doubles({1, 2, 3}, {3}), doubles({9}, {})},
                              doubles({1, 2, 3, 4, 5, 6}, {2, 3}));
  check(d[0], {3}, {1, 2, 3});
  check(d[1], {}, {15});
}

TEST_CASE("a plain number is an operand of where") {
  const Expr x = input("x", f64, {2});
  const Expr y = where(greater(x, 0), x, -1);
  check(evaluate(std::vector{y}, std::vector<Binding>{{x, doubles({-5, 5}, {2})}})[0], {2},
        {-1, 5});
  CHECK(error_of([&] { where(x, x, x); }) == "where: condition is f64; bool is required");
}

TEST_CASE("cast converts without surprises") {
  const Tensor x = doubles({-2.9, 2.9, 0, kNaN, 1e300, -kInf}, {6});
  check(eval::cast(x, {.dtype = i64}), {6}, {-2, 2, 0, 0, 0, 0});
  check(eval::cast(x, {.dtype = boolean}), {6}, {1, 1, 0, 1, 1, 1});
  check(eval::cast(doubles({1e300, 0.1}, {2}), {.dtype = f32}), {2}, {kInf, double(0.1f)});
  check(eval::cast(bools({true, false}, {2}), {.dtype = f32}), {2}, {1, 0});
  CHECK(error_of([&] { eval::cast(x, {}); }) ==
        "cast: dtype is not given; f32, f64, i64 or bool is required");
}

TEST_CASE("a gradient goes through float casts and stops at others") {
  const auto f = [](const std::vector<Expr>& x) {
    return cast(cast(x[0], {.dtype = f64}) * cast(cast(x[0], {.dtype = i64}), {.dtype = f64}),
                {.dtype = f32});
  };
  const auto d = gradients_at(f, {floats({2.5}, {1})}, floats({1}, {1}));
  check(d[0], {1}, {2});
  CHECK(d[0].dtype() == f32);
}

}  // namespace
}  // namespace fovea::test
