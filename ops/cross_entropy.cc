#include "fovea/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/indices.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/row_reader.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_logits(std::string_view where, const TensorSpec& logits, const TensorSpec& targets) {
  if (!is_float(logits.dtype)) {
    fail(where, "logits are {}; f32 or f64 is required", logits.dtype);
  }
  if (targets.dtype != i64) fail(where, "targets are {}; i64 is required", targets.dtype);
  const std::int64_t last = normalize_axis(where, -1, logits.shape.rank());
  if (targets.shape != logits.shape.without(last)) {
    fail(where, "logits {} and targets {}; {}, the logits' shape without the classes, is required",
         logits.shape, targets.shape, logits.shape.without(last));
  }
  if (logits.shape[last] == 0) {
    fail(where, "logits {} have no classes; at least one is required", logits.shape);
  }
}

TensorSpec spec_of_y(LossReduction reduction, const TensorSpec& logits, const TensorSpec& targets) {
  return {logits.dtype, reduction == LossReduction::none ? targets.shape : Shape()};
}

// The element of a tensor at a position in row-major order.
template <class T>
class Elements {
 public:
  explicit Elements(const Tensor& x) : view_(x.shape(), x.strides(), 0), data_(x.data<T>()) {}
  T operator[](std::int64_t i) const { return data_[view_.offset(i)]; }

 private:
  RowView view_;
  const T* data_;
};

// Copies the targets to `to`; how many count. Throws Error for one that is no class.
template <class Op>
std::int64_t read_targets(const Op& op, const Tensor& logits, const Tensor& targets,
                          std::int64_t* to) {
  const Elements<std::int64_t> target(targets);
  const std::int64_t classes = logits.shape()[-1];
  std::int64_t count = 0;
  for (std::int64_t r = 0; r < targets.numel(); ++r) {
    to[r] = target[r];
    if (to[r] == op.ignore_index) continue;
    ++count;
    if (to[r] >= 0 && to[r] < classes) continue;
    fail(op.name,
         "target {}{} of targets: logits {} have {} classes; 0 to {}, or ignore_index ({}), are "
         "required",
         to[r], detail::at_text(targets.shape(), r), logits.shape(), classes, classes - 1,
         op.ignore_index);
  }
  return count;
}

// For each row its target and a number in f64, then a row of logits for each thread.
std::size_t row_workspace(const TensorSpec& logits, const TensorSpec& targets) {
  const auto rows = static_cast<std::size_t>(targets.shape.numel());
  const auto row_bytes = static_cast<std::size_t>(logits.shape[-1].value()) * size_of(logits.dtype);
  return rows * (sizeof(std::int64_t) + sizeof(double)) +
         static_cast<std::size_t>(num_threads()) * row_bytes;
}

template <class T>
struct RowWorkspace {
  RowWorkspace(Context& context, const Tensor& logits, const Tensor& targets)
      : targets(reinterpret_cast<std::int64_t*>(
            context.scratch(row_workspace(spec_of(logits), spec_of(targets))))),
        numbers(reinterpret_cast<double*>(this->targets + targets.numel())),
        copies(reinterpret_cast<T*>(numbers + targets.numel())) {}
  std::int64_t* targets;
  double* numbers;
  T* copies;
};

// A class that is impossible costs +inf.
template <class T>
double loss_of(const kernels::LogSum<T>& sum, T logit) {
  if (logit == -std::numeric_limits<T>::infinity() && !std::isnan(sum.log_sum)) return kInfinity;
  return (static_cast<double>(sum.max) - static_cast<double>(logit)) + sum.log_sum;
}

template <class T>
T lse_of(const kernels::LogSum<T>& sum, const T* x, std::int64_t n) {
  if (sum.max != std::numeric_limits<T>::infinity()) {
    return static_cast<T>(static_cast<double>(sum.max) + sum.log_sum);
  }
  const T* nan = std::find_if(x, x + n, [](T v) { return std::isnan(v); });
  return nan == x + n ? sum.max : *nan;
}

