// Gradients in f32, held against those in f64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fovea/graph/gradcheck_more.h"
#include "fovea/graph/gradients.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kDecideNarrow = 0.1;  // of M: bounds that are wider say nothing

// One wrt: f32 values, and f64 values with bounds of what rounding in f32 may do.
GradientRow compare(const Tensor& given, const Bounded& right, double scale) {
  GradientRow row;
  row.shape = given.shape();
  row.elements = row.checked = given.numel();
  row.largest = scale;
  row.oracles = {Oracle::wide};
  const Tensor narrow = given.astype(f64).contiguous();
  double worst = -1, widest = 0;
  bool failed = false;
  for (std::int64_t i = 0; i < row.elements; ++i) {
    const double a = narrow.data<double>()[i], b = right.value.data<double>()[i];
    const double bar = right.bars[static_cast<std::size_t>(i)];
    if (same_number(a, b)) continue;
    double apart = std::abs(a - b);
    if (std::isnan(apart)) apart = std::numeric_limits<double>::infinity();
    const bool fails = apart > bar;
    widest = std::max(widest, bar);
    row.absolute = std::max(row.absolute, apart);
    const double excess = fails ? 1 + apart / (bar + apart) : apart / bar;
    if (excess < worst) continue;
    worst = excess;
    failed = failed || fails;
    row.worst = index_text(row.shape, i);
    row.worst_element = i;
    row.analytic = a;
    row.numeric = b;
    row.uncertainty = bar;
    row.findings = {{Oracle::wide, b, bar, !fails}};
    const auto place = std::nextafter(static_cast<float>(std::abs(b)), HUGE_VALF) -
                       static_cast<float>(std::abs(b));
    row.ulps = apart / static_cast<double>(place);
  }
  row.relative = scale > 0 ? row.absolute / scale : 0;
  row.verdict = failed                                         ? Verdict::fail
                : widest > kDecideNarrow * scale && worst >= 0 ? Verdict::inconclusive
                : scale > 0                                    ? Verdict::pass
                                                               : Verdict::vacuous;
  return row;
}

}  // namespace

bool has_narrow(std::span<const Expr> outputs) {
  for (const Node* node : topological_order(outputs)) {
    for (const TensorSpec& spec : node->outputs()) {
      if (spec.dtype == f32) return true;
    }
  }
  return false;
}

std::vector<GradientRow> check_narrow_gradients(const Problem& narrow, const Problem& wide,
                                                const GradcheckOptions& options) {
  // The values that f32 has, exactly, in both.
  Problem exact = wide;
  for (std::size_t i = 0; i < exact.bindings.size(); ++i) {
    exact.bindings[i].second = narrow.bindings[i].second.astype(exact.bindings[i].first.dtype());
  }
  std::vector<Expr> small, large;
  const std::vector<Tensor> values = evaluate(exact.outputs, exact.bindings);
  for (std::size_t o = 0; o < exact.outputs.size(); ++o) {
    const Tensor c =
        random_normal(f32, values[o].shape(), 0, 1, {options.seed, ~static_cast<std::uint64_t>(o)});
    const Tensor y = values[o].contiguous();
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      if (!std::isfinite(y.data<double>()[i])) c.mutable_data<float>()[i] = 0;
    }
    small.push_back(constant(c.astype(narrow.outputs[o].dtype())));
    large.push_back(constant(c.astype(f64)));
  }
  RoundingNotes notes;
  const std::vector<Bounded> right = with_bounds(gradients(exact.outputs, exact.wrt, large),
                                                 exact.bindings, {.real = f32}, &notes);
  const std::vector<Tensor> given =
      evaluate(gradients(narrow.outputs, narrow.wrt, small), narrow.bindings);
  std::vector<GradientRow> rows;
  for (std::size_t k = 0; k < given.size(); ++k) {
    if (given[k].dtype() != f32) continue;
    GradientRow row = compare(given[k], right[k], largest(right[k].value));
    row.name = narrow.wrt[k].node().name();
    if (notes.largest > std::numeric_limits<float>::max() && row.verdict == Verdict::fail) {
      row.verdict = Verdict::inconclusive;
      row.note = format("values up to {:.1e} on the way, which f32 cannot hold", notes.largest);
    } else if (row.verdict == Verdict::inconclusive && !notes.flipped.empty()) {
      row.note = format("rounding in f32 may decide {} otherwise", notes.flipped);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace fovea
