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

// erf |x| as fdlibm's s_erf.c (Sun Microsystems, 1993): rational functions of x², |x| − 1 and 1/x².
FOVEA_INLINE Vec<double> erf_magnitude(const Vec<double>& x) {
  constexpr double pp[] = {1.28379167095512558561e-01, -3.25042107247001499370e-01,
                           -2.84817495755985104766e-02, -5.77027029648944159157e-03,
                           -2.37630166566501626084e-05};
  constexpr double qq[] = {1,
                           3.97917223959155352819e-01,
                           6.50222499887672944485e-02,
                           5.08130628187576562776e-03,
                           1.32494738004321644526e-04,
                           -3.96022827877536812320e-06};
  constexpr double erx = 8.45062911510467529297e-01;
  constexpr double pa[] = {-2.36211856075265944077e-03, 4.14856118683748331666e-01,
                           -3.72207876035701323847e-01, 3.18346619901161753674e-01,
                           -1.10894694282396677476e-01, 3.54783043256182359371e-02,
                           -2.16637559486879084300e-03};
  constexpr double qa[] = {1,
                           1.06420880400844228286e-01,
                           5.40397917702171048937e-01,
                           7.18286544141962662868e-02,
                           1.26171219808761642112e-01,
                           1.36370839120290507362e-02,
                           1.19844998467991074170e-02};
  constexpr double ra[] = {-9.86494403484714822705e-03, -6.93858572707181764372e-01,
                           -1.05586262253232909814e+01, -6.23753324503260060396e+01,
                           -1.62396669462573470355e+02, -1.84605092906711035994e+02,
                           -8.12874355063065934246e+01, -9.81432934416914548592e+00};
  constexpr double sa[] = {1,
                           1.96512716674392571292e+01,
                           1.37657754143519042600e+02,
                           4.34565877475229228821e+02,
                           6.45387271733267880336e+02,
                           4.29008140027567833386e+02,
                           1.08635005541779435134e+02,
                           6.57024977031928170135e+00,
                           -6.04244152148580987438e-02};
  constexpr double rb[] = {-9.86494292470009928597e-03, -7.99283237680523006574e-01,
                           -1.77579549177547519889e+01, -1.60636384855821916062e+02,
                           -6.37566443368389627722e+02, -1.02509513161107724954e+03,
                           -4.83519191608651397019e+02};
  constexpr double sb[] = {1,
                           3.03380607434824582924e+01,
                           3.25792512996573918826e+02,
                           1.53672958608443695994e+03,
                           3.19985821950859553908e+03,
                           2.55305040643316442583e+03,
                           4.74528541206955367215e+02,
                           -2.24409524465858183362e+01};
  const Vec<double> one = broadcast(1.0), z = x * x, s = x - one;
  const Vec<double> a = max(one, min(broadcast(6.0), x)), w = one / (a * a);  // erf 6 is 1
  const Mask<double> far = broadcast(1.0 / 0.35) < a;
  const Vec<double> r = select(far, polynomial(rb, w), polynomial(ra, w));
  const Vec<double> q = select(far, polynomial(sb, w), polynomial(sa, w));
  const Vec<double> tail = one - exp_of_difference(r / q - broadcast(0.5625) - a * a) / a;
  const Vec<double> middle = broadcast(erx) + polynomial(pa, s) / polynomial(qa, s);
  const Vec<double> near = fma(polynomial(pp, z) / polynomial(qq, z), x, x);
  const Vec<double> y = select(x < broadcast(1.25), middle, tail);
  return select(x < broadcast(0.84375), near, select(x == x, y, x));
}

// Within 2 units in the last place.
template <class T>
FOVEA_INLINE Vec<T> erf(const Vec<T>& x) {
  const Mask<T> negative = x < broadcast(T(0));
  const Vec<T> y = erf_magnitude(select(negative, -x, x));
  return select(negative, -y, y);
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
