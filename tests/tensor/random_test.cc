#include "fovea/tensor/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "fovea/tensor/parallel.h"

namespace fovea {
namespace {

constexpr Key kKey{.seed = 42, .stream = 0x6efb48ceeb8bac6b};
constexpr std::int64_t kMany = 200'000;

TEST_CASE("philox4x32: the authors' known answers") {
  using Counter = std::array<std::uint32_t, 4>;
  constexpr std::uint32_t f = 0xffffffff;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) ==
        Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({f, f, f, f}, {f, f}) ==
        Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: a key's stream is the FNV-1a hash of the name") {
  CHECK(key_for(42, "w_qkv") == kKey);
  CHECK(key_for(0, "").stream == 0xcbf29ce484222325);
}

// Golden values were computed by an independent program in Python.
TEST_CASE("random: golden bits") {
  CHECK(random_uniform(f64, {6}, 0, 1, kKey).to_vector<double>() ==
        std::vector{0.631125039887942, 0.4735669743900768, 0.19024516998686536, 0.19039189826925307,
                    0.1655821138670065, 0.9112087314919637});
  CHECK(random_normal(f64, {12}, 0, 1, kKey).to_vector<double>() ==
        std::vector{0x1.56dedc25748f8p-2, -0x1.0f973837f2958p-4, -0x1.c105402c7fef4p-1,
                    -0x1.c0be73d2b8794p-1, -0x1.f18c095b954f3p-1, 0x1.5925fc18fd383p+0,
                    -0x1.85491b53ca766p-5, 0x1.63d257619588fp+0, -0x1.15f8e6d346899p+0,
                    -0x1.e7b97678accf2p-2, -0x1.b32987c93d7afp-1, -0x1.51c9402236015p+0});
  CHECK(random_integers({12}, -5, 7, kKey).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{2, -3, -4, 0, -4, -3, -4, 0, 6, -4, -4, -5});
  // Three quarters of all numbers: a quarter of the draws is refused and drawn again.
  CHECK(random_integers({8}, std::numeric_limits<std::int64_t>::min(), std::int64_t{1} << 62, kKey)
            .to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{-491720469862825770, -6591319065349468875, 3383253663816559714,
                                  3473402122237673856, -7303380239379354778, -6488415541868523181,
                                  -7045159657369484288, -3451890199871957087});
  CHECK(random_bernoulli({12}, 0.3, kKey).to_vector<bool>() ==
        std::vector<bool>{false, false, true, true, true, false, false, false, true, false, true,
                          true});
}

TEST_CASE("random: a hash of many normal draws, tails included") {
  const std::vector<double> draws = random_normal(f64, {kMany}, 0, 1, kKey).to_vector<double>();
  std::uint64_t hash = 0xcbf29ce484222325;
  for (double draw : draws) hash = (hash ^ std::bit_cast<std::uint64_t>(draw)) * 0x100000001b3;
  CHECK(hash == 12421560051483192182u);
}

TEST_CASE("random: draws do not depend on the shape or on threads") {
  const int before = num_threads();
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Tensor all = random_normal(f32, {kMany}, 0, 1, kKey);
    const Tensor some = random_normal(f32, {3, 7}, 0, 1, kKey);
    CHECK(equal_bits(all.slice(0, 0, 21).reshape({3, 7}), some));
    static const Tensor first = all;
    CHECK(equal_bits(all, first));
    const Tensor integers = random_integers({kMany}, 0, 10, kKey);
    static const Tensor first_integers = integers;
    CHECK(equal_bits(integers, first_integers));
  }
  set_num_threads(before);
}

TEST_CASE("random: other seeds and streams give other numbers") {
  const Tensor a = random_uniform(f64, {8}, 0, 1, {1, 1});
  for (const Key& key : {Key{2, 1}, Key{1, 2}, Key{1ull << 40, 1}, Key{1, 1ull << 40}}) {
    CHECK(!equal_bits(a, random_uniform(f64, {8}, 0, 1, key)));
  }
}

TEST_CASE("random: an f32 tensor is the f64 tensor, rounded") {
  CHECK(equal_bits(random_normal(f64, {1000}, 1, 2, kKey).astype(f32),
                   random_normal(f32, {1000}, 1, 2, kKey)));
  CHECK(equal_bits(random_uniform(f64, {1000}, -1, 2, kKey).astype(f32),
                   random_uniform(f32, {1000}, -1, 2, kKey)));
}

