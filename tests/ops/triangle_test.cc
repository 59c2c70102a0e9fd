#include "fovea/ops/triangle.h"

#include <doctest/doctest.h>

#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("triangles on any diagonal") {
  const Tensor x = doubles({1, 2, 3, 4, 5, 6}, {2, 3});
  check(eval::tril(x), {2, 3}, {1, 0, 0, 4, 5, 0});
  check(eval::triu(x), {2, 3}, {1, 2, 3, 0, 5, 6});
  check(eval::tril(x, {.k = 1}), {2, 3}, {1, 2, 0, 4, 5, 6});
  check(eval::triu(x, {.k = 1}), {2, 3}, {0, 2, 3, 0, 0, 6});
  check(eval::tril(x, {.k = -1}), {2, 3}, {0, 0, 0, 4, 0, 0});
  constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();
  check(eval::tril(x, {.k = far}), {2, 3}, {1, 2, 3, 4, 5, 6});
  check(eval::triu(x, {.k = far}), {2, 3}, {0, 0, 0, 0, 0, 0});
  check(eval::triu(x, {.k = -far - 1}), {2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(equal_bits(eval::tril(bools({true, true, true, true}, {2, 2})),
                   bools({true, false, true, true}, {2, 2})));
}

TEST_CASE("what is left out is 0, whatever it was, and so is its gradient") {
  check(eval::tril(doubles({1, kNaN, 3, kInf}, {2, 2})), {2, 2}, {1, 0, 3, kInf});
  const auto f = [](const std::vector<Expr>& x) { return triu(x[0]); };
  check(gradients_at(f, {doubles({1, 2, 3, 4}, {2, 2})}, doubles({1, 2, kNaN, 4}, {2, 2}))[0],
        {2, 2}, {1, 2, 0, 4});
}

}  // namespace
}  // namespace fovea::test
