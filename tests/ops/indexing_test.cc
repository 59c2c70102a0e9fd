#include "fovea/ops/indexing.h"

#include <doctest/doctest.h>

#include "fovea/ops/reductions.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

const Tensor& three_by_two() {
  static const Tensor x = doubles({1, 2, 3, 4, 5, 6}, {3, 2});
  return x;
}

TEST_CASE("take looks up rows, negative indices from the end") {
  check(eval::take(three_by_two(), integers({2, 0, -1, -3}, {2, 2})), {2, 2, 2},
        {5, 6, 1, 2, 5, 6, 1, 2});
  check(eval::take(three_by_two(), integers({1}, {})), {2}, {3, 4});
  check(eval::take(three_by_two(), integers({1, 1, 0}, {3}), {.axis = 1}), {3, 3},
        {2, 2, 1, 4, 4, 3, 6, 6, 5});
  check(eval::take(three_by_two().transpose({1, 0}), integers({1, -2}, {2})), {2, 3},
        {2, 4, 6, 1, 3, 5});
  check(eval::take(three_by_two(), integers({}, {0})), {0, 2}, {});
}

TEST_CASE("gradients of repeated indices are added up") {
  const auto lookup = [](const Tensor& indices, Take a = {}) {
    return [=](const std::vector<Expr>& x) { return take(x[0], constant(indices), a); };
  };
  check(gradients_at(lookup(integers({2, 0, 2}, {3})), {three_by_two()},
                     doubles({1, 2, 3, 4, 5, 6}, {3, 2}))[0],
        {3, 2}, {3, 4, 0, 0, 6, 8});
  check(gradients_at(lookup(integers({-1, 1, 1}, {3}), {.axis = 1}), {three_by_two()},
                     doubles({1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3}))[0],
        {3, 2}, {0, 6, 0, 15, 0, 24});
}

TEST_CASE("an index out of range is named, with its place and the extent") {
  const auto text = [](const std::vector<std::int64_t>& indices, const Shape& shape) {
    return error_of([&] { eval::take(three_by_two(), integers(indices, shape)); });
  };
  CHECK(
      text({0, 1, 2, 3}, {2, 2}) ==
      "take: index 3 at [1, 1] of indices: x (3, 2) has extent 3 at axis 0; -3 to 2 are required");
  CHECK(text({-4}, {}) ==
        "take: index -4 of indices: x (3, 2) has extent 3 at axis 0; -3 to 2 are required");
  CHECK(text({std::numeric_limits<std::int64_t>::min()}, {1}).starts_with("take: index -9223"));
  CHECK(error_of([] {
          eval::take(doubles({}, {0, 2}), integers({0}, {1}));
        }) ==
        "take: index 0 at [0] of indices: x (0, 2) has extent 0 at axis 0; no index is possible");
  // Though there is nothing to copy.
  CHECK(error_of([] {
          eval::take(doubles({}, {3, 0}), integers({5}, {1}));
        }) ==
        "take: index 5 at [0] of indices: x (3, 0) has extent 3 at axis 0; -3 to 2 are required");
  CHECK(error_of([] {
          eval::gather(three_by_two(), integers({0, 1, 2}, {3, 1}));
        }) ==
        "gather: index 2 at [2, 0] of indices: x (3, 2) has extent 2 at axis 1; -2 to 1 are "
        "required");
  CHECK(error_of([] {
          eval::scatter_add(three_by_two(), integers({7, 0}, {1, 2}), doubles({1, 2}, {1, 2}),
                            {.axis = 0});
        }) ==
        "scatter_add: index 7 at [0, 0] of indices: x (3, 2) has extent 3 at axis 0; -3 to 2 are "
        "required");
  CHECK(error_of([] { eval::one_hot(integers({4}, {1}), {.classes = 4}); }) ==
        "one_hot: index 4 at [0] of indices: there are 4 classes; -4 to 3 are required");
}

TEST_CASE("gather and scatter_add go along an axis") {
  check(eval::gather(three_by_two(), integers({1, 0, -1}, {3, 1})), {3, 1}, {2, 3, 6});
  check(eval::gather(three_by_two(), integers({2, 0, 1, -1}, {2, 2}), {.axis = 0}), {2, 2},
        {5, 2, 3, 6});
  check(eval::scatter_add(three_by_two(), integers({1, 1, 0, 1, -1, -2}, {3, 2}),
                          doubles({10, 20, 30, 40, 50, 60}, {3, 2})),
        {3, 2}, {1, 32, 33, 44, 65, 56});
  check(
      eval::scatter_add(integers({1, 2}, {2}), integers({1, 1, 1}, {3}), integers({5, 6, 7}, {3})),
      {2}, {1, 20});
  const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  CHECK(eval::scatter_add(integers({largest}, {1}), integers({0}, {1}), integers({1}, {1}))
            .to_vector<std::int64_t>()[0] == std::numeric_limits<std::int64_t>::min());
}

