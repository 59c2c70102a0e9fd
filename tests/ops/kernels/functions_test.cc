#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <vector>

#include "each_isa.h"

namespace fovea::kernels {
namespace {

// Distance from the true value in units of the result's last place.
template <class T>
double ulps(T value, long double truth) {
  const T rounded = static_cast<T>(truth);
  if (value == rounded || (std::isnan(value) && std::isnan(rounded))) return 0;
  const T unit =
      std::nextafter(std::abs(rounded), std::numeric_limits<T>::infinity()) - std::abs(rounded);
  return static_cast<double>(std::abs(static_cast<long double>(value) - truth) /
                             static_cast<long double>(unit));
}

template <class T>
std::vector<T> arguments(T low, T high) {
  std::vector<T> x;
  constexpr int kSteps = 100'003;
  for (int i = 0; i <= kSteps; ++i) x.push_back(low + (high - low) * T(i) / T(kSteps));
  for (const T special :
       {T(0), T(-0.0), std::numeric_limits<T>::min(), std::numeric_limits<T>::denorm_min(),
        std::numeric_limits<T>::max(), std::numeric_limits<T>::infinity()}) {
    x.push_back(special);
    x.push_back(-special);
  }
  x.push_back(std::numeric_limits<T>::quiet_NaN());
  return x;
}

template <class T, class F>
void check_function(MapFunction<T> Loops<T>::*member, const std::vector<T>& x, double most_ulps,
                    const F& truth) {
  std::map<bool, std::vector<T>> fused_results;
  for_each_isa([&](Isa isa) {
    std::vector<T> y(x.size());
    (loops<T>(kernels()).*member)(static_cast<std::int64_t>(x.size()), x.data(), y.data());
    double worst = 0;
    T where = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = ulps(y[i], truth(static_cast<long double>(x[i])));
      if (!(error <= worst)) worst = error, where = x[i];
    }
    CAPTURE(where);
    CHECK(worst <= most_ulps);
    if (!fuses(isa)) return;
    const auto [first, inserted] = fused_results.try_emplace(true, y);
    if (!inserted) CHECK(same_bits(first->second, y));
  });
}

TEST_CASE_TEMPLATE("exp over the full range", T, float, double) {
  const T reach = sizeof(T) == 4 ? T(110) : T(760);
  const auto truth = [](long double x) { return std::exp(x); };
  check_function<T>(&Loops<T>::exp, arguments<T>(-reach, reach), 1.5, truth);
  check_function<T>(&Loops<T>::exp, arguments<T>(-1, 1), 1.5, truth);
}

TEST_CASE_TEMPLATE("tanh over the full range", T, float, double) {
  const auto truth = [](long double x) { return std::tanh(x); };
  check_function<T>(&Loops<T>::tanh, arguments<T>(-25, 25), 2.0, truth);
  check_function<T>(&Loops<T>::tanh, arguments<T>(-1, 1), 2.0, truth);
}

TEST_CASE_TEMPLATE("erf over the full range", T, float, double) {
  const auto truth = [](long double x) { return std::erf(x); };
  check_function<T>(&Loops<T>::erf, arguments<T>(-7, 7), 2.0, truth);
  check_function<T>(&Loops<T>::erf, arguments<T>(-1.5, 1.5), 2.0, truth);
}

TEST_CASE_TEMPLATE("sigmoid over the full range", T, float, double) {
  const T reach = sizeof(T) == 4 ? T(110) : T(760);
  const auto truth = [](long double x) { return 1 / (1 + std::exp(-x)); };
  check_function<T>(&Loops<T>::sigmoid, arguments<T>(-reach, reach), 2.0, truth);
  check_function<T>(&Loops<T>::sigmoid, arguments<T>(-8, 8), 2.0, truth);
}

// Not for sets without fused multiply-add far to the left: they cannot see what the rounding of x²
// loses.
TEST_CASE_TEMPLATE("gelu over the full range", T, float, double) {
  const auto truth = [](long double x) {
    return std::isinf(x) && x < 0 ? 0.0L : x / 2 * std::erfc(-x / std::sqrt(2.0L));
  };
  const auto tanh_truth = [](long double x) {
    const long double u =
        2 * std::sqrt(std::numbers::inv_pi_v<long double> * 2) * (x + 0.044715L * x * x * x);
    return std::isinf(x) && x < 0 ? 0.0L : x / (1 + std::exp(-u));
  };
  check_function<T>(&Loops<T>::gelu, arguments<T>(-2, 40), 8.0, truth);
  check_function<T>(&Loops<T>::gelu_tanh, arguments<T>(-1, 40), 8.0, tanh_truth);
}

// Every 997th f32 there is, of either sign.
TEST_CASE("f32 functions of numbers of every size") {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 997) {
    const auto value = __builtin_bit_cast(float, static_cast<std::uint32_t>(bits));
    if (!std::isnan(value) && x.size() < static_cast<std::size_t>(rounds(5'000'000)))
      x.push_back(value);
  }
  const auto check = [&](MapFunction<float> Loops<float>::*member, auto truth) {
    check_function<float>(member, x, 2.0, [&](long double v) {
      return static_cast<long double>(truth(static_cast<double>(v)));
    });
  };
  check(&Loops<float>::exp, [](double v) { return std::exp(v); });
  check(&Loops<float>::tanh, [](double v) { return std::tanh(v); });
  check(&Loops<float>::erf, [](double v) { return std::erf(v); });
  check(&Loops<float>::sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); });
}

TEST_CASE_TEMPLATE("lengths that are no multiple of the vector", T, float, double) {
  for_each_isa([](Isa) {
    for (std::int64_t n = 0; n < 40; ++n) {
      std::vector<T> x(static_cast<std::size_t>(n) + 1, T(0)), y(x.size(), T(7));
      loops<T>(kernels()).exp(n, x.data(), y.data());
      for (std::int64_t i = 0; i < n; ++i) CHECK(y[static_cast<std::size_t>(i)] == T(1));
      CHECK(y.back() == T(7));
    }
  });
}

}  // namespace
}  // namespace fovea::kernels
