#include "fovea/ops/rope.h"

#include <doctest/doctest.h>

#include "fovea/ops/elementwise.h"
#include "fovea/tensor/random.h"
#include "values.h"

namespace fovea::test {
namespace {

const Tensor& x() {
  static const Tensor t = doubles({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4});
  return t;
}

TEST_CASE("rope turns pairs, halves apart or neighbours") {
  check(eval::rope({.x = x()}), {2, 4},
        {1, 2, 3, 4, -3.18878536431458, 5.91970133582666, 7.98947106511646, 8.05959900333832},
        1e-14);
  check(eval::rope({.x = x()}, {.interleaved = true}), {2, 4},
        {1, 2, 3, 4, -2.34731437950668, 7.44916875924832, 6.91965133624332, 8.06959883667249},
        1e-14);
}

TEST_CASE("positions of one's own, and another base") {
  const Numbers expected{-1.41335252078005, 0.728592151605854, -2.82885748174147, 4.4123863698251,
                         4.28434780504406,  7.46975411340794,  -7.45951498995841, 6.64851663795957};
  check(eval::rope({.x = x(), .positions = integers({3, -2}, {2})}, {.base = 100}), {2, 4},
        expected, 1e-14);
  // (batch, length, heads, dim): positions (length, 1).
  const Tensor heads = x().reshape({1, 2, 1, 4}).broadcast_to({3, 2, 2, 4});
  const Tensor y = eval::rope({.x = heads, .positions = integers({3, -2}, {2, 1})}, {.base = 100});
  check(y.select(0, 1).select(1, 1), {2, 4}, expected, 1e-14);
}

TEST_CASE("the inverse undoes it") {
  const Tensor q = random_normal(f64, {2, 3, 50, 8}, 0, 1, {3, 1});
  for (const bool interleaved : {false, true}) {
    const Tensor turned = eval::rope({.x = q}, {.interleaved = interleaved});
    const Tensor back = eval::rope({.x = turned}, {.interleaved = interleaved, .inverse = true});
    check(back, q.shape(), numbers_of(q), 1e-14);
  }
}

TEST_CASE("angles are exact at far positions, in f32 too") {
  const Tensor one = floats({1, 0}, {1, 2});
  const double t = 1000003;
  check(eval::rope({.x = one, .positions = integers({1000003}, {1})}), {1, 2},
        {std::cos(t), std::sin(t)}, 1e-7);
}

TEST_CASE("what a rotation cannot do is refused") {
  CHECK(error_of([] {
          eval::rope({.x = doubles({1, 2, 3}, {1, 3})});
        }) == "rope: x (1, 3) has extent 3 at its last axis; pairs need an even one");
  CHECK(error_of([] {
          eval::rope({.x = x(), .positions = integers({1, 2, 3}, {3})});
        }) == "rope: positions (3,) do not broadcast to (2,), x's shape without its last axis");
}

}  // namespace
}  // namespace fovea::test
