#include "fovea/ops/clip.h"

#include <cmath>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

void check_bound(std::string_view which, const std::optional<double>& bound, DType dtype) {
  if (!bound) return;
  if (std::isnan(*bound)) fail(Clip::name, "{} is NaN; a number is required", which);
  // 2^63 is the first double beyond i64.
  const bool fits = *bound >= -0x1p63 && *bound < 0x1p63 && std::trunc(*bound) == *bound;
  if (dtype == i64 && !fits) {
    fail(Clip::name, "{} is {} for an x that is i64; an integer is required", which, *bound);
  }
}

}  // namespace

Y<TensorSpec> Clip::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::numbers, in.x);
  if (!min && !max) fail(name, "neither min nor max; at least one of them is required");
  check_bound("min", min, in.x.dtype);
  check_bound("max", max, in.x.dtype);
  if (min && max && *min > *max) {
    fail(name, "min {} and max {}; min must not be the larger", *min, *max);
  }
  return {in.x};
}

Clip::In<Expr> Clip::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  Expr dx = d.y;
  if (min) dx = where(greater_equal(in.x, *min), dx, 0);
  if (max) dx = where(less_equal(in.x, *max), dx, 0);
  return {dx};
}

Y<Expr> Clip::jvp(const In<Expr>& in, const Out<Expr>&, const In<Expr>& t) const {
  return {detail::apply_tangent<Clip, 2>(*this, {in.x, t.x})};
}

std::vector<Sample<Clip>> Clip::samples() {
  return {{{.min = -0.6, .max = 0.7}, {arg::spread({2, 3})}},
          {{.min = 0.1}, {arg::spread({7})}, "from below alone"},
          {{.max = -0.2}, {arg::spread({7})}, "from above alone"},
          {{.min = 5, .max = 5}, {arg::spread({})}, "to one number"},
          {{.min = 0, .max = std::numeric_limits<double>::infinity()},
           {arg::values({-1, 2, std::nan("")}, {3})},
           "NaN stays"},
          {{.max = 1}, {arg::normal({0, 4})}, "nothing"},
          {{.min = -2, .max = 3}, {arg::integers({4, 5}, -9, 9)}, "i64"}};
}

std::vector<Reject<Clip>> Clip::rejects() {
  return {{{}, {arg::normal({2})}, "neither min nor max"},
          {{.min = 2, .max = 1}, {arg::normal({2})}, "min 2 and max 1"},
          {{.min = std::nan("")}, {arg::normal({2})}, "min is NaN"},
          {{.max = 0.5}, {arg::integers({2}, 0, 3)}, "max is 0.5 for an x that is i64"},
          {{.min = -1e30}, {arg::integers({2}, 0, 3)}, "an integer is required"},
          {{.min = 0}, {arg::bernoulli({2})}, "bool"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Clip);
