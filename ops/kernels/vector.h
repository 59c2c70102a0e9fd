// The virtual vector: 64 bytes (16 f32 or 8 f64 lanes) in as many registers as the instruction set
// needs. Lanes never mix except in `sum_lanes` and `max_lanes`, whose order is fixed, so that every
// set with fused multiply-add gives the same bits.
//
// Everything here has internal linkage: no symbol is shared between instruction sets.
#pragma once

#include <cstdint>
#include <limits>

#ifdef FOVEA_ISA_ARCH
#include <xsimd/xsimd.hpp>
#endif

#define FOVEA_INLINE [[gnu::always_inline]] inline
// Behind the parameters of a lambda, where no attribute of the standard's form can stand.
#define FOVEA_INLINE_LAMBDA __attribute__((always_inline))

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
inline constexpr int kLanes = static_cast<int>(64 / sizeof(T));

template <class T>
inline constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
struct FloatBits;
template <>
struct FloatBits<float> {
  using Int = std::int32_t;
  using Unsigned = std::uint32_t;
  static constexpr int mantissa = 23, bias = 127;
};
template <>
struct FloatBits<double> {
  using Int = std::int64_t;
  using Unsigned = std::uint64_t;
  static constexpr int mantissa = 52, bias = 1023;
};

// Adding it rounds to an integer, which then stands in the lowest bits.
template <class T>
inline constexpr T kRoundingShift = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);

// ---- One register
// -------------------------------------------------------------------------------------------------

#ifdef FOVEA_ISA_ARCH

template <class T>
using Register = xsimd::batch<T, FOVEA_ISA_ARCH>;
template <class T>
using RegisterMask = xsimd::batch_bool<T, FOVEA_ISA_ARCH>;

template <class T>
FOVEA_INLINE Register<T> load_register(const T* p) {
  return Register<T>::load_unaligned(p);
}
template <class T>
FOVEA_INLINE void store_register(T* p, const Register<T>& x) {
  x.store_unaligned(p);
}

template <class T>
FOVEA_INLINE Register<T> broadcast_register(T x) {
  return Register<T>(x);
}

// a·b + c, fused where the instruction set can. (xsimd's own does not fuse on AVX-512.)
template <class T>
FOVEA_INLINE Register<T> fma_register(const Register<T>& a, const Register<T>& b,
                                      const Register<T>& c) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    return _mm512_fmadd_ps(a, b, c);
  } else {
    return _mm512_fmadd_pd(a, b, c);
  }
#else
  return xsimd::fma(a, b, c);
#endif
}

template <class T>
FOVEA_INLINE Register<T> max_register(const Register<T>& a, const Register<T>& b) {
  return xsimd::max(a, b);
}
template <class T>
FOVEA_INLINE Register<T> min_register(const Register<T>& a, const Register<T>& b) {
  return xsimd::min(a, b);
}
template <class T>
FOVEA_INLINE Register<T> select_register(const RegisterMask<T>& m, const Register<T>& a,
                                         const Register<T>& b) {
  return xsimd::select(m, a, b);
}
template <class T>
FOVEA_INLINE bool any_register(const RegisterMask<T>& m) {
  return xsimd::any(m);
}

// 2^n, where x = n + kRoundingShift and n is a normal exponent.
template <class T>
FOVEA_INLINE Register<T> power_of_two_register(const Register<T>& x) {
  using Int = typename FloatBits<T>::Int;
  const auto bits = xsimd::bitwise_cast<Register<Int>>(x) + Register<Int>(FloatBits<T>::bias);
  return xsimd::bitwise_cast<Register<T>>(bits << FloatBits<T>::mantissa);
}

// 2^n, where n + bias stands in the lowest bits of x.
template <class T>
FOVEA_INLINE Register<T> exponent_from_low_bits_register(const Register<T>& x) {
  using Int = typename FloatBits<T>::Int;
  return xsimd::bitwise_cast<Register<T>>(xsimd::bitwise_cast<Register<Int>>(x)
                                          << FloatBits<T>::mantissa);
}

