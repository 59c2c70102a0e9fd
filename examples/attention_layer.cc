// An attention layer built in C++ and trained by gradient descent on associative recall: the layer
// sees six (key, value) pairs and one more key that was among them, and must say its value.
//
//     bazel run //examples:attention_layer
#include <cstdint>
#include <cstdio>
#include <exception>
#include <vector>

#include "fovea/fovea.h"

using namespace fovea;

namespace {

constexpr std::int64_t kBatch = 32, kPairs = 6, kSymbols = 8, kDim = 16;
constexpr int kSteps = 400;
constexpr double kRate = 1, kBound = 0.02;  // guessing costs log(8) = 2.08

// One-hot in memory: pairs (batch, pairs, key | value), asked (batch, 1, key), answer (batch,
// value).
struct Batch {
  Tensor pairs, asked, answer;
};

// In each sequence the keys differ: a, a + b, a + 2b, … modulo 8, with b odd.
Batch make_batch(std::uint64_t seed, std::uint64_t step) {
  const auto draw = [&](std::int64_t count, std::int64_t high, std::uint64_t stream) {
    return random_integers({count}, 0, high, {seed, 4 * step + stream}).to_vector<std::int64_t>();
  };
  const auto first = draw(kBatch, kSymbols, 0), stride = draw(kBatch, kSymbols / 2, 1);
  const auto chosen = draw(kBatch, kPairs, 2), values = draw(kBatch * kPairs, kSymbols, 3);
  Batch batch{Tensor::zeros(f32, {kBatch, kPairs, 2 * kSymbols}),
              Tensor::zeros(f32, {kBatch, 1, kSymbols}), Tensor::zeros(f32, {kBatch, kSymbols})};
  auto* pairs = batch.pairs.mutable_data<float>();
  auto* asked = batch.asked.mutable_data<float>();
  auto* answer = batch.answer.mutable_data<float>();
  for (std::int64_t b = 0; b < kBatch; ++b) {
    const auto item = static_cast<std::size_t>(b);
    for (std::int64_t i = 0; i < kPairs; ++i) {
      const std::int64_t key = (first[item] + i * (2 * stride[item] + 1)) % kSymbols;
      const std::int64_t value = values[static_cast<std::size_t>(b * kPairs + i)];
      float* pair = pairs + (b * kPairs + i) * 2 * kSymbols;
      pair[key] = pair[kSymbols + value] = 1;
      if (i == chosen[item]) asked[b * kSymbols + key] = answer[b * kSymbols + value] = 1;
    }
  }
  return batch;
}

// What the layer computes, and one step down its gradient.
Executable build(std::vector<Tensor>& weights, std::uint64_t seed) {
  const Expr pairs = input("pairs", f32, {kBatch, kPairs, 2 * kSymbols});
  const Expr asked = input("asked", f32, {kBatch, 1, kSymbols});
  const Expr answer = input("answer", f32, {kBatch, kSymbols});
  const std::vector<Expr> w = {
      input("w_q", f32, {kSymbols, kDim}), input("w_k", f32, {2 * kSymbols, kDim}),
      input("w_v", f32, {2 * kSymbols, kDim}), input("w_out", f32, {kDim, kSymbols})};

  const Expr y = attention(matmul(asked, w[0]), matmul(pairs, w[1]), matmul(pairs, w[2]));
  const Expr logits = reshape(matmul(y, w[3]), {.shape = {kBatch, kSymbols}});
  // Cross-entropy: -log of the probability that the layer gives the right answer.
  const Expr loss = mean(logsumexp(logits, {.axes = 1}) - sum(logits * answer, {.axes = 1}));

  std::vector<Expr> inputs = {pairs, asked, answer}, outputs = {loss};
  const std::vector<Expr> d = gradients(loss, w);
  for (std::size_t i = 0; i < w.size(); ++i) {
    inputs.push_back(w[i]);
    outputs.push_back(w[i] - kRate * d[i]);
    weights.push_back(random_normal(f32, w[i].shape(), 0, 0.5, {seed, i}));
  }
  return compile(inputs, outputs);
}

}  // namespace

int main() {
  try {
    std::vector<Tensor> weights;
    const Executable step = build(weights, 1);
    double loss = 0, recent = 0;  // of one batch; averaged over about ten
    for (int i = 0; i < kSteps; ++i) {
      const Batch batch = make_batch(2, static_cast<std::uint64_t>(i));
      std::vector<Tensor> in = {batch.pairs, batch.asked, batch.answer};
      in.insert(in.end(), weights.begin(), weights.end());
      std::vector<Tensor> out = step(in);
      loss = out[0].item();
      recent = i == 0 ? loss : 0.9 * recent + 0.1 * loss;
      weights.assign(out.begin() + 1, out.end());
      if (i % 50 == 0) std::printf("step %3d  loss %.4f\n", i, loss);
    }
    std::printf("step %3d  loss %.4f, bound %.2f: %s\n", kSteps, recent, kBound,
                recent < kBound ? "learned" : "NOT LEARNED");
    return recent < kBound ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
