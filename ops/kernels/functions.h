// Elementary functions on the virtual vector.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// e^r = 1 + r + r² Q(r) for |r| ≤ ln2 / 2, Q by Remez exchange: relative error 3.1e-9 in
// f32, 3.6e-18 in f64. ln2 = high + low, where n · high is exact for every exponent n (W. J. Cody
// and W. Waite).
template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float lowest = -110.0f, highest = 89.5f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float q[] = {0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f,
                                0.00836871936917305f, 0.001381459878757596f};
};
template <>
struct ExpConstants<double> {
  static constexpr double lowest = -760.0, highest = 710.5;
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double q[] = {
      0.5000000000000011,     0.16666666666666413,    0.041666666666530135,  0.008333333333494477,
      0.0013888888943636233,  0.00019841269506561997, 2.480149309217204e-05, 2.7557586374099654e-06,
      2.7630250903833793e-07, 2.5000065871694497e-08};
};

// x · 2^n for an integral n, rounded once: subnormal results too.
template <class T>
FOVEA_INLINE Vec<T> scale_by_power_of_two(const Vec<T>& x, const Vec<T>& n) {
#ifdef __AVX512F__
  return each_register<Vec<T>>([&](int i) -> Register<T> {
    if constexpr (sizeof(T) == 4) {
      return _mm512_scalef_ps(x.r[i], n.r[i]);
    } else {
      return _mm512_scalef_pd(x.r[i], n.r[i]);
    }
  });
#else
  const Vec<T> shift = broadcast(kRoundingShift<T>);
  const Vec<T> half = n * broadcast(T(0.5)) + shift;
  const Vec<T> rest = (n - (half - shift)) + shift;
  const auto power = [](const Vec<T>& e) {
    return each_register<Vec<T>>([&](int i) { return power_of_two_register<T>(e.r[i]); });
  };
  return x * power(half) * power(rest);
#endif
}

// e^x within 1.5 units in the last place, for every x: 0 for −inf, inf beyond the largest number,
// NaN for NaN.
template <class T>
FOVEA_INLINE Vec<T> exp(const Vec<T>& x) {
  using C = ExpConstants<T>;
  constexpr T log2e = T(1.44269504088896340736);
  const Vec<T> shift = broadcast(kRoundingShift<T>);
  const Vec<T> clamped = min(broadcast(C::highest), max(broadcast(C::lowest), x));
  const Vec<T> n = fma(clamped, broadcast(log2e), shift) - shift;
  Vec<T> r = fma(n, broadcast(-C::ln2_high), clamped);
  r = fma(n, broadcast(-C::ln2_low), r);
  constexpr int degree = static_cast<int>(sizeof(C::q) / sizeof(T)) - 1;
  Vec<T> y = broadcast(C::q[degree]);
#pragma GCC unroll 16
  for (int i = degree - 1; i >= 0; --i) y = fma(y, r, broadcast(C::q[i]));
  y = fma(y, r, broadcast(T(1)));
  y = fma(y, r, broadcast(T(1)));
  return scale_by_power_of_two(y, n);
}

// tanh x − x for |x| ≤ 0.625, from S. L. Moshier's Cephes.
FOVEA_INLINE Vec<float> tanh_remainder(const Vec<float>& x) {
  const Vec<float> z = x * x;
  Vec<float> p = broadcast(-5.70498872745e-3f);
  p = fma(p, z, broadcast(2.06390887954e-2f));
  p = fma(p, z, broadcast(-5.37397155531e-2f));
  p = fma(p, z, broadcast(1.33314422036e-1f));
  p = fma(p, z, broadcast(-3.33332819422e-1f));
  return p * z * x;
}
FOVEA_INLINE Vec<double> tanh_remainder(const Vec<double>& x) {
  const Vec<double> z = x * x;
  Vec<double> p = broadcast(-9.64399179425052238628e-1);
  p = fma(p, z, broadcast(-9.92877231001918586564e1));
  p = fma(p, z, broadcast(-1.61468768441708447952e3));
  Vec<double> q = z + broadcast(1.12811678491632931402e2);
  q = fma(q, z, broadcast(2.23548839060100448583e3));
  q = fma(q, z, broadcast(4.84406305325125486048e3));
  return p / q * z * x;
}

template <class T>
FOVEA_INLINE Vec<T> tanh(const Vec<T>& x) {
  const Vec<T> zero = broadcast(T(0)), one = broadcast(T(1)), two = broadcast(T(2));
  const Mask<T> negative = x < zero;
  const Vec<T> magnitude = select(negative, -x, x);
  const Vec<T> large = one - two / (exp(magnitude + magnitude) + one);
  const Vec<T> small = magnitude + tanh_remainder(magnitude);
  const Vec<T> y = select(magnitude < broadcast(T(0.625)), small, large);
  return select(negative, -y, y);
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