// The exponent of a positive normal number: it is put into the lowest bits of 2^mantissa.
template <class T>
FOVEA_INLINE Register<T> exponent_register(const Register<T>& x) {
  using Unsigned = typename FloatBits<T>::Unsigned;
  constexpr T kOne = T(Unsigned{1} << FloatBits<T>::mantissa);
  const auto bits = xsimd::bitwise_cast<Register<Unsigned>>(x) >> FloatBits<T>::mantissa;
  const Register<T> sum = xsimd::bitwise_cast<Register<T>>(
      bits | xsimd::bitwise_cast<Register<Unsigned>>(Register<T>(kOne)));
  return sum - Register<T>(kOne + T(FloatBits<T>::bias));
}

template <class T>
inline constexpr int kRegisterLanes = static_cast<int>(Register<T>::size);

#else

template <class T>
using Register = T;
template <class T>
using RegisterMask = bool;

template <class T>
FOVEA_INLINE T load_register(const T* p) {
  return *p;
}
template <class T>
FOVEA_INLINE void store_register(T* p, T x) {
  *p = x;
}
template <class T>
FOVEA_INLINE T broadcast_register(T x) {
  return x;
}
template <class T>
FOVEA_INLINE T fma_register(T a, T b, T c) {
  return a * b + c;
}
template <class T>
FOVEA_INLINE T max_register(T a, T b) {
  return a > b ? a : b;
}
template <class T>
FOVEA_INLINE T min_register(T a, T b) {
  return a < b ? a : b;
}
template <class T>
FOVEA_INLINE T select_register(bool m, T a, T b) {
  return m ? a : b;
}
template <class T>
FOVEA_INLINE bool any_register(bool m) {
  return m;
}
template <class T>
FOVEA_INLINE T power_of_two_register(T x) {
  using Unsigned = typename FloatBits<T>::Unsigned;
  const Unsigned bits = __builtin_bit_cast(Unsigned, x) + Unsigned{FloatBits<T>::bias};
  return __builtin_bit_cast(T, bits << FloatBits<T>::mantissa);
}

template <class T>
FOVEA_INLINE T exponent_from_low_bits_register(T x) {
  using Unsigned = typename FloatBits<T>::Unsigned;
  return __builtin_bit_cast(T, __builtin_bit_cast(Unsigned, x) << FloatBits<T>::mantissa);
}
template <class T>
FOVEA_INLINE T exponent_register(T x) {
  using Unsigned = typename FloatBits<T>::Unsigned;
  const Unsigned bits = __builtin_bit_cast(Unsigned, x) >> FloatBits<T>::mantissa;
  return static_cast<T>(bits) - T(FloatBits<T>::bias);
}

template <class T>
inline constexpr int kRegisterLanes = 1;

#endif

// The same value, which the compiler takes for a new one: it is computed here, once, and kept in a
// register. (g++ folds a broadcast into each of its uses as a memory operand, which is loaded anew
// for each.)
template <class T>
FOVEA_INLINE Register<T> in_register(Register<T> x) {
#ifdef __AVX512F__
  asm("" : "+v"(x.data));
#endif
  return x;
}

// ---- Bytes as a mask
// -----------------------------------------------------------------------------------------------

// Set where a byte is not 0, for kRegisterLanes bytes; xsimd does not widen bytes.
template <class T>
FOVEA_INLINE RegisterMask<T> nonzero_register(const std::uint8_t* bytes) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    return RegisterMask<T>(_mm_test_epi8_mask(x, x));
  } else {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    return RegisterMask<T>(static_cast<__mmask8>(_mm_test_epi8_mask(x, x)));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(x), _mm256_setzero_si256()));
  } else {
    std::int32_t four;
    __builtin_memcpy(&four, bytes, sizeof(four));
    return _mm256_castsi256_pd(
        _mm256_cmpgt_epi64(_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four)), _mm256_setzero_si256()));
  }
