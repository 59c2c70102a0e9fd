#include "fovea/ops/softmax.h"

#include <algorithm>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/kernels/rows.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reduce.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/row_view.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows that are not contiguous are copied, so many at a time.
std::int64_t rows_at_once(const RowView& view) {
  constexpr std::int64_t kElements = 65536;
  return std::clamp<std::int64_t>(kElements / std::max<std::int64_t>(1, view.length()), 1,
                                  std::max<std::int64_t>(1, view.rows()));
}

std::size_t copy_bytes(const RowView& view, std::size_t item) {
  return (static_cast<std::size_t>(rows_at_once(view) * view.length()) * item + 63) / 64 * 64;
}

// Calls body(first row, number of rows, copy of these rows) for all rows, in parallel.
template <class T, class Body>
void for_each_copy(Context& context, const RowView& view, const T* x, const Body& body) {
  const std::int64_t most = rows_at_once(view);
  const std::size_t bytes = copy_bytes(view, sizeof(T));
  std::byte* scratch = context.scratch(static_cast<std::size_t>(num_threads()) * bytes);
  parallel_for((view.rows() + most - 1) / most, [&](std::int64_t task, int slot) {
    auto* copy = reinterpret_cast<T*>(scratch + static_cast<std::size_t>(slot) * bytes);
    const std::int64_t first = task * most, count = std::min(most, view.rows() - first);
    view.gather(x, first, count, 0, view.length(), copy);
    body(first, count, copy);
  });
}

template <class T>
using RowsKernel = void (*)(const kernels::RowsProblem<T>&);

// A row of y for each row of x.
template <class T>
void map_rows(Context& context, const Tensor& x, const Tensor& y, AxisMask along,
              RowsKernel<T> kernel) {
  const RowView from(x.shape(), x.strides(), along), to(y.shape(), y.strides(), along);
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  const std::int64_t length = from.length();
  if (from.dense() && from.even() && to.dense() && to.even()) {
    return kernel({from.rows(), length, in, from.row_stride(), out, to.row_stride()});
  }
  for_each_copy<T>(context, from, in, [&](std::int64_t first, std::int64_t count, T* copy) {
    kernel({count, length, copy, length, copy, length});
    to.scatter(copy, first, count, 0, length, out);
  });
}

// An element of y for each row of x.
template <class T>
void reduce_rows(Context& context, const Tensor& x, const Tensor& y, AxisMask along,
                 RowsKernel<T> kernel) {
  const RowView from(x.shape(), x.strides(), along);
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  const std::int64_t length = from.length();
  if (length == 0) {  // rows of nothing, at no address
    std::fill_n(out, from.rows(), static_cast<T>(-kInfinity));
    return;
  }
  if (from.dense() && from.even()) {
    return kernel({from.rows(), length, in, from.row_stride(), out, 1});
  }
  for_each_copy<T>(context, from, in, [&](std::int64_t first, std::int64_t count, T* copy) {
    kernel({count, length, copy, length, out + first, 1});
  });
}

std::size_t workspace_of(const TensorSpec& x, AxisMask along) {
  const RowView view(x.shape, contiguous_strides(x.shape), along);
  return static_cast<std::size_t>(num_threads()) * copy_bytes(view, size_of(x.dtype));
}

TensorSpec infer_along(std::string_view where, const TensorSpec& x, std::int64_t axis) {
  detail::infer_elementwise(where, Domain::floats, x);
  axis_mask(where, axis, x.shape.rank());
  return x;
}

// max x, or 0 where that is -inf: what can be subtracted from any row.
Expr shift_of(const Expr& max) { return where(equal(max, -kInfinity), 0, max); }

// Nothing but -inf adds up to 0, which is neither divided by nor has a logarithm.
Expr not_zero(const Expr& sum) { return where(equal(sum, 0), 1, sum); }

}  // namespace

