// Elementary functions on the virtual vector.
#pragma once

#include <cstddef>

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
  y = broadcast(T(1)) + fma(y, r * r, r);  // only the sum's rounding counts
  return scale_by_power_of_two(y, n);
}

// e^x for x ≤ 0, as differences to a maximum are: 0 below the normal numbers, −inf included, NaN
// for NaN; within 1.5 units in the last place, in f32 1.5 + |x|/20.
template <class T>
FOVEA_INLINE Vec<T> exp_of_difference(const Vec<T>& x) {
  using C = ExpConstants<T>;
  constexpr T log2e = T(1.44269504088896340736), ln2 = T(0.69314718055994530942);
  // The sum rounds to an integer n and holds n + bias in its lowest bits; 2^−bias comes out as 0.
  const Vec<T> shift = broadcast(kRoundingShift<T> + T(FloatBits<T>::bias));
  const Vec<T> clamped = max(broadcast(-T(FloatBits<T>::bias) * ln2), x);
  const Vec<T> n = fma(clamped, broadcast(log2e), shift);
  Vec<T> r = fma(n - shift, broadcast(-ln2), clamped);
  // What ln2 lacks: an ulp of the result at −40 in f32, but at −7 in f64.
  if constexpr (sizeof(T) == 8) r = fma(n - shift, broadcast(T(-2.3190468138462996e-17)), r);
  constexpr int degree = static_cast<int>(sizeof(C::q) / sizeof(T)) - 1;
  Vec<T> y = broadcast(C::q[degree]);
#pragma GCC unroll 16
  for (int i = degree - 1; i >= 0; --i) y = fma(y, r, broadcast(C::q[i]));
  y = fma(fma(y, r, broadcast(T(1))), r, broadcast(T(1)));
  return y * exponent_from_low_bits(n);
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

// Within 2 units in the last place.
template <class T>
FOVEA_INLINE Vec<T> tanh(const Vec<T>& x) {
  const Vec<T> zero = broadcast(T(0)), one = broadcast(T(1));
  const Mask<T> negative = x < zero;
  const Vec<T> magnitude = select(negative, -x, x);
  const Vec<T> e = exp_of_difference(broadcast(T(-2)) * magnitude);
  const Vec<T> large = one - (e + e) / (one + e);
  const Vec<T> small = magnitude + tanh_remainder(magnitude);
  const Vec<T> y = select(magnitude < broadcast(T(0.625)), small, large);
  return select(negative, -y, y);
}

// 1 / (1 + e^−x) within 2 units in the last place, by the exponential e that does not overflow:
// e/d or 1/d, d = 1 + e, less what the rounding of d changes. 1/d, of which a few bits are enough
// for that, is nearly a line on [1, 2].
template <class T>
FOVEA_INLINE Vec<T> sigmoid(const Vec<T>& x) {
  const Vec<T> one = broadcast(T(1));
  const Vec<T> e = exp(min(-x, x));
  const Vec<T> d = one + e, lost = (one - d) + e;
  const Vec<T> q = select(x < broadcast(T(0)), e, one) / d;
  return fma(q * lost, fma(broadcast(T(0.5)), d, broadcast(T(-1.457))), q);
}

// c[0] + c[1] x + c[2] x² + …
template <class T, std::size_t kCount>
FOVEA_INLINE Vec<T> polynomial(const T (&c)[kCount], const Vec<T>& x) {
  Vec<T> y = broadcast(c[kCount - 1]);
#pragma GCC unroll 16
  for (int i = static_cast<int>(kCount) - 2; i >= 0; --i) y = fma(y, x, broadcast(c[i]));
  return y;
}

// erf |x| as N. Juffa's erff: x + x p(x²) near 0, 1 − e^(x q(x) − x) elsewhere.
FOVEA_INLINE Vec<float> erf_magnitude(const Vec<float>& x) {
  constexpr float p[] = {1.28379166e-1f,  -3.76125336e-1f, 1.12819925e-1f,
                         -2.67681349e-2f, 4.99119423e-3f,  -5.96761703e-4f};
  constexpr float q[] = {-1.28717512e-1f, -6.34846687e-1f, -1.06777877e-1f, 2.42546219e-2f,
                         -3.88396438e-3f, 3.83197126e-4f,  -1.72853470e-5f};
  const Vec<float> a = min(broadcast(4.0f), x);  // erf 4 is 1, and a NaN stays
  const Vec<float> small = fma(polynomial(p, a * a), a, a);
  const Vec<float> large = broadcast(1.0f) - exp_of_difference(fma(polynomial(q, a), a, -a));
  return select(a < broadcast(0.927734375f), small, large);
}

// The normal distribution's tail is Φ(−a) = e^(−a²/2) P(a)/Q(a) for 0 ≤ a ≤ limit, relative error
// 5.3e-9 in f32, 4.9e-17 in f64 (minimax, by weighted least squares); beyond the limit e is 0.
template <class T>
struct TailConstants;
template <>
struct TailConstants<float> {
  static constexpr float limit = 13.7f;
  static constexpr float p[] = {0.50000000256983655987f, 0.43660955184381265304f,
                                0.18198665269530631011f, 0.040212278237820299504f,
                                0.0040537604168973942872f};
  static constexpr float q[] = {1.0f,
                                1.6711040391012698864f,
                                1.1973170962021784446f,
                                0.46617442188737445705f,
                                0.10080427079432545995f,
                                0.010161136010150540688f};
};
template <>
struct TailConstants<double> {
  static constexpr double limit = 38.6;
  static constexpr double p[] = {0.49999999999999997546,    0.77479337142122715895,
                                 0.5939318427557525337,     0.28925237584448981705,
                                 0.097663995252459044702,   0.02361183961627555752,
                                 0.0040871151328004715303,  0.00049010757800988950638,
                                 0.00003722688898392784327, 1.3845359555842633346e-6};
  static constexpr double q[] = {1.0,
                                 2.3474713036453095874,
                                 2.5608747956181960628,
                                 1.7140130817028708942,
                                 0.78181220432919557566,
                                 0.25486557051176539064,
                                 0.060407681706653046529,
                                 0.010338192314723038491,
                                 0.0012319880298265045776,
                                 0.000093313972501485657593,
                                 3.4705169735213267279e-6};
};

// erf |x| = x + x p(x²) near 0, p by Chebyshev interpolation, relative error of the sum 3e-17;
// elsewhere 1 − 2 Φ(−√2 x), whose error counts for at most erfc(0.84) = 0.23 of itself.
FOVEA_INLINE Vec<double> erf_magnitude(const Vec<double>& x) {
  using C = TailConstants<double>;
  constexpr double p[] = {0.12837916709551256,     -0.376126389031834,      0.11283791670935138,
                          -0.026866170640746197,   0.005223977576047594,    -0.0008548323772641915,
                          0.00012055199311628233,  -1.4922108375295965e-05, 1.640146304817422e-06,
                          -1.5713299525186606e-07, 1.0723141878729999e-08};
  const Vec<double> a = min(broadcast(6.0), x), square = a * a;  // erf 6 is 1
  const Vec<double> small = fma(polynomial(p, square), a, a);
  const Vec<double> t = a * broadcast(1.41421356237309504880);
  const Vec<double> ratio = polynomial(C::p, t) / polynomial(C::q, t);
  const Vec<double> large =
      fma(broadcast(-2.0), exp_of_difference(-square) * ratio, broadcast(1.0));
  return select(broadcast(0.84375) < a, large, small);  // a NaN stays the one it is
}

// Within 2 units in the last place.
template <class T>
FOVEA_INLINE Vec<T> erf(const Vec<T>& x) {
  const Mask<T> negative = x < broadcast(T(0));
  const Vec<T> y = erf_magnitude(select(negative, -x, x));
  return select(negative, -y, y);
}

// x Φ(x), near 0 for negative x as exactly as for positive x: max(x, 0) − |x| Φ(−|x|). What the
// rounding of a² loses is made up for where multiplications fuse.
template <class T>
FOVEA_INLINE Vec<T> gelu(const Vec<T>& x) {
  using C = TailConstants<T>;
  const Vec<T> zero = broadcast(T(0));
  const Mask<T> negative = x < zero;
  const Vec<T> a = min(broadcast(C::limit), select(negative, -x, x)), square = a * a;
  const Vec<T> lost = fma(a, a, -square) * broadcast(T(-0.5));
  const Vec<T> e = exp_of_difference(broadcast(T(-0.5)) * square);
  const Vec<T> tail = fma(e, lost, e) * (polynomial(C::p, a) / polynomial(C::q, a));
  return select(negative, zero, x) - a * tail;
}

// x/2 (1 + tanh u) = x sigmoid(2 u), u = √(2/π) (x + 0.044715 x³); 0 at −∞.
template <class T>
FOVEA_INLINE Vec<T> gelu_tanh(const Vec<T>& x) {
  constexpr T two_roots = T(1.59576912160573071176), cubic = T(0.044715);
  const Vec<T> s =
      sigmoid(x * broadcast(two_roots) * fma(x * x, broadcast(cubic), broadcast(T(1))));
  return select(s == broadcast(T(0)), s, x * s);
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