#else
  T lanes[kRegisterLanes<T>];
  for (int i = 0; i < kRegisterLanes<T>; ++i) lanes[i] = static_cast<T>(bytes[i]);
  return load_register(lanes) > broadcast_register(T(0));
#endif
}

// ---- Parts of 128 bits -------------------------------------------------------------------------

// Of each 128 bits of a and b the lower (upper) halves, element by element in turn; and of a, then
// of b, every second 128 bits. xsimd's zips are of whole registers.
#if defined(__AVX512F__)
FOVEA_INLINE Register<float> zip_low(const Register<float>& a, const Register<float>& b) {
  return _mm512_unpacklo_ps(a, b);
}
FOVEA_INLINE Register<float> zip_high(const Register<float>& a, const Register<float>& b) {
  return _mm512_unpackhi_ps(a, b);
}
FOVEA_INLINE Register<double> zip_low(const Register<double>& a, const Register<double>& b) {
  return _mm512_unpacklo_pd(a, b);
}
FOVEA_INLINE Register<double> zip_high(const Register<double>& a, const Register<double>& b) {
  return _mm512_unpackhi_pd(a, b);
}
FOVEA_INLINE Register<float> even_parts(const Register<float>& a, const Register<float>& b) {
  return _mm512_shuffle_f32x4(a, b, 0x88);
}
FOVEA_INLINE Register<float> odd_parts(const Register<float>& a, const Register<float>& b) {
  return _mm512_shuffle_f32x4(a, b, 0xdd);
}
FOVEA_INLINE Register<double> even_parts(const Register<double>& a, const Register<double>& b) {
  return _mm512_shuffle_f64x2(a, b, 0x88);
}
FOVEA_INLINE Register<double> odd_parts(const Register<double>& a, const Register<double>& b) {
  return _mm512_shuffle_f64x2(a, b, 0xdd);
}
FOVEA_INLINE Register<std::uint8_t> zip_low(const Register<std::uint8_t>& a,
                                            const Register<std::uint8_t>& b) {
  return _mm512_unpacklo_epi8(a, b);
}
FOVEA_INLINE Register<std::uint8_t> zip_high(const Register<std::uint8_t>& a,
                                             const Register<std::uint8_t>& b) {
  return _mm512_unpackhi_epi8(a, b);
}
template <int kPart>
FOVEA_INLINE void store_part(std::uint8_t* p, const Register<std::uint8_t>& x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_extracti32x4_epi32(x, kPart));
}
#elif defined(__AVX2__)
FOVEA_INLINE Register<float> zip_low(const Register<float>& a, const Register<float>& b) {
  return _mm256_unpacklo_ps(a, b);
}
FOVEA_INLINE Register<float> zip_high(const Register<float>& a, const Register<float>& b) {
  return _mm256_unpackhi_ps(a, b);
}
FOVEA_INLINE Register<double> zip_low(const Register<double>& a, const Register<double>& b) {
  return _mm256_unpacklo_pd(a, b);
}
FOVEA_INLINE Register<double> zip_high(const Register<double>& a, const Register<double>& b) {
  return _mm256_unpackhi_pd(a, b);
}
FOVEA_INLINE Register<float> even_parts(const Register<float>& a, const Register<float>& b) {
  return _mm256_permute2f128_ps(a, b, 0x20);
}
FOVEA_INLINE Register<float> odd_parts(const Register<float>& a, const Register<float>& b) {
  return _mm256_permute2f128_ps(a, b, 0x31);
}
FOVEA_INLINE Register<double> even_parts(const Register<double>& a, const Register<double>& b) {
  return _mm256_permute2f128_pd(a, b, 0x20);
}
FOVEA_INLINE Register<double> odd_parts(const Register<double>& a, const Register<double>& b) {
  return _mm256_permute2f128_pd(a, b, 0x31);
}
#endif

