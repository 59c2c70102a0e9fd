// What ops say of their floating-point operations.

#include <doctest/doctest.h>

#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/registry.h"

using namespace fovea;

namespace {

double flops(const Expr& y) {
  std::vector<Op::MaybeSpec> specs;
  for (const Expr& x : y.node().inputs()) {
    specs.push_back(x ? Op::MaybeSpec(x.spec()) : std::nullopt);
  }
  return y.node().op().flops(specs);
}

Expr x(const Shape& shape) { return input("x", f32, shape); }

}  // namespace

TEST_CASE("products count additions and multiplications") {
  CHECK(flops(matmul(x({4, 2, 3}), x({3, 5}))) == 4 * 2 * 5 * 2 * 3);
  CHECK(flops(matmul(x({3, 2}), x({3, 5}), {.transpose_a = true})) == 2 * 5 * 2 * 3);
  CHECK(flops(matmul(x({3}), x({3}))) == 2 * 3);
  // (batch 2, heads 4, Lq 3, D 8), Lk 5, Dv 6, two query heads for each key head.
  const Expr y = attention(x({2, 4, 3, 8}), x({2, 2, 5, 8}), x({2, 2, 5, 6}));
  CHECK(flops(y) == 2 * 4 * 3 * 5 * 2 * (8 + 6));
}

TEST_CASE("elementwise ops and reductions count elements; moving counts nothing") {
  CHECK(flops(x({2, 1}) + x({3})) == 6);
  CHECK(flops(sum(x({2, 3}))) == 6);
  CHECK(flops(transpose(x({2, 3}))) == 0);
  CHECK(flops(reshape(x({2, 3}), {.shape = {6}})) == 0);
  CHECK(flops(concat({x({2, 3}), x({2, 3})})) == 0);
}

TEST_CASE("what is said with other ops counts theirs") {
  const Expr y = gelu(x({10}));
  CHECK(flops(y) > 10);
  CHECK(flops(y) < 200);
  CHECK(std::fmod(flops(y), 10) == 0);
}

TEST_CASE("every op counts for every sample") {
  const Registry registry = Registry::builtin();
  for (const OpType* type : registry.types()) {
    for (const AnySample& sample : type->samples()) {
      std::vector<Op::MaybeSpec> specs;
      for (const Arg& arg : sample.in) {
        specs.push_back(arg ? Op::MaybeSpec({arg.dtype, arg.shape}) : std::nullopt);
      }
      CAPTURE(type->name);
      CHECK(sample.op->flops(specs) >= 0);
    }
  }
}
