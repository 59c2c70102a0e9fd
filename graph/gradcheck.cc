#include "fovea/graph/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "fovea/graph/gradients.h"
#include "fovea/graph/loss.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kTau = 0x1p-31;
constexpr double kDecide = 1e-6;
constexpr double kSafety = 2;

// Both gradients of one input in one direction d.
struct Comparison {
  std::string label;
  double norm1 = 1, norm2 = 1;  // of d
  double analytic = 0;
  Derivative numeric = {};

  double difference() const { return std::abs(analytic - numeric.value); }
};

// From the best to the worst; a kink says nothing.
enum class Finding { kink, agrees, undecided, differs };

Finding judge(const Comparison& c, double largest) {
  if (!std::isfinite(c.analytic)) return Finding::differs;
  if (!c.numeric.found) return Finding::undecided;
  const auto [low, high] = std::minmax(c.numeric.left, c.numeric.right);
  const double slack = (high - low) / 8;
  if (c.numeric.kink && c.analytic >= low - slack && c.analytic <= high + slack) {
    return Finding::kink;
  }
  const double bound = kSafety * c.numeric.error + kTau * largest * c.norm1;
  if (!(c.difference() <= bound)) return Finding::differs;
  const bool decided = c.numeric.error <= kDecide * largest * c.norm2;
  return decided ? Finding::agrees : Finding::undecided;
}

// Whether both gradients are zero as far as arithmetic can tell.
bool is_zero(const Comparison& c, double magnitude) {
  const double bar = kSafety * c.numeric.error;
  return c.numeric.found && std::abs(c.analytic) <= bar && std::abs(c.numeric.value) <= bar &&
         bar <= kTau * magnitude;
}

// Fills in what the comparisons of one input say together.
void conclude(GradientRow& row, const std::vector<Comparison>& all, const Tensor& gradient,
              double magnitude) {
  double scale = largest(gradient), bar = 0;
  for (const Comparison& c : all) {
    if (!c.numeric.found) continue;
    bar = std::max(bar, kSafety * c.numeric.error);
    const double sure = std::abs(c.numeric.value) - c.numeric.error;
    scale = std::max(scale, sure / c.norm2);
  }
  const bool zero = scale <= bar && std::ranges::all_of(all, [&](const Comparison& c) {
                      return is_zero(c, magnitude);
                    });
  bool agreed = false;
  Finding worst = Finding::kink;
  for (const Comparison& c : all) {
    const Finding finding = zero ? Finding::agrees : judge(c, scale);
    if (finding == Finding::kink) {
      ++row.kinks;
      continue;
    }
    agreed = agreed || finding == Finding::agrees;
    double relative = zero ? 0 : c.difference() / (scale * c.norm2);
    if (std::isnan(relative)) relative = c.difference() == 0 ? 0 : HUGE_VAL;
    const bool worse = finding > worst || (finding == worst && relative >= row.relative);
    if (worse) {
      worst = finding;
      row.worst = c.label;
      row.analytic = c.analytic;
      row.numeric = c.numeric.value;
      row.uncertainty = kSafety * c.numeric.error;
    }
    row.absolute = std::max(row.absolute, c.difference());
    row.relative = std::max(row.relative, relative);
  }
  row.verdict = worst == Finding::differs                               ? Verdict::fail
                : worst == Finding::undecided || (row.kinks && !agreed) ? Verdict::inconclusive
                : zero                                                  ? Verdict::vacuous
                                                                        : Verdict::pass;
}

// What the options say, of a graph in f64 whose wrt are all inputs.
struct Problem {
  std::vector<Expr> outputs, wrt;
  std::vector<Binding> bindings;  // of wrt, in their order, then of the other inputs
};

class Check {
 public:
  Check(const Problem& problem, const GradcheckOptions& options)
      : problem_(problem),
        options_(options),
        loss_(problem.outputs, problem.bindings, options.seed) {
    std::vector<Expr> cotangents;
    for (const Tensor& c : loss_.cotangents()) cotangents.push_back(constant(c));
    gradients_ = evaluate(gradients(problem_.outputs, problem_.wrt, cotangents), problem_.bindings);
  }

  const Loss& loss() const { return loss_; }

