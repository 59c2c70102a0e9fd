// Matrix products of other libraries, found when the program runs: none is needed to build it.
#pragma once

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

/// Those of oneDNN and OpenBLAS that this system has. The first call loads them: before threads are
/// bound, which their threads would inherit.
const std::vector<Peer>& peers();

}  // namespace fovea::bench
