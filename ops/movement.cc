#include "fovea/ops/movement.h"

#include <algorithm>
#include <numeric>

#include "fovea/ops/define.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/strided.h"

namespace fovea {

namespace {

std::vector<Extent> extents_of(const Expr& x) { return {x.shape().begin(), x.shape().end()}; }

// `(4, -1)`: extents that are not a shape yet.
std::string text_of(const std::vector<Extent>& extents) {
  std::string text;
  for (const Extent& extent : extents) text += format("{}{}", text.empty() ? "" : ", ", extent);
  return "(" + text + ")";
}

// Which axis of x each axis of the result is.
std::vector<std::int64_t> order_of(const Transpose& op, const Shape& x) {
  std::vector<std::int64_t> order;
  if (op.perm.empty()) {
    for (std::int64_t axis = x.rank(); axis-- > 0;) order.push_back(axis);
    return order;
  }
  const auto refuse = [&](std::string_view what) {
    fail(op.name, "perm [{}] for x {}: {}; each axis exactly once is required",
         fmt::join(op.perm, ", "), x, what);
  };
  if (static_cast<std::int64_t>(op.perm.size()) != x.rank()) {
    refuse(format("{} entries at rank {}", op.perm.size(), x.rank()));
  }
  for (std::int64_t axis : op.perm) {
    if (axis < -x.rank() || axis >= x.rank()) refuse(format("there is no axis {}", axis));
    order.push_back(axis < 0 ? axis + x.rank() : axis);
    if (std::ranges::count(order, order.back()) > 1) refuse(format("axis {} stands twice", axis));
  }
  return order;
}

}  // namespace

Y<TensorSpec> Transpose::infer(const In<TensorSpec>& in) const {
  std::vector<Extent> extents;
  for (std::int64_t axis : order_of(*this, in.x.shape)) extents.push_back(in.x.shape[axis]);
  return {{in.x.dtype, Shape(std::move(extents))}};
}

Tensor Transpose::view(const Tensor& x) const { return x.transpose(order_of(*this, x.shape())); }

Transpose::In<Expr> Transpose::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const std::vector<std::int64_t> order = order_of(*this, in.x.shape());
  Transpose inverse{.perm = order};
  for (std::size_t i = 0; i < order.size(); ++i) {
    inverse.perm[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  }
  return {transpose(d.y, inverse)};
}

std::vector<Sample<Transpose>> Transpose::samples() {
  return {{{}, {arg::normal({2, 3, 4})}, "reversed"},
          {{.perm = {2, 0, 1}}, {arg::normal({2, 3, 4})}},
          {{.perm = {0, -1, -2}}, {arg::normal({2, 1, 5})}, "negative axes"},
          {{}, {arg::normal({})}},
          {{.perm = {1, 0}}, {arg::normal({0, 3})}, "nothing"},
          {{}, {arg::integers({2, 3}, 0, 9)}, "i64"},
          {{}, {arg::bernoulli({2, 3})}, "bool"}};
}

std::vector<Reject<Transpose>> Transpose::rejects() {
  return {{{.perm = {0, 0}}, {arg::normal({2, 3})}, "axis 0 stands twice"},
          {{.perm = {0, 2}}, {arg::normal({2, 3})}, "there is no axis 2"},
          {{.perm = {0}}, {arg::normal({2, 3})}, "1 entries at rank 2"},
          {{.perm = {1, -1}}, {arg::normal({2, 3})}, "axis -1 stands twice"}};
}

Y<TensorSpec> Reshape::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  std::vector<Extent> extents = shape;
  std::int64_t known = 1;
  // An expression of dims that comes to -1 is a mistake, not the rest.
  const auto rest = std::ranges::find_if(
      extents, [](const Extent& extent) { return extent == -1 && extent.name().empty(); });
  for (auto at = extents.begin(); at != extents.end(); ++at) {
    if (*at < -1 || (*at == -1 && at != rest)) {
      fail(name, "{} to {}: extent {}; extents are 0 or more, but one may be -1", x, text_of(shape),
           *at == -1 && rest != extents.end() ? "-1 twice" : format("{}", *at));
    }
    if (at != rest) known = checked_product(name, known, *at);
  }
  if (rest != extents.end()) {
    if (known == 0 || x.numel() % known != 0) {
      fail(name, "{} to {}: {} elements; a multiple of {} is required for -1", x, text_of(shape),
           x.numel(), known);
    }
    *rest = x.numel() / known;
  } else if (known != x.numel()) {
    fail(name, "{} to {}: {} and {} elements; the numbers must be equal", x, text_of(shape),
         x.numel(), known);
  }
  return {{in.x.dtype, Shape(std::move(extents))}};
}

