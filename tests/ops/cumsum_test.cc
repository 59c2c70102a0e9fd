#include "fovea/ops/cumsum.h"

#include <doctest/doctest.h>

#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("sums run along an axis, in either direction, with or without the element itself") {
  const Tensor x = doubles({1, 2, 3, 4, 5, 6}, {2, 3});
  check(eval::cumsum(x), {2, 3}, {1, 3, 6, 4, 9, 15});
  check(eval::cumsum(x, {.axis = 0}), {2, 3}, {1, 2, 3, 5, 7, 9});
  check(eval::cumsum(x, {.exclusive = true}), {2, 3}, {0, 1, 3, 0, 4, 9});
  check(eval::cumsum(x, {.reverse = true}), {2, 3}, {6, 5, 3, 15, 11, 6});
  check(eval::cumsum(x, {.exclusive = true, .reverse = true}), {2, 3}, {5, 3, 0, 11, 6, 0});
  check(eval::cumsum(x.transpose({1, 0})), {3, 2}, {1, 5, 2, 7, 3, 9});
}

TEST_CASE("NaN reaches the sums that it is in") {
  check(eval::cumsum(doubles({1, kNaN, 3}, {3})), {3}, {1, kNaN, kNaN});
  check(eval::cumsum(doubles({1, kNaN, 3}, {3}), {.exclusive = true}), {3}, {0, 1, kNaN});
}

TEST_CASE("f32 is added up in f64, i64 wraps around") {
  const Tensor x = random_normal(f32, {3, 1000, 5}, 0, 1, {1, 1});
  const Tensor wide = eval::cumsum(x.astype(f64), {.axis = 1});
  CHECK(equal_bits(eval::cumsum(x, {.axis = 1}), wide.astype(f32)));
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(equal_bits(eval::cumsum(integers({most, 1}, {2})), integers({most, -most - 1}, {2})));
}

}  // namespace
}  // namespace fovea::test
