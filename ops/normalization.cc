#include "fovea/ops/normalization.h"

#include <cmath>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

// In: of either norm; their members are the same.
template <class In>
TensorSpec infer_norm(std::string_view where, const In& in, double eps) {
  const Shape& x = in.x.shape;
  detail::infer_elementwise(where, Domain::floats, in.x);
  const std::int64_t axis = normalize_axis(where, -1, x.rank());
  const auto require = [&](std::string_view slot, const std::optional<TensorSpec>& factor) {
    if (!factor || *factor == TensorSpec{in.x.dtype, Shape({x[axis]})}) return;
    fail(where, "{} is {} and x {}; {} ({},), as wide as x's last axis, is required", slot,
         to_string(*factor), to_string(in.x), in.x.dtype, x[axis]);
  };
  require("weight", in.weight);
  require("bias", in.bias);
  if (!(eps >= 0) || std::isinf(eps)) {
    fail(where, "eps {}; a finite number, 0 or more, is required", eps);
  }
  return in.x;
}

// centred / sqrt(mean centred² + eps) · weight + bias
template <class In>
Expr scaled(const Expr& centred, const In& in, double eps) {
  Expr y = centred * rsqrt(mean(square(centred), {.axes = -1, .keep_dims = true}) + eps);
  if (in.weight) y = y * *in.weight;
  return in.bias ? y + *in.bias : y;
}

}  // namespace

Y<TensorSpec> LayerNorm::infer(const In<TensorSpec>& in) const {
  return {infer_norm(name, in, eps)};
}

Y<Expr> LayerNorm::decomposition(const In<Expr>& in) const {
  return {scaled(in.x - mean(in.x, {.axes = -1, .keep_dims = true}), in, eps)};
}

Y<TensorSpec> RmsNorm::infer(const In<TensorSpec>& in) const { return {infer_norm(name, in, eps)}; }

Y<Expr> RmsNorm::decomposition(const In<Expr>& in) const { return {scaled(in.x, in, eps)}; }

namespace {

template <class Op>
std::vector<Sample<Op>> norm_samples() {
  return {{{}, {arg::normal({2, 3, 5}), {}, {}}},
          {{}, {arg::normal({3, 17}), arg::normal({17}), arg::normal({17})}, "weight and bias"},
          {{.eps = 0.5}, {arg::normal({4}), arg::normal({4}), {}}, "weight alone, a large eps"},
          {{.eps = 1e-3}, {arg::normal({2, 4}), {}, arg::normal({4})}, "bias alone"},
          {{}, {arg::normal({1, 1}), arg::normal({1}), arg::normal({1})}, "one element each"},
          {{}, {arg::normal({0, 3}), arg::normal({3}), arg::normal({3})}, "no rows"},
          {{}, {arg::normal({2, 0}), arg::normal({0}), {}}, "empty rows"}};
}

template <class Op>
std::vector<Reject<Op>> norm_rejects() {
  return {{{},
           {arg::normal({2, 3}), arg::normal({2}), {}},
           "weight is f64 (2,) and x f64 (2, 3); f64 (3,), as wide as x's last axis, is required"},
          {{}, {arg::normal({2, 3}), arg::normal({3}), arg::normal({1, 3})}, "bias is f64 (1, 3)"},
          {{}, {arg::normal({2, 3}), arg::integers({3}, 0, 3), {}}, "weight is i64 (3,)"},
          {{.eps = -1}, {arg::normal({2, 3}), {}, {}}, "eps -1"},
          {{.eps = std::nan("")}, {arg::normal({2, 3}), {}, {}}, "eps nan"},
          {{}, {arg::normal({}), {}, {}}, "a scalar has no axes"},
          {{}, {arg::integers({2, 3}, 0, 9), {}, {}}, "f32 or f64 is required"}};
}

}  // namespace

std::vector<Sample<LayerNorm>> LayerNorm::samples() {
  std::vector<Sample<LayerNorm>> all = norm_samples<LayerNorm>();
  all.push_back({{}, {arg::uniform({2, 5}, 100, 101), {}, {}}, "far from 0"});
  return all;
}
std::vector<Reject<LayerNorm>> LayerNorm::rejects() { return norm_rejects<LayerNorm>(); }

std::vector<Sample<RmsNorm>> RmsNorm::samples() { return norm_samples<RmsNorm>(); }
std::vector<Reject<RmsNorm>> RmsNorm::rejects() { return norm_rejects<RmsNorm>(); }

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::LayerNorm);
FOVEA_DEFINE_OP(fovea::RmsNorm);
