// The C++ of README.md, which readme_test.py compares with it line by line.
#include "fovea/fovea.h"

#include <doctest/doctest.h>

#include <fstream>

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

TEST_CASE("the README's model runs") {
  std::ofstream("layer.json") << R"({"fovea": 1, "dims": {"length": null},
    "inputs": {"x": {"shape": ["length", 4]}}, "params": {"w": {"shape": [4, 4]}},
    "nodes": [{"name": "y", "op": "matmul", "inputs": ["x", "w"]}], "outputs": ["y"]})";
  const Tensor w = random_normal(f32, {4, 4}, 0, 1, {0, 0});
  save_tensors("layer.safetensors", {{"w", w}});
  const Tensor x = random_normal(f32, {512, 4}, 0, 1, {0, 1});
  const Tensor y = Tensor::zeros(f32, {512, 4});
  // clang-format off
Model model = Model::load("layer.json");             // a template: dims are still open
model.load_weights("layer.safetensors");             // its header; elements are read when first needed, once
Session s = model.bind({{"length", 512}});           // bindings share the weights and what is packed of them
s.run({{"x", x}}, {{"y", y}});                       // by name, into the caller's memory
  // clang-format on
  const Tensor expected = eval::matmul(x, w);
  CHECK(y.to_vector<float>() == expected.to_vector<float>());
}
