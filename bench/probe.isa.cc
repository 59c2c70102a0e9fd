#include "bench/probe.h"
#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// x ← a·x + b in kFmaChains registers at a time.
template <class T>
void fma_chains(std::int64_t rounds, T* sink) {
  using bench::kFmaChains;
  Register<T> x[kFmaChains];
  for (int i = 0; i < kFmaChains; ++i) x[i] = broadcast_register(sink[i]);
  const Register<T> a = broadcast_register(sink[kFmaChains]);
  const Register<T> b = broadcast_register(sink[kFmaChains + 1]);
  const std::int64_t steps = rounds * Vec<T>::kRegisters;
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < kFmaChains; ++i) x[i] = fma_register<T>(a, x[i], b);
  }
  for (int i = 0; i < kFmaChains; ++i) {
    T lanes[kLanes<T>];
    store_register(lanes, x[i]);
    sink[i] = lanes[0];
  }
}

float read_all(const float* data, std::int64_t count) {
  constexpr int kSums = static_cast<int>(bench::kReadStep) / kLanes<float>;
  Vec<float> sums[kSums];
  for (auto& sum : sums) sum = broadcast(0.0f);
  for (std::int64_t i = 0; i < count; i += bench::kReadStep) {
#pragma GCC unroll 16
    for (int s = 0; s < kSums; ++s) sums[s] = sums[s] + load(data + i + s * kLanes<float>);
  }
  float total = 0;
  for (const auto& sum : sums) total += sum_lanes(sum);
  return total;
}

}  // namespace

void add_probes(bench::Probes& probes) {
  probes = {fma_chains<float>, fma_chains<double>, read_all};
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
