// What the machine can do at most, measured beside what the library does.
#pragma once

#include <cstdint>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/tensor/dtype.h"

namespace fovea::bench {

/// The loops of one instruction set.
struct Probes {
  /// `rounds` times kFmaChains fused multiply-adds (multiplications and additions where there are
  /// none) of virtual vectors, in registers. `sink` has kFmaChains + 2 numbers.
  void (*fma_f32)(std::int64_t rounds, float* sink) = nullptr;
  void (*fma_f64)(std::int64_t rounds, double* sink) = nullptr;
  /// Reads `count` floats, a multiple of kReadStep, once.
  float (*read)(const float* data, std::int64_t count) = nullptr;
};

/// Enough to hide a latency of four cycles on two pipes, few enough for 16 registers.
inline constexpr int kFmaChains = 8;
inline constexpr std::int64_t kReadStep = 128;

/// Does about `operations` floating-point operations on each of num_threads() threads at once;
/// returns how many all did.
double run_fma(kernels::Isa isa, DType dtype, double operations);

/// Starts a loop of num_threads() tasks that wait for each other (not forever), or one thread would
/// do them all.
void run_fork_join();

/// Reads `count` floats, split between the threads.
void run_read(kernels::Isa isa, const float* data, std::int64_t count);

}  // namespace fovea::bench