template <class T>
void losses(const CrossEntropy& op, Context& context, const CrossEntropy::In<Tensor>& in,
            const CrossEntropy::Out<Tensor>& out) {
  const RowWorkspace<T> work(context, in.logits, in.targets);
  const std::int64_t rows = in.targets.numel(), n = in.logits.shape()[-1];
  const std::int64_t count = read_targets(op, in.logits, in.targets, work.targets);
  const RowReader<T> logits(in.logits);
  T* lse = out.lse ? out.lse.template mutable_data<T>() : nullptr;
  const auto log_sum = kernels::loops<T>(kernels::kernels()).log_sum;
  logits.for_each([&](std::int64_t r, int slot) {
    const bool counts = work.targets[r] != op.ignore_index;
    work.numbers[r] = 0;
    if (!counts && lse == nullptr) return;
    const T* x = logits.row(r, work.copies + slot * n);
    const kernels::LogSum<T> sum = log_sum(x, n);
    if (counts) work.numbers[r] = loss_of(sum, x[work.targets[r]]);
    if (lse != nullptr) lse[r] = lse_of(sum, x, n);
  });
  if (!out.y) return;
  T* y = out.y.template mutable_data<T>();
  if (op.reduction == LossReduction::none) {
    for (std::int64_t r = 0; r < rows; ++r) y[r] = static_cast<T>(work.numbers[r]);
    return;
  }
  const double sum = kernels::sum(work.numbers, rows, 1);
  const bool mean = op.reduction == LossReduction::mean;
  *y = static_cast<T>(mean && count > 0 ? sum / static_cast<double>(count) : sum);
}

template <class T>
void loss_gradients(const CrossEntropyGradient& op, Context& context,
                    const CrossEntropyGradient::In<Tensor>& in, const Tensor& dlogits) {
  const RowWorkspace<T> work(context, in.logits, in.targets);
  const std::int64_t n = in.logits.shape()[-1];
  const std::int64_t count = read_targets(op, in.logits, in.targets, work.targets);
  const RowReader<T> logits(in.logits);
  const Elements<T> lse(in.lse);
  const std::optional<Elements<T>> dlse =
      in.dlse ? std::optional<Elements<T>>(*in.dlse) : std::nullopt;
  for (std::int64_t r = 0; r < in.targets.numel(); ++r) work.numbers[r] = 0;
  if (in.dy) {
    const Elements<T> dy(*in.dy);
    const bool each = op.reduction == LossReduction::none;
    const double share = op.reduction == LossReduction::mean
                             ? 1 / static_cast<double>(std::max<std::int64_t>(1, count))
                             : 1;
    for (std::int64_t r = 0; r < in.targets.numel(); ++r) {
      if (work.targets[r] == op.ignore_index) continue;
      work.numbers[r] = share * static_cast<double>(dy[each ? r : 0]);
    }
  }
  T* to = dlogits.template mutable_data<T>();
  const auto scaled_exp = kernels::loops<T>(kernels::kernels()).scaled_exp;
  logits.for_each([&](std::int64_t r, int slot) {
    const T own = static_cast<T>(work.numbers[r]), all = own + (dlse ? (*dlse)[r] : T(0));
    T* row = to + r * n;
    if (own == T(0) && all == T(0)) {
      std::fill_n(row, n, T(0));
      return;
    }
    const T shift = lse[r] == -std::numeric_limits<T>::infinity() ? T(0) : lse[r];
    scaled_exp(logits.row(r, work.copies + slot * n), n, shift, all, row);
    if (own != T(0)) row[work.targets[r]] -= own;
  });
}

// (..) as (.., 1), beside the classes.
Expr column(const Expr& x) {
  std::vector<Extent> extents(x.shape().begin(), x.shape().end());
  extents.emplace_back(1);
  return reshape(x, {.shape = std::move(extents)});
}

Expr number_of(const Expr& counts, DType dtype) {
  return maximum(sum(cast(counts, {.dtype = dtype})), 1);
}

}  // namespace

CrossEntropy::Out<TensorSpec> CrossEntropy::infer(const In<TensorSpec>& in) const {
  check_logits(name, in.logits, in.targets);
  return {spec_of_y(reduction, in.logits, in.targets), {in.logits.dtype, in.targets.shape}};
}

std::size_t CrossEntropy::workspace(const In<TensorSpec>& in) const {
  return row_workspace(in.logits, in.targets);
}

