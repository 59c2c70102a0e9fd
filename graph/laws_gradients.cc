// Laws 3 to 6, 12 and 13: gradients.
#include <algorithm>
#include <cmath>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/jvp.h"
#include "fovea/graph/law_run.h"
#include "fovea/graph/loss.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kTau = 0x1p-31;       // of gradients: see gradcheck.h
constexpr double kTwoModes = 0x1p-40;  // of ⟨v, J u⟩ and ⟨Jᵀ v, u⟩, relative to their terms

// What contradicts a row besides differences, and why that may be.
std::string contradictions(const OpType& type, const GradientRow& row) {
  std::string text;
  bool forward_differs = false;
  for (const OracleFinding& f : row.findings) {
    if (f.agrees || f.oracle == Oracle::numeric) continue;
    text += format(", {} {:.15g} +- {:.1e}", name_of(f.oracle), f.value, f.bar);
    forward_differs |= f.oracle == Oracle::forward;
  }
  if (!row.suspicion.empty()) return text + " (" + row.suspicion + ")";
  if (forward_differs && type.linear != Linear::no) text += " (forward mode follows from `linear`)";
  return text;
}

// Reports rows that fail, and those that stay open: a law that cannot be decided does not hold.
void report_rows(const GradientReport& report, const OpType& type, const std::string& what,
                 LawSink& sink) {
  for (const GradientRow& row : report.rows) {
    if (row.verdict != Verdict::fail && row.verdict != Verdict::inconclusive) continue;
    if (!row.note.empty()) {
      sink.broken(what + row.note);
      continue;
    }
    sink.broken(format("{}gradient of {} at {}: analytic {:.15g}, numeric {:.15g} +- {:.1e}{}: {}",
                       what, row.name, row.worst, row.analytic, row.numeric, row.uncertainty,
                       contradictions(type, row), name_of(row.verdict)));
  }
}

std::vector<double> bound_of(const Tensor& a, const Tensor& b) {
  return {kTau * (largest(a) + largest(b))};
}

Tensor sum_of(const Tensor& a, const Tensor& b) {
  const Tensor sum = a.astype(f64);
  const Tensor other = b.astype(f64);
  for (std::int64_t i = 0; i < sum.numel(); ++i) {
    sum.mutable_data<double>()[i] += other.data<double>()[i];
  }
  return sum;
}

// The slot's name, for messages.
std::string slot_text(const OpType& type, std::size_t i) {
  const Slot& slot = type.inputs[std::min(i, type.inputs.size() - 1)];
  const std::size_t first = type.inputs.size() - 1;
  return slot.arity == Arity::variadic ? format("{}[{}]", slot.name, i - first)
                                       : std::string(slot.name);
}

std::size_t slot_of(const SampleRun& run, const Expr& x) {
  const auto at = std::ranges::find_if(run.in(), [&](const Expr& y) { return same(x, y); });
  return static_cast<std::size_t>(at - run.in().begin());
}

}  // namespace

void check_gradient_shapes(const SampleRun& run, LawSink& sink) {
  if (!run.differentiable()) return;
  const OpType& type = run.type();
  if (type.has_vjp) {
    std::vector<Expr> d(run.out().size());
    for (std::size_t k = 0; k < run.cotangents().size(); ++k) {
      d[static_cast<std::size_t>(run.float_out()[k].output())] = run.cotangents()[k];
    }
    const std::vector<Expr> dx = run.op().vjp(run.in(), run.out(), d);
    if (dx.size() != run.in().size()) {
      sink.broken(format("{} gradients for {} inputs", dx.size(), run.in().size()));
      return;
    }
    for (std::size_t i = 0; i < dx.size(); ++i) {
      const Expr& x = run.in()[i];
      if (!dx[i]) continue;
      if (!x || !is_float(x.dtype())) {
        sink.broken(format("a gradient of {}, which has none", slot_text(type, i)));
        continue;
      }
      const bool fits = type.broadcasts
                            ? dx[i].dtype() == x.dtype() && broadcasts_to(x.shape(), dx[i].shape())
                            : dx[i].spec() == x.spec();
      if (!fits) {
        sink.broken(format("the gradient of {} is {}; {} is required", slot_text(type, i),
                           to_string(dx[i].spec()), to_string(x.spec())));
      }
    }
    sink.ran();
  }
  const std::vector<Expr> dx = gradients(run.float_out(), run.wrt(), run.cotangents());
  const std::vector<Tensor> values = evaluate(dx, run.with_cotangents(0));
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (spec_of(values[k]) != run.wrt()[k].spec()) {
      sink.broken(format("the gradient of {} is {}", slot_text(type, slot_of(run, run.wrt()[k])),
                         to_string(spec_of(values[k]))));
    }
  }
  sink.ran();
}

