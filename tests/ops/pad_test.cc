#include "fovea/ops/pad.h"

#include <doctest/doctest.h>

#include "values.h"

namespace fovea::test {
namespace {

TEST_CASE("pad puts a border around") {
  const Tensor x = doubles({1, 2, 3, 4}, {2, 2});
  check(eval::pad(x, {.before = {1, 0}, .after = {0, 1}, .value = -1}), {3, 3},
        {-1, -1, -1, 1, 2, -1, 3, 4, -1});
  check(eval::pad(x.transpose({1, 0}), {.after = {0, 1}}), {2, 3}, {1, 3, 0, 2, 4, 0});
  check(eval::pad(doubles({}, {0, 2}), {.before = {2, 0}}), {2, 2}, {0, 0, 0, 0});
  CHECK(equal_bits(eval::pad(bools({false}, {1}), {.after = {1}, .value = 1}),
                   bools({false, true}, {2})));
}

TEST_CASE("gradients are those of the inside") {
  const auto f = [](const std::vector<Expr>& x) {
    return pad(x[0], {.before = {1, 0}, .after = {0, 1}, .value = kInf});
  };
  check(gradients_at(f, {doubles({1, 2, 3, 4}, {2, 2})},
                     doubles({1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3}))[0],
        {2, 2}, {4, 5, 7, 8});
}

TEST_CASE("borders that cannot be are refused") {
  const auto text = [](Pad a) { return error_of([&] { eval::pad(integers({1}, {1}), a); }); };
  CHECK(text({.before = {1, 2}}) ==
        "pad: before [1, 2] for x (1,): 2 entries at rank 1; one for each axis, or none, is "
        "required");
  CHECK(text({.after = {-1}}) == "pad: after holds -1; 0 or more is required (see slice)");
  CHECK(text({.value = 0.5}) ==
        "pad: value 0.5 for an x that is i64; one of its numbers is required");
  CHECK(text({.value = kInf}).ends_with("one of its numbers is required"));
  CHECK(text({.value = kNaN}).ends_with("one of its numbers is required"));
}

}  // namespace
}  // namespace fovea::test