void CrossEntropy::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.logits.dtype() == f32) return losses<float>(*this, context, in, out);
  losses<double>(*this, context, in, out);
}

CrossEntropy::In<Expr> CrossEntropy::vjp(const In<Expr>& in, const Out<Expr>& out,
                                         const Out<Expr>& d) const {
  const CrossEntropyGradient gradient{.reduction = reduction, .ignore_index = ignore_index};
  return {apply(gradient, {in.logits, in.targets, out.lse, d.y, d.lse}, Location()).dlogits, {}};
}

CrossEntropy::Out<Expr> CrossEntropy::decomposition(const In<Expr>& in) const {
  const Expr& logits = in.logits;
  const Shape& shape = in.targets.shape();
  const Expr lse = logsumexp(logits, {.axes = -1});
  const Expr targets = column(in.targets), counts = not_equal(targets, ignore_index);
  // What is ignored reaches nothing, not even as 0 times NaN.
  const Expr logp = log_softmax(where(counts, logits, 0));
  const Expr loss = reshape(where(counts, -gather(logp, where(counts, targets, 0)), 0),
                            {.shape = {shape.begin(), shape.end()}});
  if (reduction == LossReduction::none) return {loss, lse};
  if (reduction == LossReduction::sum) return {sum(loss), lse};
  return {sum(loss) / number_of(counts, logits.dtype()), lse};
}

CrossEntropyGradient::Out<TensorSpec> CrossEntropyGradient::infer(const In<TensorSpec>& in) const {
  check_logits(name, in.logits, in.targets);
  const auto require = [&](std::string_view slot, const TensorSpec& given,
                           const TensorSpec& wanted) {
    if (given == wanted) return;
    fail(name, "{} is {}; {} is required", slot, to_string(given), to_string(wanted));
  };
  const TensorSpec lse{in.logits.dtype, in.targets.shape};
  require("lse", in.lse, lse);
  if (in.dy) require("dy", *in.dy, spec_of_y(reduction, in.logits, in.targets));
  if (in.dlse) require("dlse", *in.dlse, lse);
  if (!in.dy && !in.dlse) fail(name, "neither dy nor dlse; at least one of them is required");
  return {in.logits};
}

std::size_t CrossEntropyGradient::workspace(const In<TensorSpec>& in) const {
  return row_workspace(in.logits, in.targets);
}

void CrossEntropyGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.logits.dtype() == f32) return loss_gradients<float>(*this, context, in, out.dlogits);
  loss_gradients<double>(*this, context, in, out.dlogits);
}

CrossEntropyGradient::Out<Expr> CrossEntropyGradient::decomposition(const In<Expr>& in) const {
  const DType dtype = in.logits.dtype();
  const Expr shifted = in.logits - column(where(equal(in.lse, -kInfinity), 0, in.lse));
  Expr dlogits;
  if (in.dy) {
    const Expr targets = column(in.targets), counts = not_equal(targets, ignore_index);
    const Expr one_hot =
        cast(equal(targets, iota({.extent = in.logits.shape()[-1]})), {.dtype = dtype});
    Expr dy = *in.dy;
    if (reduction == LossReduction::none) dy = column(dy);
    if (reduction == LossReduction::mean) dy = dy / number_of(counts, dtype);
    dlogits = where(counts, dy * (exp(where(counts, shifted, 0)) - one_hot), 0);
  }
  if (in.dlse) {
    const Expr through_lse = column(*in.dlse) * exp(shifted);
    dlogits = dlogits ? dlogits + through_lse : through_lse;
  }
  return {dlogits};
}

namespace {

constexpr LossReduction kSum = LossReduction::sum, kNone = LossReduction::none;

Arg some_ignored() { return arg::values({3, -100, 0, -100, 1, 1}, {2, 3}, i64); }

}  // namespace

