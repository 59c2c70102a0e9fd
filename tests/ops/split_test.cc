#include "fovea/ops/split.h"

#include <doctest/doctest.h>

#include "fovea/ops/elementwise.h"
#include "values.h"

namespace fovea::test {
namespace {

const Tensor& two_by_four() {
  static const Tensor x = doubles({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4});
  return x;
}

TEST_CASE("split cuts along an axis") {
  const auto pieces = eval::split(two_by_four(), {.axis = -1, .sizes = {1, -1, 0}});
  REQUIRE(pieces.size() == 3);
  check(pieces[0], {2, 1}, {1, 5});
  check(pieces[1], {2, 3}, {2, 3, 4, 6, 7, 8});
  check(pieces[2], {2, 0}, {});
  const auto halves = eval::split(two_by_four().transpose({1, 0}), {.parts = 2});
  REQUIRE(halves.size() == 2);
  check(halves[1], {2, 2}, {3, 7, 4, 8});
}

TEST_CASE("gradients of the pieces stand side by side; of one that nobody uses, zeros") {
  const auto f = [](const std::vector<Expr>& x) {
    const auto pieces = split(x[0], {.axis = 1, .sizes = {1, 2, 1}});
    return pieces[0] * pieces[2];
  };
  check(gradients_at(f, {two_by_four()}, doubles({1, 10}, {2, 1}))[0], {2, 4},
        {4, 0, 0, 1, 80, 0, 0, 50});
}

TEST_CASE("what does not add up is refused") {
  const auto text = [](Split a) { return error_of([&] { eval::split(two_by_four(), a); }); };
  CHECK(text({.axis = 1, .sizes = {1, 2}}) ==
        "split: sizes [1, 2] for x (2, 4) along axis 1: together 3; the extent is 4");
  CHECK(text({.axis = 1, .parts = 3}) ==
        "split: 3 parts of x (2, 4) along axis 1; a divisor of its extent 4 is required");
  CHECK(text({}) == "split: neither sizes nor parts; exactly one of them is required");
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(text({.sizes = {most, most}}).ends_with("together over 63 bits"));
  CHECK(error_of([&] {
          eval::split(doubles({}, {0}), {.parts = most});
        }).ends_with("at most 1048576 are possible"));
}

TEST_CASE("names of extents go along with the pieces") {
  const Expr x = input("x", f32, {{2, "batch"}, {12, "width"}});
  const auto pieces = split(x, {.axis = 1, .sizes = {Extent(4, "query"), 8}});
  CHECK(to_string(pieces[0].shape()) == "(batch=2, query=4)");
  CHECK(to_string(pieces[1].shape()) == "(batch=2, 8)");
}

}  // namespace
}  // namespace fovea::test