void check_numerically(const OpType& type, std::uint64_t seed, LawSink& sink) {
  const GradientReport report = check_op(type, {.seed = seed});
  report_rows(report, type, "", sink);
  for (const GradientRow& row : report.rows) {
    sink.ran();
    if (row.verdict == Verdict::vacuous) {
      sink.broken(
          format("every gradient of {} is zero, in every sample: nothing was tested", row.name));
    }
  }
}

void check_each_output(const SampleRun& run, LawSink& sink) {
  if (!run.differentiable() || run.out().size() < 2) return;
  for (const Expr& y : run.out()) {
    if (!is_float(y.dtype())) continue;
    report_rows(check_gradients(std::span(&y, 1), run.wrt(),
                                {.values = run.bindings(), .seed = run.seed(), .locate = false}),
                run.type(), format("output {} alone: ", y.output()), sink);
    sink.ran();
  }
}

void check_linearity(const SampleRun& run, LawSink& sink) {
  if (!run.differentiable()) return;
  const std::vector<Expr> dx = gradients(run.float_out(), run.wrt(), run.cotangents());
  std::vector<Binding> first = run.with_cotangents(1), second = run.with_cotangents(2);
  std::vector<Binding> both = first;
  for (std::size_t i = run.bindings().size(); i < both.size(); ++i) {
    both[i].second = sum_of(first[i].second, second[i].second).astype(first[i].second.dtype());
  }
  const std::vector<Tensor> a = evaluate(dx, first), b = evaluate(dx, second);
  const std::vector<Tensor> ab = evaluate(dx, both), zero = evaluate(dx, run.with_cotangents(1, 0));
  for (std::size_t k = 0; k < dx.size(); ++k) {
    const std::string name = slot_text(run.type(), slot_of(run, run.wrt()[k]));
    if (auto text = difference(ab[k], sum_of(a[k], b[k]), bound_of(a[k], b[k]))) {
      sink.broken(format("gradient of {} for c1 + c2 at {}", name, *text));
    }
    const Tensor nothing = Tensor::zeros(zero[k].dtype(), zero[k].shape());
    if (auto text = difference(zero[k], nothing, {0})) {
      sink.broken(format("gradient of {} for a zero cotangent at {}", name, *text));
    }
    sink.ran();
  }
}

void check_second_order(const SampleRun& run, LawSink& sink) {
  if (!run.differentiable() || !run.type().no_second_derivative.empty()) return;
  const std::vector<Expr> dx = gradients(run.float_out(), run.wrt(), run.cotangents());
  std::vector<Expr> wrt = run.wrt();
  wrt.insert(wrt.end(), run.cotangents().begin(), run.cotangents().end());
  GradcheckOptions options;
  options.values = run.with_cotangents(3);
  options.seed = run.seed();
  options.full_up_to = 32;
  options.sampled_elements = 8;
  options.directions = 3;
  options.locate = false;
  GradientReport report = check_gradients(dx, wrt, options);
  for (std::size_t k = 0; k < report.rows.size(); ++k) {
    report.rows[k].name = k < run.wrt().size() ? slot_text(run.type(), slot_of(run, run.wrt()[k]))
                                               : format("cotangent {}", k - run.wrt().size());
  }
  report_rows(report, run.type(), "second order: ", sink);
  if (std::ranges::count(report.rows, Verdict::pass, &GradientRow::verdict) > 0) sink.ran();
}