Y<TensorSpec> Softmax::infer(const In<TensorSpec>& in) const {
  return {infer_along(name, in.x, axis)};
}
std::size_t Softmax::workspace(const In<TensorSpec>& in) const {
  return workspace_of(in.x, axis_mask(name, axis, in.x.shape.rank()));
}
void Softmax::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  const AxisMask along = axis_mask(name, axis, in.x.rank());
  if (in.x.dtype() == f32) {
    map_rows<float>(context, in.x, out.y, along, kernels::softmax_rows<float>);
  } else {
    map_rows<double>(context, in.x, out.y, along, kernels::softmax_rows<double>);
  }
}

// dx = y (dy - Σ dy y)
Softmax::In<Expr> Softmax::vjp(const In<Expr>&, const Out<Expr>& out, const Out<Expr>& d) const {
  return {out.y * (d.y - sum(d.y * out.y, {.axes = axis, .keep_dims = true}))};
}

Y<Expr> Softmax::decomposition(const In<Expr>& in) const {
  if (in.x.shape()[axis] == 0) return {exp(in.x)};
  const Expr e = exp(in.x - shift_of(max(in.x, {.axes = axis, .keep_dims = true})));
  return {e / not_zero(sum(e, {.axes = axis, .keep_dims = true}))};
}

Y<TensorSpec> LogSoftmax::infer(const In<TensorSpec>& in) const {
  return {infer_along(name, in.x, axis)};
}
std::size_t LogSoftmax::workspace(const In<TensorSpec>& in) const {
  return workspace_of(in.x, axis_mask(name, axis, in.x.shape.rank()));
}
void LogSoftmax::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  const AxisMask along = axis_mask(name, axis, in.x.rank());
  if (in.x.dtype() == f32) {
    map_rows<float>(context, in.x, out.y, along, kernels::log_softmax_rows<float>);
  } else {
    map_rows<double>(context, in.x, out.y, along, kernels::log_softmax_rows<double>);
  }
}

// dx = dy - exp(y) Σ dy; a row of -inf does not move.
LogSoftmax::In<Expr> LogSoftmax::vjp(const In<Expr>&, const Out<Expr>& out,
                                     const Out<Expr>& d) const {
  if (d.y.shape()[axis] == 0) return {d.y};
  const Expr dead = equal(max(out.y, {.axes = axis, .keep_dims = true}), -kInfinity);
  const Expr dx = d.y - exp(out.y) * sum(d.y, {.axes = axis, .keep_dims = true});
  return {where(dead, 0, dx)};
}

Y<Expr> LogSoftmax::decomposition(const In<Expr>& in) const {
  if (in.x.shape()[axis] == 0) return {exp(in.x)};
  const Expr most = max(in.x, {.axes = axis, .keep_dims = true});
  const Expr rest = in.x - shift_of(most);
  const Expr total = sum(exp(rest), {.axes = axis, .keep_dims = true});
  return {where(equal(most, -kInfinity), -kInfinity, rest - log(not_zero(total)))};
}

Y<TensorSpec> LogSumExp::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::floats, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t LogSumExp::workspace(const In<TensorSpec>& in) const {
  return workspace_of(in.x, axis_mask(name, axes, in.x.shape.rank()));
}
void LogSumExp::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  const AxisMask along = axis_mask(name, axes, in.x.rank());
  if (in.x.dtype() == f32) {
    reduce_rows<float>(context, in.x, out.y, along, kernels::logsumexp_rows<float>);
  } else {
    reduce_rows<double>(context, in.x, out.y, along, kernels::logsumexp_rows<double>);
  }
}

// dx = exp(x - y) dy
LogSumExp::In<Expr> LogSumExp::vjp(const In<Expr>& in, const Out<Expr>& out,
                                   const Out<Expr>& d) const {
  const Expr y = detail::unreduce(out.y, in.x, axes, keep_dims);
  return {exp(in.x - shift_of(y)) * detail::unreduce(d.y, in.x, axes, keep_dims)};
}

