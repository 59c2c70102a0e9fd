#include "fovea/ops/softmax.h"

#include <algorithm>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/line_loop.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reduce.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TensorSpec infer_along(std::string_view where, const TensorSpec& x, std::int64_t axis) {
  detail::infer_elementwise(where, Domain::floats, x);
  axis_mask(where, axis, x.shape.rank());
  return x;
}

TensorSpec infer_gradient(std::string_view where, const YDy<TensorSpec>& in, std::int64_t axis) {
  infer_along(where, in.y, axis);
  if (in.dy == in.y) return in.y;
  fail(where, "dy is {} and y {}; they must be equal", to_string(in.dy), to_string(in.y));
}

std::size_t workspace_along(const TensorSpec& x, std::int64_t axis, int operands) {
  return detail::line_workspace(x, axis_mask("softmax", axis, x.shape.rank()), operands);
}

template <class Select>
void run_along(Context& context, const detail::LineTensors& t, std::int64_t axis,
               const Select& select) {
  if (t.x.numel() == 0) return;
  detail::run_lines(context, t, axis_mask("softmax", axis, t.x.rank()), select);
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
  return workspace_along(in.x, axis, 1);
}
void Softmax::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run_along(context, {in.x, out.y}, axis, [](const auto& l) { return l.softmax; });
}

Softmax::In<Expr> Softmax::vjp(const In<Expr>&, const Out<Expr>& out, const Out<Expr>& d) const {
  return {apply(SoftmaxGradient{.axis = axis}, {out.y, d.y}, Location()).dx};
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
  return workspace_along(in.x, axis, 1);
}
void LogSoftmax::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run_along(context, {in.x, out.y}, axis, [](const auto& l) { return l.log_softmax; });
}

LogSoftmax::In<Expr> LogSoftmax::vjp(const In<Expr>&, const Out<Expr>& out,
                                     const Out<Expr>& d) const {
  return {apply(LogSoftmaxGradient{.axis = axis}, {out.y, d.y}, Location()).dx};
}

Y<Expr> LogSoftmax::decomposition(const In<Expr>& in) const {
  if (in.x.shape()[axis] == 0) return {exp(in.x)};
  const Expr most = max(in.x, {.axes = axis, .keep_dims = true});
  const Expr rest = in.x - shift_of(most);
  const Expr total = sum(exp(rest), {.axes = axis, .keep_dims = true});
  return {where(equal(most, -kInfinity), -kInfinity, rest - log(not_zero(total)))};
}

SoftmaxGradient::Out<TensorSpec> SoftmaxGradient::infer(const In<TensorSpec>& in) const {
  return {infer_gradient(name, in, axis)};
}
std::size_t SoftmaxGradient::workspace(const In<TensorSpec>& in) const {
  return workspace_along(in.y, axis, 2);
}
void SoftmaxGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run_along(context, {in.y, out.dx, &in.dy}, axis,
            [](const auto& l) { return l.softmax_gradient; });
}
SoftmaxGradient::Out<Expr> SoftmaxGradient::decomposition(const In<Expr>& in) const {
  const Expr inner = sum(in.dy * in.y, {.axes = axis, .keep_dims = true});
  return {in.y * (in.dy - inner)};
}

LogSoftmaxGradient::Out<TensorSpec> LogSoftmaxGradient::infer(const In<TensorSpec>& in) const {
  return {infer_gradient(name, in, axis)};
}
std::size_t LogSoftmaxGradient::workspace(const In<TensorSpec>& in) const {
  return workspace_along(in.y, axis, 2);
}
void LogSoftmaxGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run_along(context, {in.y, out.dx, &in.dy}, axis,
            [](const auto& l) { return l.log_softmax_gradient; });
}
LogSoftmaxGradient::Out<Expr> LogSoftmaxGradient::decomposition(const In<Expr>& in) const {
  if (in.y.shape()[axis] == 0) return {in.dy};
  const Expr dead = equal(max(in.y, {.axes = axis, .keep_dims = true}), -kInfinity);
  const Expr total = sum(in.dy, {.axes = axis, .keep_dims = true});
  return {where(dead, 0, in.dy - exp(in.y) * total)};
}

Y<TensorSpec> LogSumExp::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::floats, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t LogSumExp::workspace(const In<TensorSpec>& in) const {
  return detail::line_workspace(in.x, axis_mask(name, axes, in.x.shape.rank()), 1);
}
void LogSumExp::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  if (in.x.numel() == 0)
    return out.y.copy_from(Tensor::full(in.x.dtype(), out.y.shape(), -kInfinity));
  detail::run_lines(context, {in.x, out.y}, axis_mask(name, axes, in.x.rank()),
                    [](const auto& l) { return l.logsumexp; });
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

namespace {

template <class Op>
std::vector<Sample<Op>> gradient_samples() {
  return {{{}, {arg::normal({2, 3, 5}), arg::normal({2, 3, 5})}},
          {{.axis = 1}, {arg::normal({2, 20, 17}), arg::normal({2, 20, 17})}, "columns"},
          {{.axis = 0}, {arg::normal({1, 3}), arg::normal({1, 3})}, "one element each"},
          {{}, {arg::normal({2, 0}), arg::normal({2, 0})}, "empty rows"},
          {{}, {arg::normal({0, 3}), arg::normal({0, 3})}, "no rows"}};
}

template <class Op>
std::vector<Reject<Op>> gradient_rejects() {
  return {{{.axis = 2}, {arg::normal({2, 3}), arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{},
           {arg::normal({2, 3}), arg::normal({3})},
           "dy is f64 (3,) and y f64 (2, 3); they must be equal"},
          {{}, {arg::integers({2, 3}, 0, 9), arg::normal({2, 3})}, "f32 or f64 is required"}};
}

}  // namespace

std::vector<Sample<SoftmaxGradient>> SoftmaxGradient::samples() {
  return gradient_samples<SoftmaxGradient>();
}
std::vector<Reject<SoftmaxGradient>> SoftmaxGradient::rejects() {
  return gradient_rejects<SoftmaxGradient>();
}

std::vector<Sample<LogSoftmaxGradient>> LogSoftmaxGradient::samples() {
  return gradient_samples<LogSoftmaxGradient>();
}
std::vector<Reject<LogSoftmaxGradient>> LogSoftmaxGradient::rejects() {
  return gradient_rejects<LogSoftmaxGradient>();
}

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
FOVEA_DEFINE_OP(fovea::SoftmaxGradient);
FOVEA_DEFINE_OP(fovea::LogSoftmaxGradient);