void check_shared_input(const SampleRun& run, LawSink& sink) {
  if (!run.differentiable()) return;
  for (std::size_t i = 0; i < run.in().size(); ++i) {
    for (std::size_t j = i + 1; j < run.in().size(); ++j) {
      const Expr &a = run.in()[i], &b = run.in()[j];
      if (!a || !b || !is_float(a.dtype()) || a.spec() != b.spec()) continue;
      std::vector<Binding> bindings = run.with_cotangents(4);
      const Tensor& value = run.values(f64)[i];
      for (auto& [x, bound] : bindings) {
        if (same(x, b)) bound = value;
      }
      const Expr z = input("", a.dtype(), a.shape());
      bindings.emplace_back(z, value);
      std::vector<Expr> in = run.in();
      in[i] = in[j] = z;
      std::vector<Expr> out;
      const std::vector<Expr> all = apply(run.out()[0].node().op_pointer(), in, Location());
      for (const Expr& y : run.float_out())
        out.push_back(all[static_cast<std::size_t>(y.output())]);
      const std::vector<Expr> apart =
          gradients(run.float_out(), std::vector<Expr>{a, b}, run.cotangents());
      const std::vector<Tensor> parts = evaluate(apart, bindings);
      const Tensor together =
          evaluate(gradients(out, std::span(&z, 1), run.cotangents()), bindings)[0];
      const std::string what =
          format("f(x, x) in {} and {}: ", slot_text(run.type(), i), slot_text(run.type(), j));
      if (auto text =
              difference(together, sum_of(parts[0], parts[1]), bound_of(parts[0], parts[1]))) {
        sink.broken(format("{}at {}", what, *text));
      }
      report_rows(check_gradients(out, std::span(&z, 1),
                                  {.values = bindings, .seed = run.seed(), .locate = false}),
                  run.type(), what, sink);
      sink.ran();
    }
  }
}

namespace {

void check_decomposition(const SampleRun& run, LawSink& sink) {
  const std::vector<Expr> all = run.op().decomposition(run.in());
  const std::vector<Tensor> values = evaluate(all, run.bindings());
  const std::vector<Tensor>& results = run.results(f64);
  if (values.size() != results.size()) {
    sink.broken(format("its decomposition has {} outputs of {}", values.size(), results.size()));
    return;
  }
  for (std::size_t o = 0; o < values.size(); ++o) {
    if (spec_of(results[o]) != spec_of(values[o])) {
      sink.broken(format("output {} is {} by the decomposition, {} by forward", o,
                         to_string(spec_of(values[o])), to_string(spec_of(results[o]))));
    } else if (auto text = difference(results[o], values[o], run.rounding(o, f64))) {
      sink.broken(format("output {} and the decomposition differ at {}", o, *text));
    }
  }
  sink.ran();
  if (!run.differentiable() || !run.type().has_vjp) return;
  std::vector<Expr> floats;
  for (const Expr& y : run.float_out()) floats.push_back(all[static_cast<std::size_t>(y.output())]);
  const std::vector<Binding> bindings = run.with_cotangents(5);
  const auto own = evaluate(gradients(run.float_out(), run.wrt(), run.cotangents()), bindings);
  const auto other = evaluate(gradients(floats, run.wrt(), run.cotangents()), bindings);
  for (std::size_t k = 0; k < own.size(); ++k) {
    if (auto text = difference(own[k], other[k], bound_of(own[k], other[k]))) {
      sink.broken(format("gradient of {} and that of the decomposition differ at {}",
                         slot_text(run.type(), slot_of(run, run.wrt()[k])), *text));
    }
  }
  sink.ran();
}

// Σ v·t and Σ |v·t| over the outputs; a null tangent is zero, and so is what a zero v meets.
std::pair<double, double> product(const std::vector<Tensor>& v, const std::vector<Expr>& tangents,
                                  std::span<const Binding> bindings) {
  std::vector<Expr> some;
  for (const Expr& t : tangents) {
    if (t) some.push_back(t);
  }
  const std::vector<Tensor> values = evaluate(some, bindings);
  double sum = 0, magnitude = 0;
  for (std::size_t o = 0, next = 0; o < tangents.size(); ++o) {
    if (!tangents[o]) continue;
    const Tensor t = values[next++].astype(f64);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const double weight = v[o].data<double>()[i];
      if (weight == 0) continue;
      sum += weight * t.data<double>()[i];
      magnitude += std::abs(weight * t.data<double>()[i]);
    }
  }
  return {sum, magnitude};
}

