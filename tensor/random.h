// Random tensors: the same bits on every machine and for every number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "fovea/tensor/dtype.h"
#include "fovea/tensor/shape.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// Names one endless sequence of random numbers. Element i (row-major) of a random tensor is a
/// function of `seed`, `stream` and i alone; there is no hidden state.
struct Key {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  friend bool operator==(const Key&, const Key&) = default;
};

/// The stream of `name` (its 64-bit FNV-1a hash): a parameter's initial values depend on the seed
/// and on its own name only, whatever else a model has.
Key key_for(std::uint64_t seed, std::string_view name);

/// Philox4x32-10: a keyed bijection of 128-bit counters whose outputs are random numbers.
/// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// The draws below are made in f64; an f32 tensor holds the same draws, rounded. Parameters that are
// not finite, or whose draws would not be finite in `dtype`, are refused, and so is a `dtype` that
// is not a float.

/// Uniform in [low, high), from 53 random bits; rounding may give `high` itself. Throws Error if
/// low > high.
Tensor random_uniform(DType dtype, const Shape& shape, double low, double high, Key key);

/// Normal with the given mean and standard deviation, by inversion of the distribution function:
/// within 8.3 deviations of the mean. Throws Error if deviation < 0.
/// Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988.
Tensor random_normal(DType dtype, const Shape& shape, double mean, double deviation, Key key);

/// i64, each integer of [low, high) exactly as likely as any other. Throws Error if low >= high.
Tensor random_integers(const Shape& shape, std::int64_t low, std::int64_t high, Key key);

/// bool, true with `probability`. Throws Error outside [0, 1].
Tensor random_bernoulli(const Shape& shape, double probability, Key key);

}  // namespace fovea