TEST_CASE("NaN stays where it is") {
  const Tensor x = doubles({1, kNaN, 3, kInf}, {2, 2});
  check(eval::take(x, integers({0, 0}, {2}), {.axis = 1}), {2, 2}, {1, 1, 3, 3});
  check(eval::scatter_add(x, integers({0, 0}, {2, 1}), doubles({1, 1}, {2, 1})), {2, 2},
        {2, kNaN, 4, kInf});
}

// The order of additions follows from positions alone.
TEST_CASE("scatter_add of many repeated indices gives the same bits on any number of threads") {
  const Tensor x = random_normal(f32, {7, 300}, 0, 1, {1, 1});
  const Tensor updates = random_normal(f32, {2000, 300}, 0, 1, {1, 2});
  const Tensor rows = random_integers({2000, 1}, 0, 7, {1, 3}).broadcast_to({2000, 300});
  const Tensor all = random_integers({2000, 300}, 0, 7, {1, 4});
  const int threads = num_threads();
  for (const Tensor& indices : {rows, all}) {
    set_num_threads(1);
    const Tensor expected = eval::scatter_add(x, indices, updates, {.axis = 0});
    // By the definition, in the same order.
    std::vector<float> sums = x.to_vector<float>();
    const std::vector<std::int64_t> at = indices.copy().to_vector<std::int64_t>();
    for (std::size_t i = 0; i < at.size(); ++i) {
      sums[static_cast<std::size_t>(at[i]) * 300 + i % 300] += updates.data<float>()[i];
    }
    CHECK(equal_bits(expected, Tensor::from(sums, {7, 300})));
    for (const int n : {2, 3}) {
      set_num_threads(n);
      CHECK(equal_bits(eval::scatter_add(x, indices, updates, {.axis = 0}), expected));
    }
    set_num_threads(threads);
  }
}

TEST_CASE("one_hot of every dtype") {
  check(eval::one_hot(integers({1, -1}, {2}), {.classes = 3}), {2, 3}, {0, 1, 0, 0, 0, 1});
  CHECK(eval::one_hot(integers({1}, {1}), {.classes = 3}).dtype() == f32);
  CHECK(equal_bits(eval::one_hot(integers({1, 0}, {2, 1}), {.classes = 2, .dtype = boolean}),
                   bools({false, true, true, false}, {2, 1, 2})));
}

TEST_CASE("argmax gives the first of equals, and of NaNs") {
  check(eval::argmax(doubles({1, 3, 3, kNaN, 9, kNaN}, {2, 3})), {2}, {1, 0});
  check(eval::argmax(doubles({-kInf, -kInf, 0, kNaN, kInf, 0}, {2, 3}), {.axis = 0}), {3},
        {1, 1, 0});
  check(eval::argmax(bools({false, true, true}, {3}), {.keep_dims = true}), {1}, {1});
  check(eval::argmax(three_by_two().transpose({1, 0})), {2}, {2, 2});
  CHECK(eval::argmax(three_by_two()).dtype() == i64);
  CHECK(error_of([] {
          eval::argmax(doubles({}, {2, 0}));
        }) == "argmax: x (2, 0) is empty along axis 1; at least one element is required");
}

TEST_CASE("iota counts") {
  CHECK(equal_bits(eval::iota({.extent = 3}), integers({0, 1, 2}, {3})));
  CHECK(equal_bits(eval::iota({.extent = 2, .dtype = f32}), floats({0, 1}, {2})));
  check(eval::iota({}), {0}, {});
  const Expr y = iota({.extent = Extent(4, "length")});
  CHECK(to_string(y.shape()) == "(length=4,)");
}

TEST_CASE("names of extents go along") {
  const Expr table = input("x", f32, {{100, "vocabulary"}, {8, "width"}});
  const Expr tokens = input("t", i64, {{2, "batch"}, {5, "length"}});
  CHECK(to_string(take(table, tokens).shape()) == "(batch=2, length=5, width=8)");
  CHECK(to_string(one_hot(tokens, {.classes = Extent(100, "vocabulary")}).shape()) ==
        "(batch=2, length=5, vocabulary=100)");
  CHECK(to_string(argmax(table).shape()) == "(vocabulary=100,)");
}

}  // namespace
}  // namespace fovea::test
