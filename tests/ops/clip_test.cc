#include "fovea/ops/clip.h"

#include <doctest/doctest.h>

#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("clip moves what is outside to the bounds; NaN stays") {
  const Tensor x = doubles({-kInf, -2, -1, 0.5, 1, 3, kInf, kNaN}, {8});
  check(eval::clip(x, {.min = -1, .max = 1}), {8}, {-1, -1, -1, 0.5, 1, 1, 1, kNaN});
  check(eval::clip(x, {.min = 0}), {8}, {0, 0, 0, 0.5, 1, 3, kInf, kNaN});
  check(eval::clip(x, {.max = -kInf}), {8},
        {-kInf, -kInf, -kInf, -kInf, -kInf, -kInf, -kInf, kNaN});
  CHECK(equal_bits(eval::clip(integers({-5, 2, 9}, {3}), {.min = -1, .max = 4}),
                   integers({-1, 2, 4}, {3})));
}

TEST_CASE("gradients pass inside and at the bounds") {
  const auto f = [](const std::vector<Expr>& x) { return clip(x[0], {.min = -1, .max = 1}); };
  check(gradients_at(f, {doubles({-2, -1, 0, 1, 2}, {5})}, doubles({1, 2, 3, 4, 5}, {5}))[0], {5},
        {0, 2, 3, 4, 0});
}

TEST_CASE("bounds that bound nothing are refused") {
  const auto text = [](const Tensor& x, Clip a) { return error_of([&] { eval::clip(x, a); }); };
  const Tensor x = doubles({1}, {1}), n = integers({1}, {1});
  CHECK(text(x, {}) == "clip: neither min nor max; at least one of them is required");
  CHECK(text(x, {.min = 2, .max = 1}) == "clip: min 2 and max 1; min must not be the larger");
  CHECK(text(n, {.max = 0.5}) == "clip: max is 0.5 for an x that is i64; an integer is required");
  CHECK(text(n, {.max = 0x1p63}).ends_with("an integer is required"));
}

}  // namespace
}  // namespace fovea::test