  GradientRow run(std::size_t k) {
    const Tensor gradient = gradients_[k].contiguous();
    GradientRow row;
    row.elements = gradient.numel();
    for (double x : problem_.bindings[k].second.to_vector<double>()) {
      if (!std::isfinite(x)) ++row.fixed;
    }
    const std::vector<std::int64_t> elements = elements_of(k, gradient);
    const bool partly = gradient.numel() > options_.full_up_to;
    row.checked = std::ssize(elements);
    row.directions = partly ? options_.directions : 0;
    const std::int64_t count = row.directions + row.checked;
    std::vector<Comparison> all;
    double scale = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t element = i - row.directions;
      all.push_back(compare(
          k, gradient,
          element < 0
              ? random_direction(k, i)
              : Direction::element(gradient.shape(), elements[static_cast<std::size_t>(element)]),
          scale));
      scale = std::max(scale, std::abs(all.back().numeric.value) / all.back().norm2);
      report_progress(k, static_cast<double>(i + 1) / static_cast<double>(count));
    }
    conclude(row, all, gradient, loss_.magnitude());
    return row;
  }

 private:
  Comparison compare(std::size_t k, const Tensor& gradient, const Direction& d,
                     double scale) const {
    Comparison c{d.label(), d.norm1(), d.norm2(), d.dot(gradient)};
    c.numeric = loss_.derivative(k, d, scale * c.norm2);
    return c;
  }

  // Elements that are not finite stay where they are.
  bool movable(std::size_t k, std::int64_t i) const {
    return std::isfinite(problem_.bindings[k].second.data<double>()[i]);
  }

  Key key(std::size_t k, std::int64_t direction) const {
    const Key base = key_for(options_.seed, "directions");
    return {base.seed, base.stream + 4096 * k + static_cast<std::uint64_t>(direction + 1)};
  }

  // A step up or down for each element.
  Direction random_direction(std::size_t k, std::int64_t number) const {
    const std::int64_t n = problem_.bindings[k].second.numel();
    std::vector<double> d;
    for (bool up : random_bernoulli({n}, 0.5, key(k, number)).to_vector<bool>()) {
      d.push_back(!movable(k, std::ssize(d)) ? 0 : up ? 1 : -1);
    }
    return Direction::through_all(format("direction {}", number + 1), std::move(d));
  }

  // Every element of a small input, some of a large one.
  std::vector<std::int64_t> elements_of(std::size_t k, const Tensor& gradient) const {
    const std::int64_t n = gradient.numel();
    std::vector<std::int64_t> elements;
    if (n <= options_.full_up_to) {
      elements.resize(static_cast<std::size_t>(n));
      std::iota(elements.begin(), elements.end(), 0);
    } else {
      if (options_.sampled_elements > 0) {
        const Tensor sample = random_integers({options_.sampled_elements}, 0, n, key(k, -1));
        elements = sample.to_vector<std::int64_t>();
      }
      // The largest element is where an error shows first.
      const std::vector<double> g = gradient.to_vector<double>();
      const auto smaller = [](double a, double b) { return std::abs(a) < std::abs(b); };
      elements.push_back(std::ranges::max_element(g, smaller) - g.begin());
      std::ranges::sort(elements);
      elements.erase(std::ranges::unique(elements).begin(), elements.end());
    }
    std::erase_if(elements, [&](std::int64_t i) { return !movable(k, i); });
    return elements;
  }

  void report_progress(std::size_t k, double part) const {
    if (!options_.progress) return;
    options_.progress((static_cast<double>(k) + part) / static_cast<double>(problem_.wrt.size()));
  }

  const Problem& problem_;
  const GradcheckOptions& options_;
  Loss loss_;
  std::vector<Tensor> gradients_;
};

Tensor value_of(const Expr& old, const Expr& x, std::size_t index,
                const GradcheckOptions& options) {
  for (const auto& [bound, value] : options.values) {
    if (!same(bound, old)) continue;
    if (!value || value.shape() != x.shape() ||
        (value.dtype() != x.dtype() && !(is_float(value.dtype()) && is_float(x.dtype())))) {
      fail("gradcheck", "{} for input {}, which is {}",
           value ? to_string(spec_of(value)) : "a null tensor", quoted(old.node().name()),
           to_string(old.spec()));
    }
    return value.astype(x.dtype());
  }
  if (x.dtype() == i64) return Tensor::zeros(i64, x.shape());
  if (x.dtype() == boolean) return Tensor::full(boolean, x.shape(), 1);
  Key key = key_for(options.seed, old.node().name());
  key.stream += index;
  return random_normal(f64, x.shape(), 0, 1, key);
}

