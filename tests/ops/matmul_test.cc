#include "fovea/ops/matmul.h"

#include <doctest/doctest.h>

#include "fovea/ops/movement.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

// y[b, i, j] = Σ a[b, i, k] c[b, k, j], one element at a time.
Numbers reference(const Tensor& a, const Tensor& b) {
  const std::int64_t batch = a.shape()[0], m = a.shape()[1], k = a.shape()[2], n = b.shape()[2];
  Numbers y;
  for (std::int64_t s = 0; s < batch; ++s) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t l = 0; l < k; ++l)
          sum += a.at<double>({s, i, l}) * b.at<double>({s, l, j});
        y.push_back(sum);
      }
    }
  }
  return y;
}

TEST_CASE("both flags, batches, and strides are the same product") {
  const Tensor a = random_normal(f64, {3, 17, 29}, 0, 1, {1, 1});
  const Tensor b = random_normal(f64, {3, 29, 23}, 0, 1, {1, 2});
  const Tensor at = a.transpose({0, 2, 1}).copy(), bt = b.transpose({0, 2, 1}).copy();
  const Numbers y = reference(a, b);
  const Shape shape{3, 17, 23};
  check(eval::matmul(a, b), shape, y, 1e-14);
  check(eval::matmul(at, b, {.transpose_a = true}), shape, y, 1e-14);
  check(eval::matmul(a, bt, {.transpose_b = true}), shape, y, 1e-14);
  check(eval::matmul(at, bt, {.transpose_a = true, .transpose_b = true}), shape, y, 1e-14);
  check(eval::matmul(at.transpose({0, 2, 1}), bt.transpose({0, 2, 1})), shape, y, 1e-14);
  check(eval::matmul(a.astype(f32), b.astype(f32)), shape, y, 1e-4);
}

TEST_CASE("large products, one after the other and folded into one") {
  const Tensor a = random_normal(f64, {2, 190, 160}, 0, 1, {2, 1});
  const Tensor b = random_normal(f64, {160, 170}, 0, 1, {2, 2});
  const Numbers y = reference(a, b.broadcast_to({2, 160, 170}));
  check(eval::matmul(a, b), {2, 190, 170}, y, 1e-13);
  check(eval::matmul(a, b.broadcast_to({2, 160, 170}).copy()), {2, 190, 170}, y, 1e-13);
  const Tensor first = a.slice(1, 0, 1);
  check(eval::matmul(first, b), {2, 1, 170}, reference(first, b.broadcast_to({2, 160, 170})),
        1e-13);
  // Rows of a that do not lie evenly: no fold.
  const Tensor apart = Tensor::zeros(f64, {2, 200, 160});
  apart.slice(1, 0, 190).copy_from(a);
  check(eval::matmul(apart.slice(1, 0, 190), b), {2, 190, 170}, y, 1e-13);
}

TEST_CASE("rank 1 is a row of a and a column of b") {
  const Tensor row = doubles({1, 2}, {2}), m = doubles({1, 2, 3, 4, 5, 6}, {2, 3});
  check(eval::matmul(row, m), {3}, {9, 12, 15});
  check(eval::matmul(m, doubles({1, 0, -1}, {3})), {2}, {-2, -2});
  check(eval::matmul(row, row), {}, {5});
  check(eval::matmul(row, row, {.transpose_a = true, .transpose_b = true}), {}, {5});
  check(eval::matmul(row, eval::broadcast_to(m, {.shape = {2, 2, 3}})), {2, 3},
        {9, 12, 15, 9, 12, 15});
}

TEST_CASE("leading extents broadcast") {
  const Tensor a = doubles({1, 2, 3, 4}, {2, 1, 1, 2}),
               b = doubles({1, 10, 2, 20, 3, 30}, {3, 2, 1});
  check(eval::matmul(a, b), {2, 3, 1, 1}, {21, 42, 63, 43, 86, 129});
}

TEST_CASE("sums of nothing are 0, and empty extents are legal") {
  check(eval::matmul(doubles({}, {2, 0}), doubles({}, {0, 2})), {2, 2}, {0, 0, 0, 0});
  check(eval::matmul(doubles({}, {2, 1, 0}), doubles({}, {2, 0, 1})), {2, 1, 1}, {0, 0});
  check(eval::matmul(doubles({}, {0, 2}), doubles({1, 2}, {2, 1})), {0, 1}, {});
  check(eval::matmul(doubles({}, {0, 1, 2}), doubles({1, 2}, {1, 2, 1})), {0, 1, 1}, {});
}

TEST_CASE("NaN and infinity propagate as in the formula") {
  check(eval::matmul(doubles({0, 1}, {1, 2}), doubles({kInf, 1, 1, 1}, {2, 2})), {1, 2}, {kNaN, 1});
}

TEST_CASE("gradients in the inputs' shapes, of every rank") {
  const Tensor a = doubles({1, 2, 3, 4}, {2, 1, 2}), b = doubles({5, 6}, {2});
  const auto f = [](const std::vector<Expr>& x) { return matmul(x[0], x[1]); };
  auto d = gradients_at(f, {a, b}, doubles({10, 100}, {2, 1}));
  check(d[0], {2, 1, 2}, {50, 60, 500, 600});
  check(d[1], {2}, {310, 420});
  d = gradients_at(f, {b, doubles({1, 2, 3, 4}, {2, 2, 1})}, doubles({10, 100}, {2, 1}));
  check(d[0], {2}, {310, 420});
  check(d[1], {2, 2, 1}, {50, 60, 500, 600});
  d = gradients_at(f, {b, b}, doubles({2}, {}));
  check(d[0], {2}, {10, 12});
}

TEST_CASE("what is refused is shown with the names of the dims") {
  const Expr a = input("a", f32, {{2, "batch"}, {16, "length"}, 64}), b = input("b", f32, {63, 64});
  CHECK(error_of([&] { matmul(a, b); }) ==
        "matmul: a (batch=2, length=16, 64) and b (63, 64): inner extents 64 and 63 differ");
  CHECK(
      error_of([&] {
        matmul(a, input("b", f32, {3, 64, 5}));
      }) ==
      "matmul: a (batch=2, length=16, 64) and b (3, 64, 5): leading extents 2 and 3 differ; equal "
      "or 1 is required");
  CHECK(to_string(matmul(a, input("b", f32, {64, {8, "width"}})).shape()) ==
        "(batch=2, length=16, width=8)");
}

}  // namespace
}  // namespace fovea::test
