#include "fovea/ops/cross_entropy.h"

#include <doctest/doctest.h>

#include <utility>

#include "fovea/ops/elementwise.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

// Values of PyTorch's cross_entropy.
const Tensor& logits() {
  static const Tensor t = doubles({1, 2, 3, 0, -1, 4, 2, 2, 2, -1, 0.5, 0.25}, {4, 3});
  return t;
}
const Tensor& targets() {
  static const Tensor t = integers({2, 0, -100, 1}, {4});
  return t;
}

auto loss_of(const Tensor& target, CrossEntropy a = {}) {
  return [=](const std::vector<Expr>& x) { return cross_entropy(x[0], constant(target), a); };
}

TEST_CASE("cross_entropy, reduced in every way") {
  constexpr LossReduction sum = LossReduction::sum, none = LossReduction::none;
  check(eval::cross_entropy(logits(), targets()), {}, {1.70882101366171}, 1e-14);
  check(eval::cross_entropy(logits(), targets(), {.reduction = sum}), {}, {5.12646304098512},
        1e-14);
  check(eval::cross_entropy(logits(), targets(), {.reduction = none}), {4},
        {0.40760596444438, 4.02474489013882, 0, 0.694112186401914}, 1e-14);
  check(eval::cross_entropy(logits(), integers({2, 0, 1, 1}, {4}), {.ignore_index = 1}), {},
        {2.2161754272916}, 1e-14);
}

TEST_CASE("its gradients") {
  const Numbers mean{0.0300101910567935,
                     0.0815761570182659,
                     -0.111586348075059,
                     -0.327377339376565,
                     0.00219108772843636,
                     0.325186251648129,
                     0,
                     0,
                     0,
                     0.0371524903500676,
                     -0.166827423395595,
                     0.129674933045527};
  check(gradients_at(loss_of(targets()), {logits()}, doubles({1}, {}))[0], {4, 3}, mean, 1e-14);
  Numbers each = mean;
  const Numbers d{1, -2, 5, 0.5};
  for (std::size_t i = 0; i < each.size(); ++i) each[i] *= 3 * d[i / 3];
  check(gradients_at(loss_of(targets(), {.reduction = LossReduction::none}), {logits()},
                     doubles(d, {4}))[0],
        {4, 3}, each, 1e-14);
}

TEST_CASE("lse is an output of its own, of ignored rows too") {
  const auto out = eval::apply(CrossEntropy{}, {logits(), targets()});
  check(out.lse, {4}, {3.40760596444438, 4.02474489013882, 3.09861228866811, 1.19411218640191},
        1e-14);
  const auto z_loss = [](const std::vector<Expr>& x) {
    const auto [y, lse] = cross_entropy({.logits = x[0], .targets = constant(targets())});
    return y + 0 * sum(lse) + sum(square(lse));
  };
  const auto d = gradients_at(z_loss, {logits()}, doubles({1}, {}))[0];
  CHECK(numbers_of(d)[6] == doctest::Approx(2 * 3.09861228866811 / 3));
}

TEST_CASE("all ignored: 0, and gradients of 0") {
  const Tensor none = integers({-100, -100, -100, -100}, {4});
  check(eval::cross_entropy(logits(), none), {}, {0});
  check(gradients_at(loss_of(none), {logits()}, doubles({1}, {}))[0], {4, 3}, Numbers(12, 0.0));
  check(eval::cross_entropy(doubles({}, {0, 3}), integers({}, {0})), {}, {0});
}

TEST_CASE("a target that is no class is named") {
  const auto text = [](const Tensor& t, CrossEntropy a) {
    return error_of([&] { eval::cross_entropy(logits(), t, a); });
  };
  CHECK(text(integers({0, 1, 3, 0}, {4}), {}) ==
        "cross_entropy: target 3 at [2] of targets: logits (4, 3) have 3 classes; 0 to 2, or "
        "ignore_index (-100), are required");
  // Classes are labels, not indices: they do not count from the end.
  CHECK(text(integers({-1, 0, 0, 0}, {4}), {}).starts_with("cross_entropy: target -1 at [0]"));
}

TEST_CASE("large batches: the same bits on any number of threads, of any layout") {
  const Tensor x = random_normal(f32, {300, 257}, 0, 4, {1, 1});
  const Tensor t = random_integers({300}, 0, 257, {1, 2});
  const auto run = [&](const Tensor& in) {
    const Tensor y = eval::cross_entropy(in, t);
    return std::pair(y, gradients_at(loss_of(t), {in}, Tensor::scalar(f32, 1))[0]);
  };
  const auto [y, dx] = run(x);
  const auto [wide_y, wide_dx] = [&] {
    const Tensor in = x.astype(f64);
    return std::pair(eval::cross_entropy(in, t),
                     gradients_at(loss_of(t), {in}, Tensor::scalar(f64, 1))[0]);
  }();
  check(y, {}, numbers_of(wide_y), 1e-7);
  check(dx, {300, 257}, numbers_of(wide_dx), 1e-6);
  const int threads = num_threads();
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    const auto [again, d_again] = run(x);
    CHECK(equal_bits(again, y));
    CHECK(equal_bits(d_again, dx));
  }
  set_num_threads(threads);
  const auto [strided, d_strided] = run(x.transpose({1, 0}).copy().transpose({1, 0}));
  CHECK(equal_bits(strided, y));
  CHECK(equal_bits(d_strided, dx));
}

TEST_CASE("what is ignored reaches nothing, not even NaN") {
  const Tensor x = doubles({1, 2, kNaN, kInf}, {2, 2}), t = integers({0, -100}, {2});
  const double p = 1 / (1 + std::exp(1.0));
  check(eval::cross_entropy(x, t), {}, {-std::log(p)}, 1e-15);
  check(gradients_at(loss_of(t), {x}, doubles({1}, {}))[0], {2, 2}, {p - 1, 1 - p, 0, 0}, 1e-15);
}

TEST_CASE("impossible classes, and logits up to the format's limits") {
  const Tensor hidden = doubles({0, -kInf, 0}, {1, 3});
  check(eval::cross_entropy(hidden, integers({1}, {1})), {}, {kInf});
  check(eval::cross_entropy(hidden, integers({2}, {1})), {}, {std::log(2.0)}, 1e-15);
  check(eval::cross_entropy(floats({3e38, -3e38}, {1, 2}), integers({0}, {1})), {}, {0});
  // The difference is taken before the logarithm is added: nothing cancels.
  check(eval::cross_entropy(floats({10000, 9999}, {1, 2}), integers({1}, {1})), {},
        {1 + std::log1p(std::exp(-1.0))}, 1e-7);
}

}  // namespace
}  // namespace fovea::test