// Forward mode along directions of the inputs, all of them or one: ⟨v, J u⟩ against ⟨Jᵀ v, u⟩.
struct TwoModes {
  double forward = 0, backward = 0;
  double terms = 0;  // sum of the magnitudes of what was added up
};

TwoModes both_modes(const SampleRun& run, const Loss& loss, std::span<const Expr> wrt,
                    std::span<const Tensor> u) {
  std::vector<Expr> v, t;
  for (const Tensor& c : loss.cotangents()) v.push_back(constant(c));
  for (const Tensor& direction : u) t.push_back(constant(direction));
  TwoModes result;
  const std::vector<Tensor> g = evaluate(gradients(run.float_out(), wrt, v), run.bindings());
  for (std::size_t k = 0; k < g.size(); ++k) {
    const Direction direction = Direction::through_all("", u[k].to_vector<double>());
    result.backward += direction.dot(g[k].astype(f64));
    result.terms += largest(g[k]) * direction.norm1();
  }
  const auto [forward, magnitude] =
      product(loss.cotangents(), jvp(run.float_out(), wrt, t), run.bindings());
  result.forward = forward;
  result.terms += magnitude + loss.magnitude();
  return result;
}

void compare_modes(const TwoModes& modes, std::string_view where, LawSink& sink) {
  if (std::abs(modes.forward - modes.backward) <= kTwoModes * modes.terms) return;
  sink.broken(format("along a direction of {}: {:.17g} by jvp, {:.17g} by vjp", where,
                     modes.forward, modes.backward));
}

void check_forward_mode(const SampleRun& run, LawSink& sink) {
  const Loss loss(run.float_out(), run.bindings(), run.seed());
  std::vector<Tensor> u;
  for (const Expr& x : run.wrt()) {
    u.push_back(random_normal(f64, x.shape(), 0, 1, {run.seed(), ~u.size()}));
  }
  compare_modes(both_modes(run, loss, run.wrt(), u), "all inputs", sink);
  for (std::size_t k = 0; k < run.wrt().size(); ++k) {
    const Expr& x = run.wrt()[k];
    if (x.shape().numel() == 0) continue;
    const std::string name = slot_text(run.type(), slot_of(run, x));
    const TwoModes modes = both_modes(run, loss, std::span(&x, 1), std::span(&u[k], 1));
    compare_modes(modes, name, sink);
    const auto moved = std::ranges::find_if(
        run.bindings(), [&](const Binding& binding) { return same(binding.first, x); });
    const Derivative numeric =
        loss.derivative(static_cast<std::size_t>(moved - run.bindings().begin()),
                        Direction::through_all("", u[k].to_vector<double>()), modes.terms);
    const double bound = 2 * numeric.error + kTau * modes.terms;
    if (!numeric.kink && !(std::abs(modes.forward - numeric.value) <= bound)) {
      sink.broken(format("along a direction of {}: {:.15g} by jvp, numeric {:.15g} +- {:.1e}", name,
                         modes.forward, numeric.value, 2 * numeric.error));
    }
    sink.ran();
  }
}

}  // namespace

void check_equivalents(const SampleRun& run, LawSink& sink) {
  if (run.type().has_decomposition && run.type().has_forward) check_decomposition(run, sink);
  if (run.differentiable() && has_forward_mode(run.type())) check_forward_mode(run, sink);
}

}  // namespace fovea
