#include "fovea/ops/movement.h"

#include <doctest/doctest.h>

#include "fovea/ops/elementwise.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

const Tensor& two_by_three() {
  static const Tensor x = doubles({1, 2, 3, 4, 5, 6}, {2, 3});
  return x;
}

// Whether all extents kept their names.
std::string shape_text(const Expr& x) { return to_string(x.shape()); }

TEST_CASE("transpose permutes axes; without perm it reverses them") {
  const Tensor x = doubles({1, 2, 3, 4, 5, 6}, {1, 2, 3});
  check(eval::transpose(two_by_three()), {3, 2}, {1, 4, 2, 5, 3, 6});
  check(eval::transpose(x), {3, 2, 1}, {1, 4, 2, 5, 3, 6});
  check(eval::transpose(x, {.perm = {1, 0, -1}}), {2, 1, 3}, {1, 2, 3, 4, 5, 6});
  check(eval::transpose(doubles({7}, {})), {}, {7});
  CHECK(error_of([] {
          eval::transpose(two_by_three(), {.perm = {0, 0}});
        }) ==
        "transpose: perm [0, 0] for x (2, 3): axis 0 stands twice; each axis exactly once is "
        "required");
}

TEST_CASE("reshape keeps row-major order, of strided tensors too") {
  check(eval::reshape(two_by_three(), {.shape = {3, -1}}), {3, 2}, {1, 2, 3, 4, 5, 6});
  check(eval::reshape(two_by_three().transpose({1, 0}), {.shape = {6}}), {6}, {1, 4, 2, 5, 3, 6});
  check(eval::reshape(doubles({7}, {1, 1}), {.shape = {}}), {}, {7});
  check(eval::reshape(doubles({}, {0, 4}), {.shape = {2, 0}}), {2, 0}, {});
  const auto text = [](std::vector<Extent> shape) {
    return error_of([&] { eval::reshape(two_by_three(), {.shape = shape}); });
  };
  CHECK(text({4, 2}) == "reshape: (2, 3) to (4, 2): 6 and 8 elements; the numbers must be equal");
  CHECK(text({4, -1}) ==
        "reshape: (2, 3) to (4, -1): 6 elements; a multiple of 4 is required for -1");
  CHECK(text({-1, -1}) ==
        "reshape: (2, 3) to (-1, -1): extent -1 twice; extents are 0 or more, but one may be -1");
  CHECK(text({-3, -2}) ==
        "reshape: (2, 3) to (-3, -2): extent -3; extents are 0 or more, but one may be -1");
  CHECK(text({1ll << 40, 1ll << 40}).starts_with("reshape: "));
}

TEST_CASE("concat of large blocks, which are copied in parts") {
  const Tensor a = random_normal(f32, {3, 40001}, 0, 1, {1, 1}),
               b = random_normal(f32, {3, 5}, 0, 1, {1, 2});
  const Tensor y = eval::concat({a, b, a}, {.axis = 1});
  CHECK(equal_bits(y.slice(1, 0, 40001), a));
  CHECK(equal_bits(y.slice(1, 40001, 40006), b));
  CHECK(equal_bits(y.slice(1, 40006, 80007), a));
}

