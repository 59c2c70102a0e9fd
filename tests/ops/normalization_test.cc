#include "fovea/ops/normalization.h"

#include <doctest/doctest.h>

#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

// Values of PyTorch's layer_norm and rms_norm.
const Tensor& x() {
  static const Tensor t = doubles({1, 2, 4, -3, 0.5, 0.25, -1, 2}, {2, 4});
  return t;
}
const Tensor& weight() {
  static const Tensor t = doubles({1, -2, 0.5, 3}, {4});
  return t;
}
const Tensor& bias() {
  static const Tensor t = doubles({0.1, 0.2, 0.3, 0.4}, {4});
  return t;
}
const Tensor& cotangent() {
  static const Tensor t = doubles({1, 2, 3, 4, -1, 0.5, 2, -3}, {2, 4});
  return t;
}

TEST_CASE("layer_norm and its gradients") {
  check(eval::layer_norm({.x = x(), .weight = weight(), .bias = bias()}), {2, 4},
        {0.1, -0.58446393711917, 0.888347952839378, -4.30678362271502, 0.158620780325767,
         0.551724681954602, -0.37413897374632, 4.79655852443252},
        1e-14);
  check(eval::layer_norm({.x = x(), .weight = weight(), .bias = bias()}, {.eps = 0.5}), {2, 4},
        {0.1, -0.555928946018454, 0.866946709513841, -4.13557367611073, 0.148853196874603,
         0.493119181247619, -0.261811764057936, 4.06398976559524},
        1e-14);
  const auto f = [](const std::vector<Expr>& in) { return layer_norm(in[0], in[1], in[2]); };
  const auto d = gradients_at(f, {x(), weight(), bias()}, cotangent());
  check(d[0], {2, 4},
        {-0.637376948909326, -1.88196025926421, 1.70846863269958, 0.810868575473958,
         1.60511982883056, 0.812235424781952, -1.27632162503654, -1.14103362857598},
        1e-13);
  check(d[1], {4}, {-0.0586207803257669, 0.69653276663052, 0.833531822050987, -10.6722700213859},
        1e-13);
  check(d[2], {4}, {0, 2.5, 5, 1}, 1e-14);
}

TEST_CASE("rms_norm and its gradients") {
  check(eval::rms_norm({.x = x(), .weight = weight()}), {2, 4},
        {0.365148128238106, -1.46059251295243, 0.730296256476213, -3.28633315414296,
         0.433859282287795, -0.433859282287795, -0.433859282287795, 5.20631138745354},
        1e-14);
  const auto f = [](const std::vector<Expr>& in) {
    return rms_norm({.x = in[0], .weight = in[1]}, {.eps = 0.5});
  };
  const auto d = gradients_at(f, {x(), weight()}, cotangent());
  check(d[0], {2, 4},
        {0.762349498466746, -0.59662134662615, 2.1655145173838, 3.01625236349887, 0.259176160059651,
         -0.240212050786994, -1.25795258175294, -2.66129666792959},
        1e-13);
  check(d[1], {4}, {-0.0162467402235457, 1.5066635950773, 2.76344016385201, -8.68024225692112},
        1e-13);
}

TEST_CASE("without weight and bias, and with a bias alone") {
  const Tensor ones = doubles({1, 1, 1, 1}, {4}), zeros = doubles({0, 0, 0, 0}, {4});
  CHECK(equal_bits(eval::layer_norm({.x = x()}),
                   eval::layer_norm({.x = x(), .weight = ones, .bias = zeros})));
  CHECK(equal_bits(eval::rms_norm({.x = x(), .bias = bias()}),
                   eval::rms_norm({.x = x(), .weight = ones, .bias = bias()})));
}

TEST_CASE("far from 0, where f32 cannot hold the mean") {
  // Its f32 neighbours are 1 apart there, the mean is 10000001 + 1/3.
  const Tensor far = floats({10000000, 10000001, 10000003}, {3});
  const double scale = 1 / std::sqrt(14.0 / 9 + 1e-5);
  check(eval::layer_norm({.x = far}), {3}, {-4 * scale / 3, -scale / 3, 5 * scale / 3}, 2e-7);
}

