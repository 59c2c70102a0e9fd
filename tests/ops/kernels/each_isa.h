// Runs a check on the kernels of each instruction set of this machine.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fovea/ops/kernels/kernels.h"

namespace fovea::kernels {

template <class F>
void for_each_isa(const F& check) {
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(name_of(isa)));
    const ScopedIsa scope(isa);
    check(isa);
  }
}

/// Random problems to try; fewer under the sanitizers, which take ten times as long for each.
inline int rounds(int count) {
#ifdef __SANITIZE_ADDRESS__
  return (count + 9) / 10;
#else
  return count;
#endif
}

/// Whether two sets must give the same bits: those with fused multiply-add.
inline bool fuses(Isa isa) { return isa == Isa::avx2 || isa == Isa::avx512; }

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
std::vector<T> normals(std::int64_t count, std::mt19937& random, double deviation = 1) {
  std::normal_distribution<double> normal(0, deviation);
  std::vector<T> x(static_cast<std::size_t>(count));
  for (T& value : x) value = static_cast<T>(normal(random));
  return x;
}

/// 64-byte aligned memory, not filled.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : memory_(bytes + 64) {}
  void* data() {
    return memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
  }

 private:
  std::vector<unsigned char> memory_;
};

}  // namespace fovea::kernels