// In f64, with a fresh input in place of each wrt that is no input, and values for all.
Problem prepare(std::span<const Expr> outputs, std::span<const Expr> wrt,
                const GradcheckOptions& options) {
  std::vector<Expr> all;
  for (const Expr& y : outputs) {
    if (is_float(y.dtype())) all.push_back(y);
  }
  const auto count = static_cast<std::ptrdiff_t>(all.size());
  all.insert(all.end(), wrt.begin(), wrt.end());
  std::vector<std::pair<Expr, Expr>> inputs;
  all = as_dtype(all, f64, &inputs);
  std::vector<Binding> given;
  for (const auto& [old, x] : inputs) {
    given.emplace_back(x, value_of(old, x, given.size(), options));
  }
  const std::vector<Expr> targets(all.begin() + count, all.end());
  const std::vector<Tensor> values = evaluate(targets, given);
  Problem problem;
  std::vector<Expr> from;
  for (std::size_t k = 0; k < targets.size(); ++k) {
    const bool is_input = targets[k].node().kind() == Node::Kind::input;
    problem.wrt.push_back(is_input ? targets[k] : input("", f64, targets[k].shape()));
    if (!is_input) from.push_back(targets[k]);
    problem.bindings.emplace_back(problem.wrt.back(), values[k].contiguous());
  }
  std::vector<Expr> to;
  for (std::size_t k = 0; k < targets.size(); ++k) {
    if (!same(targets[k], problem.wrt[k])) to.push_back(problem.wrt[k]);
  }
  problem.outputs = substitute(std::span(all).first(static_cast<std::size_t>(count)), from, to);
  for (const Binding& binding : given) {
    const bool is_wrt =
        std::ranges::any_of(problem.wrt, [&](const Expr& x) { return same(x, binding.first); });
    if (!is_wrt) problem.bindings.push_back(binding);
  }
  return problem;
}

std::string name_of_wrt(const Expr& x, std::size_t k) {
  if (x.node().kind() == Node::Kind::input && !x.node().name().empty()) return x.node().name();
  return x.node().kind() == Node::Kind::op ? std::string(x.node().op().type().name)
                                           : format("wrt {}", k);
}

}  // namespace

GradientReport check_gradients(std::span<const Expr> outputs, std::span<const Expr> wrt,
                               const GradcheckOptions& options) {
  GradientReport report;
  report.seed = options.seed;
  for (const Expr& x : wrt) {
    if (!is_float(x.dtype())) {
      fail("gradcheck", "wrt is {}; f32 or f64 is required", to_string(x.spec()));
    }
  }
  std::vector<Expr> unique;
  for (const Expr& x : wrt) {
    if (std::ranges::none_of(unique, [&](const Expr& seen) { return same(seen, x); })) {
      unique.push_back(x);
    }
  }
  const Problem problem = prepare(outputs, unique, options);
  if (problem.outputs.empty()) report.notes.push_back("no output is f32 or f64");
  Check check(problem, options);
  for (std::size_t o = 0; o < problem.outputs.size(); ++o) {
    if (const std::int64_t special = check.loss().left_out()[o]) {
      report.notes.push_back(format("output {}: {} of {} values are not finite; left out", o,
                                    special, problem.outputs[o].shape().numel()));
    }
  }
  for (std::size_t k = 0; k < unique.size(); ++k) {
    GradientRow row = check.run(k);
    row.name = name_of_wrt(unique[k], k);
    row.location = unique[k].node().location().text();
    report.rows.push_back(std::move(row));
  }
  return report;
}

GradientReport check_gradients(const Expr& output, std::initializer_list<Expr> wrt,
                               const GradcheckOptions& options) {
  return check_gradients(std::span(&output, 1), std::span(wrt.begin(), wrt.size()), options);
}

}  // namespace fovea
