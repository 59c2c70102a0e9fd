// The C++ of README.md, which readme_test.py compares with it line by line.
#include "fovea/fovea.h"

#include <doctest/doctest.h>

using namespace fovea;

TEST_CASE("the README's C++ runs") {
  const Tensor Q = random_normal(f32, {2, 8, 128, 64}, 0, 1, {0, 0});
  const Tensor K = random_normal(f32, {2, 8, 128, 64}, 0, 1, {0, 1});
  const Tensor V = random_normal(f32, {2, 8, 128, 64}, 0, 1, {0, 2});
  // clang-format off
Expr q = input("q", f32, {2, 8, 128, 64});        // (batch, heads, length, dim)
Expr k = input("k", f32, {2, 8, 128, 64});
Expr v = input("v", f32, {2, 8, 128, 64});

Expr y = attention(q, k, v, {.causal = true});
Expr loss = mean(square(y));
std::vector<Expr> d = gradients(loss, {q, k, v});           // more expressions; nothing runs yet

Executable step = compile({q, k, v}, {loss, d[0], d[1], d[2]});
std::vector<Tensor> out = step({Q, K, V});                  // tensors in, tensors out

Tensor now = eval::attention({.q = Q, .k = K, .v = V}).y;   // at once, without a graph
  // clang-format on
  CHECK(out[0].item() > 0);
  CHECK(out[1].shape() == Q.shape());
  CHECK(now.shape() == Q.shape());
}