// ---- The vector --------------------------------------------------------------------------------

template <class T>
struct Vec {
  static constexpr int kRegisters = kLanes<T> / kRegisterLanes<T>;
  Register<T> r[kRegisters];
};

template <class T>
struct Mask {
  RegisterMask<T> r[Vec<T>::kRegisters];
};

// y.r[i] = f(i) for all registers.
template <class Y, class F>
FOVEA_INLINE Y each_register(const F& f) {
  Y y;
#pragma GCC unroll 16
  for (int i = 0; i < static_cast<int>(sizeof(y.r) / sizeof(y.r[0])); ++i) y.r[i] = f(i);
  return y;
}

template <class T>
FOVEA_INLINE Vec<T> load(const T* p) {
  return each_register<Vec<T>>([&](int i) { return load_register(p + i * kRegisterLanes<T>); });
}
template <class T>
FOVEA_INLINE void store(T* p, const Vec<T>& x) {
#pragma GCC unroll 16
  for (int i = 0; i < Vec<T>::kRegisters; ++i) store_register(p + i * kRegisterLanes<T>, x.r[i]);
}
template <class T>
FOVEA_INLINE Vec<T> broadcast(T x) {
  return each_register<Vec<T>>([&](int) { return Register<T>(x); });
}

template <class T>
FOVEA_INLINE Vec<T> operator+(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return a.r[i] + b.r[i]; });
}
template <class T>
FOVEA_INLINE Vec<T> operator-(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return a.r[i] - b.r[i]; });
}
template <class T>
FOVEA_INLINE Vec<T> operator*(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return a.r[i] * b.r[i]; });
}
template <class T>
FOVEA_INLINE Vec<T> operator/(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return a.r[i] / b.r[i]; });
}
template <class T>
FOVEA_INLINE Vec<T> operator-(const Vec<T>& a) {
  return each_register<Vec<T>>([&](int i) { return -a.r[i]; });
}
// The first operand is the same in all lanes.
template <class T>
FOVEA_INLINE Vec<T> fma(const Register<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return each_register<Vec<T>>([&](int i) { return fma_register<T>(a, b.r[i], c.r[i]); });
}
template <class T>
FOVEA_INLINE Mask<T> operator<(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Mask<T>>([&](int i) { return a.r[i] < b.r[i]; });
}
template <class T>
FOVEA_INLINE Mask<T> operator==(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Mask<T>>([&](int i) { return a.r[i] == b.r[i]; });
}
template <class T>
FOVEA_INLINE Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return each_register<Vec<T>>([&](int i) { return fma_register<T>(a.r[i], b.r[i], c.r[i]); });
}
// Set where a byte is not 0.
template <class T>
FOVEA_INLINE Mask<T> nonzero(const std::uint8_t* bytes) {
  return each_register<Mask<T>>(
      [&](int i) { return nonzero_register<T>(bytes + i * kRegisterLanes<T>); });
}
// The second operand where either is NaN.
template <class T>
FOVEA_INLINE Vec<T> max(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return max_register<T>(a.r[i], b.r[i]); });
}
template <class T>
FOVEA_INLINE Vec<T> min(const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return min_register<T>(a.r[i], b.r[i]); });
}
template <class T>
FOVEA_INLINE Vec<T> exponent_from_low_bits(const Vec<T>& x) {
  return each_register<Vec<T>>([&](int i) { return exponent_from_low_bits_register<T>(x.r[i]); });
}
template <class T>
FOVEA_INLINE Vec<T> exponent_of(const Vec<T>& x) {
  return each_register<Vec<T>>([&](int i) { return exponent_register<T>(x.r[i]); });
}
// 2^n for an integral, normal exponent n.
template <class T>
FOVEA_INLINE Vec<T> power_of_two(const Vec<T>& n) {
  const Vec<T> shifted = n + broadcast(kRoundingShift<T>);
  return each_register<Vec<T>>([&](int i) { return power_of_two_register<T>(shifted.r[i]); });
}
// a where the mask is set, b elsewhere.
template <class T>
FOVEA_INLINE Vec<T> select(const Mask<T>& m, const Vec<T>& a, const Vec<T>& b) {
  return each_register<Vec<T>>([&](int i) { return select_register<T>(m.r[i], a.r[i], b.r[i]); });
}
template <class T>
FOVEA_INLINE bool any(const Mask<T>& m) {
  bool found = false;
#pragma GCC unroll 16
  for (int i = 0; i < Vec<T>::kRegisters; ++i) found |= any_register<T>(m.r[i]);
  return found;
}