Tensor Reshape::view(const Tensor& x) const {
  return x.reshape_view(infer({spec_of(x)}).y.shape).value_or(Tensor());
}

Reshape::In<Expr> Reshape::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {reshape(d.y, {.shape = extents_of(in.x)})};
}

std::vector<Sample<Reshape>> Reshape::samples() {
  return {{{.shape = {3, 4}}, {arg::normal({2, 6})}},
          {{.shape = {2, -1, 1}}, {arg::normal({2, 3, 2})}, "the rest"},
          {{.shape = {}}, {arg::normal({1, 1})}, "to a scalar"},
          {{.shape = {1, -1}}, {arg::normal({})}},
          {{.shape = {5, 0}}, {arg::normal({0, 4})}, "nothing"},
          {{.shape = {-1}}, {arg::integers({2, 3}, 0, 9)}, "i64"},
          {{.shape = {6}}, {arg::bernoulli({2, 3})}, "bool"}};
}

std::vector<Reject<Reshape>> Reshape::rejects() {
  return {{{.shape = {4}}, {arg::normal({2, 3})}, "6 and 4 elements"},
          {{.shape = {4, -1}}, {arg::normal({2, 3})}, "a multiple of 4 is required"},
          {{.shape = {0, -1}}, {arg::normal({0, 3})}, "a multiple of 0 is required"},
          {{.shape = {-1, -1}}, {arg::normal({2, 3})}, "-1 twice"},
          {{.shape = {3, -2}}, {arg::normal({2, 3})}, "extent -2"}};
}

Y<TensorSpec> BroadcastTo::infer(const In<TensorSpec>& in) const {
  for (const Extent& extent : shape) {
    if (extent < 0)
      fail(name, "shape {}: extent {}; extents are 0 or more", text_of(shape), extent);
  }
  const Shape to(shape);
  if (!broadcasts_to(in.x.shape, to)) {
    fail(name, "{} to {}; aligned to the right, extents must be equal or 1", in.x.shape, to);
  }
  return {{in.x.dtype, to}};
}

Tensor BroadcastTo::view(const Tensor& x) const { return x.broadcast_to(Shape(shape)); }

// Every element of x went to all of its copies: their gradients are summed.
BroadcastTo::In<Expr> BroadcastTo::vjp(const In<Expr>& in, const Out<Expr>&,
                                       const Out<Expr>& d) const {
  const Shape &from = in.x.shape(), &to = d.y.shape();
  const std::int64_t added = to.rank() - from.rank();
  std::vector<std::int64_t> axes;
  for (std::int64_t axis = 0; axis < to.rank(); ++axis) {
    if (axis < added || from[axis - added] != to[axis]) axes.push_back(axis);
  }
  if (axes.empty()) return {d.y};
  const Expr total = sum(d.y, {.axes = Axes(std::move(axes)), .keep_dims = true});
  return {added == 0 ? total : reshape(total, {.shape = extents_of(in.x)})};
}

std::vector<Sample<BroadcastTo>> BroadcastTo::samples() {
  return {{{.shape = {4, 2, 3}}, {arg::normal({2, 1})}},
          {{.shape = {2, 3}}, {arg::normal({2, 3})}, "the same shape"},
          {{.shape = {2, 2}}, {arg::normal({})}, "a scalar"},
          {{.shape = {0, 3}}, {arg::normal({1, 3})}, "to nothing"},
          {{.shape = {2, 3}}, {arg::integers({3}, 0, 9)}, "i64"},
          {{.shape = {2, 1}}, {arg::bernoulli({1, 1})}, "bool"}};
}

