// Errors of the fused kernels in f32, against those of the same attention made of matmul, scale
// and softmax in f32.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/ops/triangle.h"
#include "fovea/tensor/random.h"

using namespace fovea;

namespace {

struct Setting {
  std::int64_t length, dim;
  bool causal;
  double spread;  ///< of q and k: the standard deviation of the scores is its square
};

struct Inputs {
  Expr q, k, v, dy;
};

// y and the gradients of q, k, v for a cotangent of y.
std::vector<Expr> fused(const Inputs& in, const Setting& s) {
  const Expr y = attention(in.q, in.k, in.v, {.causal = s.causal});
  const std::vector<Expr> d = gradients(sum(y * in.dy), {in.q, in.k, in.v});
  return {y, d[0], d[1], d[2]};
}

// The same from matmul and softmax; `gradients` would find the attention in it.
std::vector<Expr> composed(const Inputs& in, const Setting& s) {
  const auto transposed = [](const Expr& x) { return transpose(x, {{0, 2, 1}}); };
  const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
  Expr scores = matmul(in.q, transposed(in.k)) * scale;
  if (s.causal) {
    scores = where(constant(eval::tril(Tensor::full(boolean, {s.length, s.length}, 1))), scores,
                   -std::numeric_limits<double>::infinity());
  }
  const Expr p = softmax(scores), dp = matmul(in.dy, transposed(in.v));
  const Expr ds = p * (dp - sum(p * dp, {{-1}, true})) * scale;
  return {matmul(p, in.v), matmul(ds, in.k), matmul(transposed(ds), in.q),
          matmul(transposed(p), in.dy)};
}

Executable program(DType dtype, const Setting& s, decltype(fused)& outputs) {
  const Shape shape{2, s.length, s.dim};
  const Inputs in{input("q", dtype, shape), input("k", dtype, shape), input("v", dtype, shape),
                  input("dy", dtype, shape)};
  return compile(std::vector{in.q, in.k, in.v, in.dy}, outputs(in, s), CompileOptions::plain());
}

double sum_of_squares(const Tensor& a, const Tensor& exact) {
  return eval::sum(eval::square(eval::sub(a.astype(f64), exact))).item();
}

}  // namespace

TEST_CASE("attention in f32: errors of at most twice those of its composition") {
  for (const Setting& s :
       {Setting{16, 64, true, 1}, Setting{16, 64, false, 3}, Setting{130, 64, true, 1},
        Setting{130, 64, false, 10}, Setting{300, 40, true, 3}, Setting{300, 40, true, 10},
        Setting{260, 128, false, 0.1}, Setting{260, 128, false, 30}}) {
    CAPTURE(s.length);
    CAPTURE(s.dim);
    CAPTURE(s.spread);
    const Executable exact = program(f64, s, composed), one = program(f32, s, fused),
                     other = program(f32, s, composed);
    // Over several draws: single errors are a matter of luck.
    std::array<double, 4> of_fused{}, of_composed{};
    for (std::uint64_t draw = 0; draw < 6; ++draw) {
      std::vector<Tensor> wide, narrow;
      for (std::uint64_t i = 0; i < 4; ++i) {
        const double spread = i < 2 ? s.spread : 1;
        narrow.push_back(random_normal(f32, {2, s.length, s.dim}, 0, spread, {draw, i}));
        wide.push_back(narrow.back().astype(f64));
      }
      const std::vector<Tensor> expected = exact(wide), a = one(narrow), b = other(narrow);
      for (std::size_t o = 0; o < 4; ++o) {
        of_fused[o] += sum_of_squares(a[o], expected[o]);
        of_composed[o] += sum_of_squares(b[o], expected[o]);
      }
    }
    for (std::size_t o = 0; o < 4; ++o) {
      CAPTURE(o);
      CHECK(std::sqrt(of_fused[o]) <= 2 * std::sqrt(of_composed[o]));
    }
  }
}
