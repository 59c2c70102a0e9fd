#include "fovea/tensor/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

// Only +, -, *, / and sqrt of IEEE 754, which every machine rounds alike; no libm.

namespace fovea {

namespace {

using Block = std::array<std::uint32_t, 4>;

constexpr std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high_word(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

Block next_block(const Block& counter, Key key) {
  return philox4x32(counter, {low_word(key.seed), high_word(key.seed)});
}

Block counter_at(Key key, std::uint64_t index) {
  return {low_word(index), high_word(index), low_word(key.stream), high_word(key.stream)};
}

// One of the two 64-bit numbers of a block.
std::uint64_t half(const Block& block, std::size_t i) {
  return block[2 * i] | static_cast<std::uint64_t>(block[2 * i + 1]) << 32;
}

// Calls set(i, 64 random bits) for each element; two elements share a block.
template <class Set>
void for_each_draw(std::int64_t count, Key key, const Set& set) {
  constexpr std::int64_t kChunk = 1 << 14;
  parallel_for((count + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
    const std::int64_t end = std::min(count, (chunk + 1) * kChunk);
    for (std::int64_t i = chunk * kChunk; i < end; i += 2) {
      const Block block = next_block(counter_at(key, static_cast<std::uint64_t>(i) / 2), key);
      set(i, half(block, 0));
      if (i + 1 < end) set(i + 1, half(block, 1));
    }
  });
}

// In [0, 1), a multiple of 2^-53.
double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

// In (0, 1) and symmetric about 1/2: odd multiples of 2^-53.
double open_unit(std::uint64_t bits) { return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52; }

// ln x for a normal x > 0, within 1 ulp: the reduction and polynomial of fdlibm's e_log.c.
double natural_log(double x) {
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  constexpr double kL1 = 6.666666666666735130e-01, kL2 = 3.999999999940941908e-01,
                   kL3 = 2.857142874366239149e-01, kL4 = 2.222219843214978396e-01,
                   kL5 = 1.818357216161805012e-01, kL6 = 1.531383769920937332e-01,
                   kL7 = 1.479819860511658591e-01;
  constexpr std::uint64_t kFraction = (std::uint64_t{1} << 52) - 1;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & kFraction) | std::bit_cast<std::uint64_t>(1.0));
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double f = m - 1, s = f / (2 + f), z = s * s;
  const double r = z * (kL1 + z * (kL2 + z * (kL3 + z * (kL4 + z * (kL5 + z * (kL6 + z * kL7))))));
  const double half_square = 0.5 * f * f, k = exponent;
  return k * kLn2High - ((half_square - (s * (half_square + r) + k * kLn2Low)) - f);
}

template <std::size_t N>
double polynomial(const std::array<double, N>& coefficients, double x) {
  double sum = 0;
  for (std::size_t i = N; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

// The inverse of the normal distribution function at p in (0, 1): routine PPND16 of AS 241.
double normal_quantile(double p) {
  static constexpr std::array a{3.3871328727963666080e0, 1.3314166789178437745e2,
                                1.9715909503065514427e3, 1.3731693765509461125e4,
                                4.5921953931549871457e4, 6.7265770927008700853e4,
                                3.3430575583588128105e4, 2.5090809287301226727e3};
  static constexpr std::array b{1.0,
                                4.2313330701600911252e1,
                                6.8718700749205790830e2,
                                5.3941960214247511077e3,
                                2.1213794301586595867e4,
                                3.9307895800092710610e4,
                                2.8729085735721942674e4,
                                5.2264952788528545610e3};
  static constexpr std::array c{1.42343711074968357734e0,  4.63033784615654529590e0,
                                5.76949722146069140550e0,  3.64784832476320460504e0,
                                1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr std::array d{1.0,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
  static constexpr std::array e{6.65790464350110377720e0,  5.46378491116411436990e0,
                                1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static constexpr std::array f{1.0,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double r = std::sqrt(-natural_log(q < 0 ? p : 1 - p));
  const double magnitude = r <= 5 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6)
                                  : polynomial(e, r - 5) / polynomial(f, r - 5);
  return q < 0 ? -magnitude : magnitude;
}

void require_float(std::string_view where, DType dtype) {
  if (!is_float(dtype)) fail(where, "dtype {}; f32 or f64 is required", dtype);
}

// Whether `value` and everything nearer to 0 is finite in `dtype`.
bool fits(double value, DType dtype) {
  return std::abs(value) <= (dtype == f32 ? static_cast<double>(std::numeric_limits<float>::max())
                                          : std::numeric_limits<double>::max());
}

template <class Draw>
Tensor float_draws(DType dtype, const Shape& shape, Key key, const Draw& draw) {
  Tensor t = Tensor::empty(dtype, shape);
  const auto fill = [&]<class T>(T* out) {
    for_each_draw(t.numel(), key,
                  [&](std::int64_t i, std::uint64_t bits) { out[i] = static_cast<T>(draw(bits)); });
  };
  dtype == f32 ? fill(t.mutable_data<float>()) : fill(t.mutable_data<double>());
  return t;
}

}  // namespace

Key key_for(std::uint64_t seed, std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return {seed, hash};
}

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p = std::uint64_t{0xd2511f53} * counter[0];
    const std::uint64_t q = std::uint64_t{0xcd9e8d57} * counter[2];
    counter = {high_word(q) ^ counter[1] ^ key[0], low_word(q), high_word(p) ^ counter[3] ^ key[1],
               low_word(p)};
    key[0] += 0x9e3779b9;
    key[1] += 0xbb67ae85;
  }
  return counter;
}

Tensor random_uniform(DType dtype, const Shape& shape, double low, double high, Key key) {
  constexpr std::string_view where = "random_uniform";
  require_float(where, dtype);
  if (!fits(low, dtype) || !fits(high, dtype) || !(low <= high) || !std::isfinite(high - low)) {
    fail(where, "low {} and high {}; low <= high, both and their difference finite in {}", low,
         high, dtype);
  }
  return float_draws(dtype, shape, key, [=](std::uint64_t bits) {
    return std::clamp(low + (high - low) * unit(bits), low, high);
  });
}

Tensor random_normal(DType dtype, const Shape& shape, double mean, double deviation, Key key) {
  constexpr std::string_view where = "random_normal";
  require_float(where, dtype);
  if (!(deviation >= 0) || !fits(std::abs(mean) + 8.3 * deviation, dtype)) {
    fail(where, "mean {} and standard deviation {}; finite numbers in {}, the latter 0 or more",
         mean, deviation, dtype);
  }
  return float_draws(dtype, shape, key, [=](std::uint64_t bits) {
    return mean + deviation * normal_quantile(open_unit(bits));
  });
}

Tensor random_integers(const Shape& shape, std::int64_t low, std::int64_t high, Key key) {
  if (low >= high) {
    fail("random_integers", "low {} and high {}; low < high is required", low, high);
  }
  const std::uint64_t count = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  // As many of the 2^64 numbers as `count` does not divide are drawn again: Lemire, "Fast random
  // integer generation in an interval", 2019. A further draw takes the block before as counter.
  const std::uint64_t refused = (0 - count) % count;
  Tensor t = Tensor::empty(i64, shape);
  auto* out = t.mutable_data<std::int64_t>();
  constexpr std::int64_t kChunk = 1 << 13;
  parallel_for((t.numel() + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
    const std::int64_t end = std::min(t.numel(), (chunk + 1) * kChunk);
    for (std::int64_t i = chunk * kChunk; i < end; ++i) {
      Block block = counter_at(key, static_cast<std::uint64_t>(i));
      for (std::size_t word = 0;; word ^= 1) {
        if (word == 0) block = next_block(block, key);
        const auto product = static_cast<unsigned __int128>(half(block, word)) * count;
        if (static_cast<std::uint64_t>(product) < refused) continue;
        out[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(low) +
                                           static_cast<std::uint64_t>(product >> 64));
        break;
      }
    }
  });
  return t;
}

Tensor random_bernoulli(const Shape& shape, double probability, Key key) {
  if (!(probability >= 0 && probability <= 1)) {
    fail("random_bernoulli", "probability {}; a number from 0 to 1 is required", probability);
  }
  Tensor t = Tensor::empty(boolean, shape);
  bool* out = t.mutable_data<bool>();
  for_each_draw(t.numel(), key,
                [&](std::int64_t i, std::uint64_t bits) { out[i] = unit(bits) < probability; });
  return t;
}

}  // namespace fovea