// Bounds are five standard deviations of each estimate; the draws never change.
TEST_CASE("random: moments") {
  const double n = kMany;
  double sum = 0, squares = 0;
  for (double x : random_normal(f64, {kMany}, 3, 2, kKey).to_vector<double>()) {
    sum += (x - 3) / 2;
    squares += (x - 3) / 2 * ((x - 3) / 2);
  }
  CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2 / n));

  double low = 1, high = -2;
  sum = 0;
  for (double x : random_uniform(f64, {kMany}, -2, 1, kKey).to_vector<double>()) {
    low = std::min(low, x);
    high = std::max(high, x);
    sum += x;
  }
  CHECK(low >= -2);
  CHECK(low < -1.999);
  CHECK(high < 1);
  CHECK(high > 0.999);
  CHECK(std::abs(sum / n + 0.5) < 5 * 3 / std::sqrt(12 * n));

  std::vector<double> counts(7);
  for (std::int64_t x : random_integers({kMany}, -3, 4, kKey).to_vector<std::int64_t>()) {
    REQUIRE((x >= -3 && x < 4));
    ++counts[static_cast<std::size_t>(x + 3)];
  }
  for (double count : counts) CHECK(std::abs(count - n / 7) < 5 * std::sqrt(n * 6 / 49));

  const std::vector<bool> heads = random_bernoulli({kMany}, 0.25, kKey).to_vector<bool>();
  const auto count = static_cast<double>(std::ranges::count(heads, true));
  CHECK(std::abs(count - n / 4) < 5 * std::sqrt(n * 3 / 16));
}

TEST_CASE("random: ends of the ranges") {
  CHECK(random_uniform(f32, {3}, 2, 2, kKey).to_vector<float>() == std::vector<float>(3, 2.0f));
  CHECK(random_normal(f64, {3}, 2, 0, kKey).to_vector<double>() == std::vector<double>(3, 2.0));
  CHECK(random_integers({3}, 5, 6, kKey).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>(3, 5));
  CHECK(random_bernoulli({100}, 0, kKey).to_vector<bool>() == std::vector<bool>(100, false));
  CHECK(random_bernoulli({100}, 1, kKey).to_vector<bool>() == std::vector<bool>(100, true));
  CHECK(random_uniform(f32, {0, 3}, 0, 1, kKey).numel() == 0);
  CHECK(random_normal(f64, {}, 0, 1, kKey).rank() == 0);
  // 1 - 2^-53 becomes 1 in f32; a uniform draw never passes its bounds.
  const double low = 1, high = std::nextafter(1.0, 2.0);
  for (double x : random_uniform(f64, {1000}, low, high, kKey).to_vector<double>()) {
    CHECK((x == low || x == high));
  }
}

TEST_CASE("random: refusals") {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  CHECK_THROWS_WITH_AS(
      random_uniform(f32, {2}, 2, 1, kKey),
      "random_uniform: low 2 and high 1; low <= high, both and their difference finite in f32",
      Error);
  CHECK_THROWS_AS(random_uniform(i64, {2}, 0, 1, kKey), Error);
  CHECK_THROWS_AS(random_uniform(f64, {2}, nan, 1, kKey), Error);
  CHECK_THROWS_AS(random_uniform(f64, {2}, 0, inf, kKey), Error);
  CHECK_THROWS_AS(random_uniform(f64, {2}, -1.5e308, 1.5e308, kKey), Error);
  CHECK_THROWS_AS(random_uniform(f32, {2}, 0, 1e39, kKey), Error);
  CHECK_THROWS_AS(random_normal(f32, {2}, 0, -1, kKey), Error);
  CHECK_THROWS_AS(random_normal(f32, {2}, nan, 1, kKey), Error);
  CHECK_THROWS_AS(random_normal(f32, {2}, 0, nan, kKey), Error);
  CHECK_THROWS_AS(random_normal(f32, {2}, 0, 1e38, kKey), Error);
  CHECK_THROWS_AS(random_normal(boolean, {2}, 0, 1, kKey), Error);
  CHECK_THROWS_AS(random_integers({2}, 3, 3, kKey), Error);
  CHECK_THROWS_AS(random_bernoulli({2}, -0.1, kKey), Error);
  CHECK_THROWS_AS(random_bernoulli({2}, 1.1, kKey), Error);
  CHECK_THROWS_AS(random_bernoulli({2}, nan, kKey), Error);
}

}  // namespace
}  // namespace fovea