std::vector<Sample<CrossEntropy>> CrossEntropy::samples() {
  const Arg last_ignored = arg::values({0, 3, 1, 3, 3, 2}, {2, 3}, i64);
  return {{{}, {arg::normal({4, 5}), arg::integers({4}, 0, 5)}},
          {{}, {arg::normal({2, 3, 4}), some_ignored()}, "some ignored"},
          {{.reduction = kSum, .ignore_index = 3},
           {arg::normal({2, 3, 4}), last_ignored},
           "a class ignored"},
          {{.reduction = kNone}, {arg::normal({2, 3, 4}), some_ignored()}},
          {{.reduction = kNone, .ignore_index = -1},
           {arg::normal({17}), arg::values({16}, {}, i64)},
           "one row"},
          {{}, {arg::uniform({3, 4}, 1000, 1004), arg::integers({3}, 0, 4)}, "beyond exp's range"},
          {{}, {arg::normal({2, 4}), arg::values({-100, -100}, {2}, i64)}, "all ignored"},
          {{}, {arg::normal({0, 4}), arg::integers({0}, 0, 1)}, "no rows"},
          {{.reduction = kNone}, {arg::normal({3, 1}), arg::integers({3}, 0, 1)}, "one class"}};
}

std::vector<Reject<CrossEntropy>> CrossEntropy::rejects() {
  return {
      {{},
       {arg::normal({2, 5}), arg::values({0, 5}, {2}, i64)},
       "target 5 at [1] of targets: logits (2, 5) have 5 classes; 0 to 4, or ignore_index "
       "(-100), are required"},
      {{}, {arg::normal({2, 5}), arg::values({-1, 0}, {2}, i64)}, "target -1 at [0]"},
      {{.ignore_index = -1}, {arg::normal({5}), arg::values({-100}, {}, i64)}, "target -100 of"},
      {{},
       {arg::normal({2, 5}), arg::integers({5}, 0, 5)},
       "logits (2, 5) and targets (5,); (2,), the logits' shape without the classes, is "
       "required"},
      {{}, {arg::normal({2, 5}), arg::normal({2})}, "targets are f64; i64 is required"},
      {{}, {arg::integers({2, 5}, 0, 5), arg::integers({2}, 0, 5)}, "logits are i64"},
      {{}, {arg::normal({2, 0}), arg::integers({2}, 0, 5)}, "have no classes"},
      {{}, {arg::normal({}), arg::values({0}, {}, i64)}, "a scalar has no axes"}};
}

std::vector<Sample<CrossEntropyGradient>> CrossEntropyGradient::samples() {
  const Arg logits = arg::normal({2, 3, 4}), each = arg::normal({2, 3}), one = arg::normal({});
  return {
      {{}, {logits, some_ignored(), each, one, {}}, "of y"},
      {{.ignore_index = 1}, {logits, arg::integers({2, 3}, 0, 4), each, {}, each}, "of lse"},
      {{.reduction = kSum}, {logits, some_ignored(), each, one, each}, "of both"},
      {{.reduction = kNone}, {logits, some_ignored(), each, each, each}},
      {{.reduction = kNone}, {arg::normal({17}), arg::values({16}, {}, i64), one, one, {}}},
      {{},
       {arg::normal({2, 3}), arg::values({-100, -100}, {2}, i64), arg::normal({2}), one, {}},
       "all ignored"},
      {{}, {arg::normal({0, 3}), arg::integers({0}, 0, 1), arg::normal({0}), one, {}}, "no rows"}};
}

std::vector<Reject<CrossEntropyGradient>> CrossEntropyGradient::rejects() {
  const Arg logits = arg::normal({2, 3}), targets = arg::integers({2}, 0, 3),
            each = arg::normal({2});
  return {{{}, {logits, targets, each, {}, {}}, "neither dy nor dlse"},
          {{}, {logits, targets, each, each, {}}, "dy is f64 (2,); f64 () is required"},
          {{.reduction = kNone},
           {logits, targets, each, arg::normal({}), {}},
           "dy is f64 (); f64 (2,) is required"},
          {{}, {logits, targets, arg::normal({2, 3}), {}, each}, "lse is f64 (2, 3)"},
          {{}, {logits, targets, each, {}, arg::normal({})}, "dlse is f64 ()"},
          {{}, {logits, arg::values({0, 3}, {2}, i64), each, {}, each}, "target 3 at [1]"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::CrossEntropy);
FOVEA_DEFINE_OP(fovea::CrossEntropyGradient);
