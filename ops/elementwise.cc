#include "fovea/ops/elementwise.h"

#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/map_kernel.h"
#include "fovea/ops/samples.h"

namespace fovea {

// ∂(a^b)/∂a = b a^(b-1), ∂(a^b)/∂b = a^b log a. What would be 0 · inf is 0, and is replaced before
// it is computed, so that second derivatives do not meet it either.
AB<Expr> Pow::derivative(const Expr& a, const Expr& b, const Expr& y) const {
  const double tiny =
      a.dtype() == f32 ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min();
  const Expr constant_at_0 = logical_and(equal(b, 0), less(abs(a), tiny));
  const Expr power = pow(a, where(constant_at_0, 1, b) - 1);
  const Expr flat = logical_and(equal(a, 0), greater_equal(b, 0));
  return {where(constant_at_0, 0, b * power), where(flat, 0, y * log(where(flat, 1, a)))};
}

Scale::In<Expr> Scale::vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
  return {scale(d.y, *this)};
}

namespace {

struct ExpMap {
  template <class T>
  static void map(std::int64_t n, const T* x, T* y) {
    detail::functions<T>().exp(n, x, y);
  }
};

}  // namespace

TileKernel Exp::tile_kernel(std::span<const DType> in) const {
  return detail::map_kernel<ExpMap>(in[0]);
}

Expr Sin::derivative(const Expr& x, const Expr&) const { return cos(x); }
Expr Cos::derivative(const Expr& x, const Expr&) const { return -sin(x); }

FOVEA_SAMPLES(Add, integer_binary_samples<Add>(), binary_rejects)
FOVEA_SAMPLES(Sub, integer_binary_samples<Sub>(), binary_rejects)
FOVEA_SAMPLES(Mul, integer_binary_samples<Mul>(), binary_rejects)
FOVEA_SAMPLES(Div, binary_samples<Div>(), binary_rejects)
FOVEA_SAMPLES(Maximum, integer_binary_samples<Maximum>(), binary_rejects)
FOVEA_SAMPLES(Minimum, integer_binary_samples<Minimum>(), binary_rejects)
FOVEA_SAMPLES(Neg, integer_unary_samples<Neg>(), unary_rejects)
FOVEA_SAMPLES(Abs, integer_unary_samples<Abs>(), unary_rejects)
FOVEA_SAMPLES(Square, integer_unary_samples<Square>(), unary_rejects)
FOVEA_SAMPLES(Reciprocal, unary_samples<Reciprocal>(0.2, 3), unary_rejects)
FOVEA_SAMPLES(Sqrt, unary_samples<Sqrt>(0.2, 3), unary_rejects)
FOVEA_SAMPLES(Rsqrt, unary_samples<Rsqrt>(0.2, 3), unary_rejects)
FOVEA_SAMPLES(Exp, unary_samples<Exp>(), unary_rejects)
FOVEA_SAMPLES(Log, unary_samples<Log>(0.2, 3), unary_rejects)
FOVEA_SAMPLES(Sin, unary_samples<Sin>(), unary_rejects)
FOVEA_SAMPLES(Cos, unary_samples<Cos>(), unary_rejects)

std::vector<Sample<Pow>> Pow::samples() {
  return {{{}, {arg::uniform({2, 3}, 0.2, 3), arg::uniform({2, 3}, -2, 3)}},
          {{}, {arg::uniform({4, 1, 3}, 0.2, 3), arg::uniform({2, 1}, -2, 3)}, "both broadcast"},
          {{}, {arg::values({0, 0, 2, 3}, {4}), arg::values({4, 3, 1, 0}, {4})}, "bases of 0"},
          {{}, {arg::uniform({0, 3}, 0.2, 3), arg::normal({})}, "nothing"}};
}
std::vector<Reject<Pow>> Pow::rejects() { return detail::binary_rejects<Pow>(); }

std::vector<Sample<Scale>> Scale::samples() {
  return {{{.factor = -2.5}, {arg::normal({2, 3})}},
          {{}, {arg::normal({})}},
          {{.factor = 0}, {arg::normal({5})}},
          {{.factor = 0.1}, {arg::normal({0, 4})}, "nothing"}};
}
std::vector<Reject<Scale>> Scale::rejects() {
  return {{{}, {arg::integers({2}, 0, 3)}, "i64; f32 or f64 is required"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Add);
FOVEA_DEFINE_OP(fovea::Sub);
FOVEA_DEFINE_OP(fovea::Mul);
FOVEA_DEFINE_OP(fovea::Div);
FOVEA_DEFINE_OP(fovea::Pow);
FOVEA_DEFINE_OP(fovea::Maximum);
FOVEA_DEFINE_OP(fovea::Minimum);
FOVEA_DEFINE_OP(fovea::Neg);
FOVEA_DEFINE_OP(fovea::Abs);
FOVEA_DEFINE_OP(fovea::Square);
FOVEA_DEFINE_OP(fovea::Reciprocal);
FOVEA_DEFINE_OP(fovea::Sqrt);
FOVEA_DEFINE_OP(fovea::Rsqrt);
FOVEA_DEFINE_OP(fovea::Scale);
FOVEA_DEFINE_OP(fovea::Exp);
FOVEA_DEFINE_OP(fovea::Log);
FOVEA_DEFINE_OP(fovea::Sin);
FOVEA_DEFINE_OP(fovea::Cos);
