#include "fovea/ops/sample.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "fovea/tensor/random.h"

namespace fovea {
namespace {

TEST_CASE("a spread keeps its elements apart from each other and from 0") {
  std::vector<double> all = make_tensor(arg::spread({7, 9}), f64, {1, 2}).to_vector<double>();
  CHECK_FALSE(std::ranges::is_sorted(all));
  all.push_back(0);
  std::ranges::sort(all);
  for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i] - all[i - 1] >= 0.25);
}

TEST_CASE("both float types get the same values, rounded") {
  for (const Arg& a : {arg::normal({5}), arg::uniform({5}, -2, 3), arg::spread({5}),
                       arg::values({0.1, 0.2, -0.3, HUGE_VAL, 1e-9}, {5})}) {
    const Tensor wide = make_tensor(a, f64, {3, 4}), narrow = make_tensor(a, f32, {3, 4});
    CHECK(narrow.dtype() == f32);
    CHECK(equal_bits(wide.astype(f32), narrow));
  }
}

TEST_CASE("arguments that are no floats keep their type; none gives null") {
  CHECK(make_tensor(arg::integers({4}, 2, 3), f32, {}).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>(4, 2));
  CHECK(make_tensor(arg::bernoulli({3}, 1), f32, {}).to_vector<bool>() ==
        std::vector<bool>(3, true));
  CHECK(make_tensor(arg::values({1, 0}, {2}, boolean), f32, {}).to_vector<bool>() ==
        std::vector<bool>{true, false});
  CHECK_FALSE(make_tensor(Arg{}, f32, {}).defined());
}

}  // namespace
}  // namespace fovea