TEST_CASE("broadcast_to repeats; its gradient sums the copies") {
  check(eval::broadcast_to(doubles({1, 2}, {2, 1}), {.shape = {2, 2, 3}}), {2, 2, 3},
        {1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2});
  const auto f = [](const std::vector<Expr>& x) {
    return broadcast_to(x[0], {.shape = {2, 2, 3}});
  };
  check(gradients_at(f, {doubles({1, 2}, {2, 1})},
                     doubles({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {2, 2, 3}))[0],
        {2, 1}, {30, 48});
  CHECK(error_of([] {
          eval::broadcast_to(two_by_three(), {.shape = {3, 2}});
        }) == "broadcast_to: (2, 3) to (3, 2); aligned to the right, extents must be equal or 1");
}

TEST_CASE("slice is Python's, with gradients in the places that were read") {
  const Tensor x = doubles({0, 1, 2, 3, 4}, {5});
  check(eval::slice(x, {.start = 1, .end = 4}), {3}, {1, 2, 3});
  check(eval::slice(x, {.start = -2}), {2}, {3, 4});
  check(eval::slice(x, {.step = -2}), {3}, {4, 2, 0});
  check(eval::slice(x, {.start = 3, .end = -5, .step = -1}), {3}, {3, 2, 1});
  check(eval::slice(x, {.start = 4, .end = 1}), {0}, {});
  check(eval::slice(x, {.start = -1000, .end = 1000, .step = 1000}), {1}, {0});
  constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
  check(eval::slice(x, {.start = kLowest, .end = std::numeric_limits<std::int64_t>::max()}), {5},
        {0, 1, 2, 3, 4});
  check(eval::slice(x, {.step = kLowest}), {1}, {4});
  const auto f = [](const std::vector<Expr>& in) { return slice(in[0], {.start = 4, .step = -2}); };
  check(gradients_at(f, {x}, doubles({1, 2, 3}, {3}))[0], {5}, {3, 0, 2, 0, 1});
}

TEST_CASE("select takes one position and gives its gradient back") {
  check(eval::select(two_by_three(), {.axis = 1, .index = -1}), {2}, {3, 6});
  check(eval::select(two_by_three(), {.index = 1}), {3}, {4, 5, 6});
  const auto f = [](const std::vector<Expr>& x) { return select(x[0], {.axis = -1, .index = 1}); };
  check(gradients_at(f, {two_by_three()}, doubles({7, 8}, {2}))[0], {2, 3}, {0, 7, 0, 0, 8, 0});
  CHECK(error_of([] { eval::select(two_by_three(), {.axis = 1, .index = 3}); }) ==
        "select: index 3 at axis 1 of x (2, 3); -3 to 2 are required");
  CHECK(error_of([] { eval::select(doubles({}, {0}), {}); }) ==
        "select: index 0 at axis 0 of x (0,); there is nothing to select");
}

TEST_CASE("unslice is the transpose of slice") {
  check(eval::unslice(doubles({1, 2}, {2}), {.extent = 5, .start = 0, .end = 3, .step = 2}), {5},
        {1, 0, 2, 0, 0});
  CHECK(error_of([] { eval::unslice(two_by_three(), {.axis = 1, .extent = 4}); }) ==
        "unslice: x (2, 3) has extent 3 at axis 1, but the slice of 4 has 4; they must be equal");
}

TEST_CASE("concat joins along an axis, and its gradient is cut again") {
  const Tensor x = two_by_three(), one = doubles({7, 8}, {2, 1});
  check(eval::concat({x, one}, {.axis = 1}), {2, 4}, {1, 2, 3, 7, 4, 5, 6, 8});
  check(eval::concat({x, doubles({}, {0, 3}), x}), {4, 3}, {1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
  check(eval::concat({x.transpose({1, 0}), doubles({9, 10, 11}, {3, 1})}, {.axis = -1}), {3, 3},
        {1, 4, 9, 2, 5, 10, 3, 6, 11});
  const auto f = [](const std::vector<Expr>& in) { return concat({in[0], in[1]}, {.axis = 1}); };
  const auto d = gradients_at(f, {x, one}, doubles({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4}));
  check(d[0], {2, 3}, {1, 2, 3, 5, 6, 7});
  check(d[1], {2, 1}, {4, 8});
  CHECK(error_of([&] {
          eval::concat({x, one});
        }) == "concat: input 0 (2, 3) and input 1 (2, 1); extents must be equal except at axis 0");
  CHECK(error_of([] { eval::concat({}); }) == "concat: no inputs; at least one is required");
}

TEST_CASE("every dtype moves") {
  const Tensor x = bools({true, false, true, true}, {2, 2});
  check(eval::transpose(x), {2, 2}, {1, 1, 0, 1});
  check(eval::unslice(x, {.extent = 3, .end = 2}), {3, 2}, {1, 0, 1, 1, 0, 0});
  CHECK(eval::concat({integers({1}, {1}), integers({2}, {1})}).dtype() == i64);
}

TEST_CASE("names of extents go along with their axes") {
  const Expr x = input("x", f32, {{2, "batch"}, {16, "length"}, 64});
  CHECK(shape_text(transpose(x)) == "(64, length=16, batch=2)");
  CHECK(shape_text(select(x, {.axis = 0})) == "(length=16, 64)");
  CHECK(shape_text(slice(x, {.axis = 1, .start = 1})) == "(batch=2, 15, 64)");
  CHECK(shape_text(slice(x, {.axis = 1, .step = -1})) == "(batch=2, length=16, 64)");
  CHECK(shape_text(concat({x, x}, {.axis = 1})) == "(batch=2, 32, 64)");
  CHECK(shape_text(reshape(x, {.shape = {Extent(2, "batch"), -1}})) == "(batch=2, 1024)");
}

}  // namespace
}  // namespace fovea::test