// dy and x of many rows, so that several tasks add up dweight and dbias.
struct ManyRows {
  static constexpr std::int64_t rows = 3000, width = 40;
  Tensor x = random_normal(f32, {rows, width}, 3, 1, {1, 1});
  Tensor dy = random_normal(f32, {rows, width}, 0, 1, {1, 2});
  Tensor weight = random_normal(f32, {width}, 0, 1, {1, 3});

  template <class Gradient>
  auto run() const {
    return eval::apply(Gradient{}, {.x = x, .weight = weight, .dy = dy});
  }
};

template <class Gradient>
void check_many_rows(bool centred) {
  const ManyRows many;
  const auto d = many.run<Gradient>();
  // By the definition, in f64.
  const Numbers x = numbers_of(many.x), dy = numbers_of(many.dy), w = numbers_of(many.weight);
  constexpr auto n = static_cast<std::size_t>(ManyRows::width);
  Numbers dx(x.size()), dweight(n), dbias(n);
  for (std::size_t r = 0; r < x.size(); r += n) {
    double mean = 0, squares = 0, sum_g = 0, sum_gx = 0;
    for (std::size_t i = 0; i < n; ++i) mean += centred ? x[r + i] / n : 0;
    for (std::size_t i = 0; i < n; ++i) squares += (x[r + i] - mean) * (x[r + i] - mean) / n;
    const double scale = 1 / std::sqrt(squares + 1e-5);
    const auto normal = [&](std::size_t i) { return (x[r + i] - mean) * scale; };
    for (std::size_t i = 0; i < n; ++i) {
      sum_g += dy[r + i] * w[i] / n;
      sum_gx += dy[r + i] * w[i] * normal(i) / n;
      dweight[i] += dy[r + i] * normal(i);
      dbias[i] += dy[r + i];
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double moved = dy[r + i] * w[i] - (centred ? sum_g : 0);
      dx[r + i] = scale * (moved - normal(i) * sum_gx);
    }
  }
  // 64 terms are added in f32 at a time, each of them about 1.
  check(d.dx, many.x.shape(), dx, 1e-5);
  check(d.dweight, {ManyRows::width}, dweight, 1e-5);
  check(d.dbias, {ManyRows::width}, dbias, 1e-5);
  // Threads, and memory of another layout, change no bit.
  const auto same_bits = [&](const auto& other) {
    CHECK(equal_bits(other.dx, d.dx));
    CHECK(equal_bits(other.dweight, d.dweight));
    CHECK(equal_bits(other.dbias, d.dbias));
  };
  const int threads = num_threads();
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    same_bits(many.run<Gradient>());
  }
  set_num_threads(threads);
  ManyRows strided;
  strided.x = strided.x.transpose({1, 0}).copy().transpose({1, 0});
  strided.dy = strided.dy.transpose({1, 0}).copy().transpose({1, 0});
  same_bits(strided.run<Gradient>());
  // An output alone is what it is among others.
  const auto alone = eval::apply(Gradient{}, {.x = many.x, .weight = many.weight, .dy = many.dy},
                                 {false, true, false});
  CHECK(equal_bits(alone.dweight, d.dweight));
  CHECK(!alone.dx);
}

TEST_CASE("gradients of many rows, the same bits on any number of threads") {
  check_many_rows<LayerNormGradient>(true);
  check_many_rows<RmsNormGradient>(false);
}

TEST_CASE("a constant row is 0, a row with NaN is NaN, and neither reaches others") {
  const Tensor rows = doubles({3, 3, kNaN, 1, 1, -1}, {3, 2});
  const double one = 1 / std::sqrt(1 + 1e-5);
  check(eval::layer_norm({.x = rows}), {3, 2}, {0, 0, kNaN, kNaN, one, -one}, 1e-14);
  check(eval::rms_norm({.x = doubles({0, 0, 1, kInf}, {2, 2})}), {2, 2}, {0, 0, 0, kNaN});
}

TEST_CASE("names of extents stay") {
  const Expr in = input("x", f32, {{2, "batch"}, {8, "width"}});
  CHECK(to_string(layer_norm(in).shape()) == "(batch=2, width=8)");
  CHECK(error_of([&] { rms_norm(in, input("w", f32, {4})); }) ==
        "rms_norm: weight is f32 (4,) and x f32 (batch=2, width=8); f32 (width=8,), as wide as x's "
        "last axis, is required");
}

}  // namespace
}  // namespace fovea::test
