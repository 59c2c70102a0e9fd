#include "fovea/ops/pad.h"

#include <algorithm>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/walk.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::int64_t width(const std::vector<Extent>& widths, std::int64_t axis) {
  return widths.empty() ? 0 : widths[static_cast<std::size_t>(axis)].value();
}

void check_widths(std::string_view which, const std::vector<Extent>& widths, const Shape& x) {
  if (!widths.empty() && static_cast<std::int64_t>(widths.size()) != x.rank()) {
    fail(Pad::name,
         "{} [{}] for x {}: {} entries at rank {}; one for each axis, or none, is required", which,
         fmt::join(widths, ", "), x, widths.size(), x.rank());
  }
  for (const Extent& extent : widths) {
    if (extent < 0)
      fail(Pad::name, "{} holds {}; 0 or more is required (see slice)", which, extent);
  }
}

}  // namespace

Y<TensorSpec> Pad::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  check_widths("before", before, x);
  check_widths("after", after, x);
  const bool fits = in.x.dtype == boolean ? value == 0 || value == 1
                    : in.x.dtype == i64
                        ? value >= -0x1p63 && value < 0x1p63 &&
                              static_cast<double>(static_cast<std::int64_t>(value)) == value
                        : true;
  if (!fits)
    fail(name, "value {} for an x that is {}; one of its numbers is required", value, in.x.dtype);
  std::vector<Extent> extents;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    const std::int64_t front = width(before, axis), back = width(after, axis);
    std::int64_t extent = 0;
    if (__builtin_add_overflow(x[axis].value(), front, &extent) ||
        __builtin_add_overflow(extent, back, &extent)) {
      fail(name, "axis {} of x {} would pass 63 bits", axis, x);
    }
    extents.push_back(front + back == 0 ? x[axis] : Extent(extent));
  }
  return {{in.x.dtype, Shape(std::move(extents))}};
}

void Pad::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  const Tensor &x = in.x, &y = out.y;
  const Walk<2> walk(x.shape(), {x.strides(), y.strides()});
  std::int64_t start = 0;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    start += width(before, axis) * y.strides()[static_cast<std::size_t>(axis)];
  }
  visit_dtype(x.dtype(), [&]<class T>(std::type_identity<T>) {
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    std::fill_n(to, y.numel(), static_cast<T>(value));
    walk.visit(0, walk.positions(), [&](const auto& offset, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        to[start + offset[1] + i * walk.step(1)] = from[offset[0] + i * walk.step(0)];
      }
    });
  });
}

Pad::In<Expr> Pad::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  Expr dx = d.y;
  for (std::int64_t axis = 0; axis < in.x.rank(); ++axis) {
    const std::int64_t front = width(before, axis);
    if (dx.shape()[axis] == in.x.shape()[axis]) continue;
    dx = slice(dx, {.axis = axis, .start = front, .end = front + in.x.shape()[axis]});
  }
  return {dx};
}

Y<Expr> Pad::decomposition(const In<Expr>& in) const {
  Expr y = in.x;
  const auto border = [&](std::int64_t axis, std::int64_t extent) {
    const Shape shape = y.shape().with(axis, extent);
    return broadcast_to(constant(y.dtype(), value), {.shape = {shape.begin(), shape.end()}});
  };
  for (std::int64_t axis = 0; axis < in.x.rank(); ++axis) {
    y = concat({border(axis, width(before, axis)), y, border(axis, width(after, axis))},
               {.axis = axis});
  }
  return {y};
}

std::vector<Sample<Pad>> Pad::samples() {
  return {{{.before = {1, 0}, .after = {0, 2}}, {arg::normal({2, 3})}},
          {{.before = {0, 1, 2}, .value = -1.5}, {arg::normal({2, 3, 1})}, "in front alone"},
          {{.after = {3}, .value = std::numeric_limits<double>::infinity()}, {arg::normal({4})}},
          {{.before = {1, 1}, .after = {1, 1}}, {arg::normal({0, 2})}, "around nothing"},
          {{}, {arg::normal({})}, "a scalar"},
          {{.after = {1, 1}, .value = 7}, {arg::integers({2, 2}, -9, 9)}, "i64"},
          {{.before = {2}, .value = 1}, {arg::bernoulli({3})}, "bool"}};
}

std::vector<Reject<Pad>> Pad::rejects() {
  return {{{.before = {1}}, {arg::normal({2, 3})}, "before [1] for x (2, 3): 1 entries at rank 2"},
          {{.after = {1, -1}}, {arg::normal({2, 3})}, "after holds -1"},
          {{.value = 0.5}, {arg::integers({2}, 0, 3)}, "value 0.5 for an x that is i64"},
          {{.value = 2}, {arg::bernoulli({2})}, "value 2 for an x that is bool"},
          {{.before = {std::numeric_limits<std::int64_t>::max()}},
           {arg::normal({2})},
           "would pass 63 bits"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Pad);
