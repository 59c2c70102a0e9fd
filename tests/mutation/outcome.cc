// Mutants put before the gradient checker.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradient_rule.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/law_run.h"
#include "fovea/tensor/format.h"
#include "mutations.h"

namespace fovea::mutation {

namespace {

std::shared_ptr<const Op> damaged(std::shared_ptr<const Op> op, const Mutant& mutant) {
  return with_gradient(
      std::move(op), [&mutant](const Op& op, std::span<const Expr> in, std::span<const Expr> out,
                               std::span<const Expr> d) {
        std::vector<Expr> dx = own_gradient(op, in, out, d);
        if (!dx[mutant.slot]) return dx;
        return mutant.mutation.damage({op, in, out, d}, mutant.slot, std::move(dx));
      });
}

// A sample's inputs and values, with one expression for two inputs if the mutation asks for that.
struct Setting {
  std::vector<Expr> in, wrt;
  std::vector<Binding> bindings, with_cotangents;
};

std::optional<Setting> setting(const SampleRun& run, const Mutant& mutant) {
  Setting setting{run.in(), run.wrt(), run.bindings(), run.with_cotangents(0)};
  const Expr& x = run.in()[mutant.slot];
  if (!x || !is_float(x.dtype())) return {};
  if (!mutant.mutation.shares_inputs) return setting;
  for (std::size_t i = 0; i < run.in().size(); ++i) {
    if (i == mutant.slot || !run.in()[i] || run.in()[i].spec() != x.spec()) continue;
    setting.in[i] = x;
    std::erase_if(setting.wrt, [&](const Expr& y) { return same(y, run.in()[i]); });
    return setting;
  }
  return {};
}

std::vector<Expr> results(const std::shared_ptr<const Op>& op, const Setting& setting,
                          const SampleRun& run) {
  const std::vector<Expr> all = apply(op, setting.in, Location());
  std::vector<Expr> floats;
  for (const Expr& y : run.float_out()) floats.push_back(all[static_cast<std::size_t>(y.output())]);
  return floats;
}

// Largest change of an element of any gradient, relative to the largest element of that gradient.
double movement(const SampleRun& run, const Setting& setting, const std::vector<Expr>& right,
                const std::vector<Expr>& wrong) {
  const auto values = [&](const std::vector<Expr>& y) {
    return evaluate(gradients(y, setting.wrt, run.cotangents()), setting.with_cotangents);
  };
  const std::vector<Tensor> a = values(right);
  std::vector<Tensor> b;
  try {
    b = values(wrong);
  } catch (const Error&) {
    return std::numeric_limits<double>::infinity();  // no gradient at all
  }
  double moved = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const std::vector<double> x = a[k].to_vector<double>(), y = b[k].to_vector<double>();
    double largest = 0, change = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isfinite(x[i])) largest = std::max(largest, std::abs(x[i]));
      if (x[i] == y[i] || std::isnan(x[i])) continue;
      change = std::max(change, std::isnan(y[i]) ? std::numeric_limits<double>::infinity()
                                                 : std::abs(x[i] - y[i]));
    }
    if (change > 0) moved = std::max(moved, change / largest);
  }
  return moved;
}

std::string verdict(const Mutant& mutant, const std::vector<Expr>& y, const Setting& setting,
                    std::uint64_t seed, bool& failed) {
  GradcheckOptions options;
  options.values = setting.bindings;
  options.seed = seed;
  options.full_up_to = std::numeric_limits<std::int64_t>::max();
  options.locate = false;
  try {
    const GradientReport report = check_gradients(y, setting.wrt, options);
    failed = report.verdict() == Verdict::fail;
    return std::string(name_of(report.verdict()));
  } catch (const Error& error) {
    failed = true;  // the rule's result cannot even be used
    return format("{}: {}", mutant.text(), error.what());
  }
}

}  // namespace

Outcome try_mutant(const Mutant& mutant, std::uint64_t seed) {
  Outcome outcome;
  const std::vector<AnySample> samples = mutant.op->samples();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const SampleRun run(*mutant.op, samples[i], seed, i);
    if (!run.differentiable()) continue;
    const std::optional<Setting> how = setting(run, mutant);
    if (!how) continue;
    const std::shared_ptr<const Op> op = run.out()[0].node().op_pointer();
    const std::vector<Expr> wrong = results(damaged(op, mutant), *how, run);
    if (movement(run, *how, results(op, *how, run), wrong) <= 1e-6) continue;
    ++outcome.samples;
    bool failed = false;
    const std::string text = verdict(mutant, wrong, *how, seed, failed);
    if (failed) {
      ++outcome.caught;
    } else if (outcome.survivor.empty()) {
      outcome.survivor = format("sample {}: {}", i + 1, text);
    }
  }
  return outcome;
}

}  // namespace fovea::mutation
