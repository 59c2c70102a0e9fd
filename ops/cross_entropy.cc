#include "fovea/ops/cross_entropy.h"

#include <cmath>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/format.h"

namespace fovea {

CrossEntropy::Out<TensorSpec> CrossEntropy::infer(const In<TensorSpec>& in) const {
  const Shape& logits = in.logits.shape;
  if (!is_float(in.logits.dtype)) {
    fail(name, "logits are {}; f32 or f64 is required", in.logits.dtype);
  }
  if (in.targets.dtype != i64) fail(name, "targets are {}; i64 is required", in.targets.dtype);
  const std::int64_t last = normalize_axis(name, -1, logits.rank());
  if (in.targets.shape != logits.without(last)) {
    fail(name, "logits {} and targets {}; {}, the logits' shape without the classes, is required",
         logits, in.targets.shape, logits.without(last));
  }
  if (logits[last] == 0) fail(name, "logits {} have no classes; at least one is required", logits);
  const Shape y = reduction == LossReduction::none ? in.targets.shape : Shape();
  return {{in.logits.dtype, y}, {in.logits.dtype, in.targets.shape}};
}

CrossEntropy::Out<Expr> CrossEntropy::decomposition(const In<Expr>& in) const {
  const Expr& logits = in.logits;
  const DType dtype = logits.dtype();
  const Shape& shape = in.targets.shape();
  const Expr lse = logsumexp(logits, {.axes = -1});
  std::vector<Extent> column(shape.begin(), shape.end());
  column.emplace_back(1);
  const Expr targets = reshape(in.targets, {.shape = std::move(column)});
  const Expr counts = not_equal(targets, ignore_index);
  // What is ignored reaches nothing, not even as 0 times NaN. No class has a negative number.
  const std::int64_t classes = logits.shape()[-1];
  const Expr target = where(counts, where(less(targets, 0), classes, targets), 0);
  const Expr logp = log_softmax(where(counts, logits, 0));
  const Expr loss =
      reshape(where(counts, -gather(logp, target), 0), {.shape = {shape.begin(), shape.end()}});
  if (reduction == LossReduction::none) return {loss, lse};
  if (reduction == LossReduction::sum) return {sum(loss), lse};
  return {sum(loss) / maximum(sum(cast(counts, {.dtype = dtype})), 1), lse};
}

std::vector<Sample<CrossEntropy>> CrossEntropy::samples() {
  constexpr LossReduction sum = LossReduction::sum, none = LossReduction::none;
  const Arg some = arg::values({3, -100, 0, -100, 1, 1}, {2, 3}, i64);
  const Arg last_ignored = arg::values({0, 3, 1, 3, 3, 2}, {2, 3}, i64);
  return {{{}, {arg::normal({4, 5}), arg::integers({4}, 0, 5)}},
          {{}, {arg::normal({2, 3, 4}), some}, "some ignored"},
          {{.reduction = sum, .ignore_index = 3},
           {arg::normal({2, 3, 4}), last_ignored},
           "a class ignored"},
          {{.reduction = none}, {arg::normal({2, 3, 4}), some}},
          {{.reduction = none, .ignore_index = -1},
           {arg::normal({17}), arg::values({16}, {}, i64)},
           "one row"},
          {{}, {arg::uniform({3, 4}, 1000, 1004), arg::integers({3}, 0, 4)}, "beyond exp's range"},
          {{}, {arg::normal({2, 4}), arg::values({-100, -100}, {2}, i64)}, "all ignored"},
          {{}, {arg::normal({0, 4}), arg::integers({0}, 0, 1)}, "no rows"},
          {{.reduction = none}, {arg::normal({3, 1}), arg::integers({3}, 0, 1)}, "one class"}};
}

std::vector<Reject<CrossEntropy>> CrossEntropy::rejects() {
  return {
      {{}, {arg::normal({2, 5}), arg::values({0, 5}, {2}, i64)}, "5"},
      {{}, {arg::normal({2, 5}), arg::values({-1, 0}, {2}, i64)}, "5"},
      {{},
       {arg::normal({2, 5}), arg::integers({5}, 0, 5)},
       "logits (2, 5) and targets (5,); (2,), the logits' shape without the classes, is required"},
      {{}, {arg::normal({2, 5}), arg::normal({2})}, "targets are f64; i64 is required"},
      {{}, {arg::integers({2, 5}, 0, 5), arg::integers({2}, 0, 5)}, "logits are i64"},
      {{}, {arg::normal({2, 0}), arg::integers({2}, 0, 5)}, "have no classes"},
      {{}, {arg::normal({}), arg::values({0}, {}, i64)}, "a scalar has no axes"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::CrossEntropy);