Y<Expr> LogSumExp::decomposition(const In<Expr>& in) const {
  const bool empty = detail::reduced_count(in.x.shape(), axes) == 0;
  if (empty) return {log(sum(exp(in.x), {.axes = axes, .keep_dims = keep_dims}))};
  const Expr most = max(in.x, {.axes = axes, .keep_dims = true});
  const Expr shift = where(isfinite(most), most, 0);
  const Expr total = sum(exp(in.x - shift), {.axes = axes, .keep_dims = true});
  const Expr y = where(equal(total, 0), -kInfinity, log(not_zero(total)) + shift);
  if (keep_dims) return {y};
  const Shape shape = detail::reduced_shape(name, in.x.shape(), axes, false);
  return {reshape(y, {.shape = {shape.begin(), shape.end()}})};
}

namespace {

// A row of probabilities, one with a hidden element, one of nothing.
Arg rows_with_infinity() {
  return arg::values({0.5, -1, 2, -kInfinity, 1, 0, -kInfinity, -kInfinity, -kInfinity}, {3, 3});
}

template <class Op>
std::vector<Sample<Op>> softmax_samples() {
  return {{{}, {arg::normal({2, 3, 5})}},
          {{.axis = 1}, {arg::normal({2, 3, 5})}},
          {{.axis = -3}, {arg::normal({4, 2, 3})}},
          {{}, {arg::uniform({2, 4}, 1000, 1004)}, "beyond exp's range"},
          {{.axis = 0}, {arg::normal({1, 3})}, "one element each"},
          {{}, {arg::normal({2, 0})}, "empty rows"},
          {{}, {arg::normal({0, 3})}, "no rows"}};
}

template <class Op>
std::vector<Reject<Op>> softmax_rejects() {
  return {{{.axis = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{}, {arg::normal({})}, "a scalar has no axes"},
          {{}, {arg::integers({2, 3}, 0, 9)}, "f32 or f64 is required"}};
}

}  // namespace

std::vector<Sample<Softmax>> Softmax::samples() {
  std::vector<Sample<Softmax>> all = softmax_samples<Softmax>();
  all.push_back({{}, {rows_with_infinity()}, "hidden elements and a row of nothing"});
  return all;
}
std::vector<Reject<Softmax>> Softmax::rejects() { return softmax_rejects<Softmax>(); }

std::vector<Sample<LogSoftmax>> LogSoftmax::samples() {
  std::vector<Sample<LogSoftmax>> all = softmax_samples<LogSoftmax>();
  all.push_back({{}, {arg::values({0.5, -1, -kInfinity, -kInfinity}, {2, 2})}, "a row of nothing"});
  return all;
}
std::vector<Reject<LogSoftmax>> LogSoftmax::rejects() { return softmax_rejects<LogSoftmax>(); }

std::vector<Sample<LogSumExp>> LogSumExp::samples() {
  return {{{}, {arg::normal({2, 3, 5})}, "all axes"},
          {{.axes = 1}, {arg::normal({2, 3, 5})}},
          {{.axes = {0, -1}, .keep_dims = true}, {arg::normal({2, 3, 5})}},
          {{.axes = -1}, {arg::uniform({2, 4}, 1000, 1004)}, "beyond exp's range"},
          {{.axes = -1}, {rows_with_infinity()}, "hidden elements and a row of nothing"},
          {{}, {arg::normal({})}, "a scalar"},
          {{.axes = 0}, {arg::normal({0, 3})}, "sums of nothing"},
          {{.axes = 1, .keep_dims = true}, {arg::normal({0, 3})}, "no rows"}};
}
std::vector<Reject<LogSumExp>> LogSumExp::rejects() {
  return {{{.axes = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{.axes = {0, -2}}, {arg::normal({2, 3})}, "axis 0 is named twice"},
          {{}, {arg::integers({2, 3}, 0, 9)}, "f32 or f64 is required"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Softmax);
FOVEA_DEFINE_OP(fovea::LogSoftmax);
FOVEA_DEFINE_OP(fovea::LogSumExp);
