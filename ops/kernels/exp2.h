// The exponential and the logarithm that a softmax wants: of scores that stand hardly above their
// reference, and of the sums of these.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
inline constexpr T kLog2E = T(1.44269504088896340736);
template <class T>
inline constexpr T kLn2 = T(0.69314718055994530942);

// 2^r = 1 + r Q(r) for |r| ≤ 1/2, Q by Remez exchange: relative error 5.3e-9 in f32, 4.3e-17 in
// f64.
template <class T>
struct Exp2Constants;
template <>
struct Exp2Constants<float> {
  static constexpr float q[] = {0.6931472420692444f,   0.24022655189037323f,
                                0.05550272390246391f,  0.009617064148187637f,
                                0.001341823721303582f, 0.0001581892283866182f};
};
template <>
struct Exp2Constants<double> {
  static constexpr double q[] = {
      0.6931471805599457,     0.24022650695910097,    0.05550410866479039,   0.009618129107607003,
      0.0013333558153440248,  0.00015403530441572208, 1.525272738489903e-05, 1.3215442675384052e-06,
      1.0180647800153075e-07, 7.07257039107272e-09,   4.078047869046906e-10};
};

// 2^x within 1 unit in the last place, for x < 127 (f64: 1023): exactly 1 at 0, and 0 below the
// normal numbers, −inf included. NaN for NaN and +inf.
template <class T>
FOVEA_INLINE Vec<T> exp2_of_score(const Vec<T>& x) {
  using C = Exp2Constants<T>;
  using Bits = FloatBits<T>;
  // The sum rounds to an integer n and holds n + bias in its lowest bits; 2^−bias comes out as 0.
  const Vec<T> shift = broadcast(kRoundingShift<T> + T(Bits::bias));
  const Vec<T> clamped = max(broadcast(-T(Bits::bias)), x);
  const Vec<T> n = clamped + shift;
  const Vec<T> r = clamped - (n - shift);
  constexpr int degree = static_cast<int>(sizeof(C::q) / sizeof(T)) - 1;
  Vec<T> y = broadcast(C::q[degree]);
#pragma GCC unroll 16
  for (int i = degree - 1; i >= 0; --i) y = fma(y, r, broadcast(C::q[i]));
  return fma(y, r, broadcast(T(1))) * exponent_from_low_bits(n);
}

// e^x, likewise.
template <class T>
FOVEA_INLINE Vec<T> exp_of_score(const Vec<T>& x) {
  return exp2_of_score(x * broadcast(kLog2E<T>));
}

// The natural logarithm of normal numbers: x = 2^e m, √½ ≤ m < √2, and log m = 2 artanh(f) =
// 2 (f + f³/3 + f⁵/5 + …) with f = (m − 1)/(m + 1), |f| < 0.172.
template <class T>
FOVEA_INLINE Vec<T> log_of_sum(const Vec<T>& x) {
  constexpr int terms = sizeof(T) == 4 ? 5 : 11;
  const Vec<T> e = exponent_of(x * broadcast(T(1.41421356237309504880)));
  const Vec<T> m = x * power_of_two(-e);
  const Vec<T> f = (m - broadcast(T(1))) / (m + broadcast(T(1)));
  const Vec<T> square = f * f;
  Vec<T> sum = broadcast(T(2) / T(2 * terms + 1));
#pragma GCC unroll 16
  for (int i = terms - 1; i > 0; --i) sum = fma(sum, square, broadcast(T(2) / T(2 * i + 1)));
  const Vec<T> rest = sum * square * f;
  return fma(e, broadcast(kLn2<T>), f + f + rest);
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
