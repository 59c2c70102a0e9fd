// Matrix products of other libraries, found when the program runs: none is needed to build it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fovea::bench {

/// c[m, n] = Σ_k a[m, k] · b[k, n], row-major.
struct Sgemm {
  std::int64_t m, n, k;
  const float *a, *b;
  float* c;
};

struct Peer {
  std::string name;
  std::function<void(const Sgemm&)> sgemm;
  std::function<void(int)> set_threads;
};

/// Those of oneDNN and OpenBLAS that this system has. The first call loads them and makes them
/// start their threads, num_threads() of them: before this one is bound, or they would share its
/// CPU.
const std::vector<Peer>& peers();

/// So long after a call, their threads sleep.
inline constexpr std::chrono::milliseconds kPeersSleepAfter{4};

}  // namespace fovea::bench