std::vector<Reject<BroadcastTo>> BroadcastTo::rejects() {
  return {{{.shape = {2, 3}}, {arg::normal({2})}, "must be equal or 1"},
          {{.shape = {3}}, {arg::normal({1, 3})}, "must be equal or 1"},
          {{.shape = {-1, 3}}, {arg::normal({3})}, "extent -1"}};
}

Y<TensorSpec> Slice::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  const SliceRange range = slice_range(name, x[at], start, end, step);
  return {{in.x.dtype, x.with(at, range.count == x[at] ? x[at] : Extent(range.count))}};
}

Tensor Slice::view(const Tensor& x) const { return x.slice(axis, start, end, step); }

Slice::In<Expr> Slice::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {unslice(
      d.y, {.axis = axis, .extent = in.x.shape()[axis], .start = start, .end = end, .step = step})};
}

std::vector<Sample<Slice>> Slice::samples() {
  return {{{.start = 1, .end = 3}, {arg::normal({4, 3})}},
          {{.axis = -1, .start = -3, .step = 2}, {arg::normal({2, 5})}},
          {{.axis = 1, .step = -1}, {arg::normal({2, 5})}, "reversed"},
          {{.axis = 1, .start = 3, .end = 0, .step = -2}, {arg::normal({2, 5})}},
          {{.start = 7}, {arg::normal({4, 3})}, "clipped to nothing"},
          {{.end = 100}, {arg::integers({4, 1}, 0, 9)}, "i64, clipped to all"},
          {{.start = 1}, {arg::bernoulli({3})}, "bool"}};
}

std::vector<Reject<Slice>> Slice::rejects() {
  return {{{.axis = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{.step = 0}, {arg::normal({2, 3})}, "step 0"},
          {{}, {arg::normal({})}, "a scalar has no axes"}};
}

Y<TensorSpec> Select::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  if (index < -x[at] || index >= x[at]) {
    fail(name, "index {} at axis {} of x {}; {}", index, axis, x,
         x[at] == 0 ? "there is nothing to select"
                    : format("{} to {} are required", -x[at].value(), x[at].value() - 1));
  }
  return {{in.x.dtype, x.without(at)}};
}

Tensor Select::view(const Tensor& x) const { return x.select(axis, index); }

Select::In<Expr> Select::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Extent& extent = in.x.shape()[at];
  const std::int64_t position = index < 0 ? index + extent.value() : index;
  std::vector<Extent> extents = extents_of(d.y);
  extents.insert(extents.begin() + at, 1);
  return {unslice(reshape(d.y, {.shape = std::move(extents)}),
                  {.axis = at, .extent = extent, .start = position, .end = position + 1})};
}

std::vector<Sample<Select>> Select::samples() {
  return {{{}, {arg::normal({2, 3})}},
          {{.axis = 1, .index = -1}, {arg::normal({2, 3, 4})}},
          {{.axis = -1, .index = 1}, {arg::normal({2, 3})}},
          {{}, {arg::normal({1})}, "to a scalar"},
          {{.axis = 1, .index = 2}, {arg::normal({0, 3})}, "nothing"},
          {{.index = 1}, {arg::integers({2, 3}, 0, 9)}, "i64"},
          {{.index = 1}, {arg::bernoulli({2, 3})}, "bool"}};
}

std::vector<Reject<Select>> Select::rejects() {
  return {{{.axis = 1, .index = 3}, {arg::normal({2, 3})}, "-3 to 2 are required"},
          {{.axis = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{}, {arg::normal({0, 3})}, "there is nothing to select"},
          {{}, {arg::normal({})}, "a scalar has no axes"}};
}

Expr swap_last_axes(const Expr& x, std::source_location at) {
  if (x.rank() < 2) fail("transpose", "{} has no last two axes; rank 2 is required", x.shape());
  std::vector<std::int64_t> perm(static_cast<std::size_t>(x.rank()));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return transpose(x, {.perm = perm}, at);
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Transpose);
FOVEA_DEFINE_OP(fovea::Reshape);
FOVEA_DEFINE_OP(fovea::BroadcastTo);
FOVEA_DEFINE_OP(fovea::Slice);
FOVEA_DEFINE_OP(fovea::Select);