// f folds the halves of a register until one lane is left.
#ifdef FOVEA_ISA_ARCH
template <class F>
FOVEA_INLINE float fold_register(__m128 x, const F& f) {
  using Quarter = xsimd::batch<float, xsimd::sse2>;
  x = f(Quarter(x), Quarter(_mm_movehl_ps(x, x)));
  return _mm_cvtss_f32(f(Quarter(x), Quarter(_mm_shuffle_ps(x, x, 1))));
}
template <class F>
FOVEA_INLINE double fold_register(__m128d x, const F& f) {
  using Quarter = xsimd::batch<double, xsimd::sse2>;
  return _mm_cvtsd_f64(f(Quarter(x), Quarter(_mm_unpackhi_pd(x, x))));
}
#ifdef __AVX2__
template <class F>
FOVEA_INLINE float fold_register(__m256 x, const F& f) {
  using Half = xsimd::batch<float, xsimd::sse2>;
  return fold_register(
      __m128(f(Half(_mm256_castps256_ps128(x)), Half(_mm256_extractf128_ps(x, 1)))), f);
}
template <class F>
FOVEA_INLINE double fold_register(__m256d x, const F& f) {
  using Half = xsimd::batch<double, xsimd::sse2>;
  return fold_register(
      __m128d(f(Half(_mm256_castpd256_pd128(x)), Half(_mm256_extractf128_pd(x, 1)))), f);
}
#endif
#ifdef __AVX512F__
template <class F>
FOVEA_INLINE float fold_register(__m512 x, const F& f) {
  using Half = xsimd::batch<float, xsimd::avx2>;
  return fold_register(
      __m256(f(Half(_mm512_castps512_ps256(x)), Half(_mm512_extractf32x8_ps(x, 1)))), f);
}
template <class F>
FOVEA_INLINE double fold_register(__m512d x, const F& f) {
  using Half = xsimd::batch<double, xsimd::avx2>;
  return fold_register(
      __m256d(f(Half(_mm512_castpd512_pd256(x)), Half(_mm512_extractf64x4_pd(x, 1)))), f);
}
#endif
#endif

// ((l0 + l8) + (l4 + l12)) + …: halves are folded until one lane is left.
template <class T, class F>
FOVEA_INLINE T fold_lanes(Vec<T> x, const F& f) {
#pragma GCC unroll 4
  for (int n = Vec<T>::kRegisters / 2; n > 0; n /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) x.r[i] = f(x.r[i], x.r[i + n]);
  }
#ifdef FOVEA_ISA_ARCH
  return fold_register(x.r[0].data, f);
#else
  return x.r[0];
#endif
}
template <class T>
FOVEA_INLINE T sum_lanes(const Vec<T>& x) {
  return fold_lanes(x, [](const auto& a, const auto& b) { return a + b; });
}
template <class T>
FOVEA_INLINE T max_lanes(const Vec<T>& x) {
  return fold_lanes(x, [](const auto& a, const auto& b) {
#ifdef FOVEA_ISA_ARCH
    return xsimd::max(a, b);
#else
    return a > b ? a : b;
#endif
  });
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
