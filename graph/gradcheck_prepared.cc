#include "fovea/graph/gradcheck_prepared.h"

#include <algorithm>

#include "fovea/graph/gradients.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

bool worse(Verdict a, Verdict b) {
  const auto rank = [](Verdict v) {
    return v == Verdict::fail ? 3 : v == Verdict::inconclusive ? 2 : v == Verdict::pass ? 1 : 0;
  };
  return rank(a) > rank(b);
}

}  // namespace

std::vector<Expr> engine_gradients(const Problem& problem, std::span<const Expr> cotangents) {
  return gradients(problem.outputs, problem.wrt, cotangents);
}

PreparedCheck::PreparedCheck(Problem problem, const GradcheckOptions& options)
    : oracles_(std::move(problem), options.seed) {}

Findings PreparedCheck::run(const GradientMaker& make, const GradcheckOptions& options,
                            const Deadline& deadline) {
  Findings findings;
  const Problem& problem = oracles_.problem();
  RoundingNotes rounding;
  const std::vector<Bounded> gradients =
      with_bounds(make(problem, oracles_.cotangents()), problem.bindings, {}, &rounding);
  for (std::size_t o = 0; o < problem.outputs.size(); ++o) {
    if (const std::int64_t special = oracles_.loss().left_out()[o]) {
      findings.notes.push_back(format("output {}: {} of {} values are not finite; left out", o,
                                      special, problem.outputs[o].shape().numel()));
    }
  }
  const std::size_t count = problem.wrt.size();
  for (std::size_t k = 0; k < count; ++k) {
    const Deadline own = deadline.share(count - k);
    GradientRow row = check_input(oracles_, k, gradients[k], options, own);
    if (row.kinks > 0) step_beside(k, row, make, options, own);
    findings.rows.push_back(std::move(row));
    if (options.progress) {
      options.progress(static_cast<double>(k + 1) / static_cast<double>(count));
    }
  }
  const std::string& flipped =
      oracles_.loss().flipped().empty() ? rounding.flipped : oracles_.loss().flipped();
  const bool open = std::ranges::count(findings.rows, Verdict::inconclusive, &GradientRow::verdict);
  if (open && !flipped.empty()) {
    findings.notes.push_back(
        format("error bars are wide because rounding may decide {} otherwise", flipped));
  }
  if (!oracles_.no_forward().empty()) {
    findings.notes.push_back(format("no forward mode: {}", oracles_.no_forward()));
  }
  if (!oracles_.no_decomposition().empty()) {
    findings.notes.push_back(format("no decomposition: {}", oracles_.no_decomposition()));
  }
  return findings;
}

// Names the kinks, and checks the input again where they are not.
void PreparedCheck::step_beside(std::size_t k, GradientRow& row, const GradientMaker& make,
                                const GradcheckOptions& options, const Deadline& deadline) {
  const Problem& problem = oracles_.problem();
  for (Kink& kink : row.kinks_at) {
    // Directions are through elements that have been named, or are many.
    if (kink.input.front() != '[') continue;
    for (std::int64_t i = 0; i < row.elements; ++i) {
      const Direction d = Direction::element(row.shape, i);
      if (d.label() != kink.input) continue;
      if (auto found = find_kink(problem, k, d)) kink = *std::move(found);
      break;
    }
  }
  if (row.verdict == Verdict::fail || deadline.passed()) return;
  try {
    if (!beside_) beside_ = std::make_unique<Oracles>(beside(problem), options.seed);
    const std::vector<Bounded> gradients =
        with_bounds(make(beside_->problem(), beside_->cotangents()), beside_->problem().bindings);
    GradientRow moved = check_input(*beside_, k, gradients[k], options, deadline);
    if (moved.verdict == Verdict::fail || row.verdict == Verdict::inconclusive ||
        worse(moved.verdict, row.verdict)) {
      const std::int64_t kinks = row.kinks, checked = row.checked;
      std::vector<Kink> at = std::move(row.kinks_at);
      row = std::move(moved);
      row.kinks = kinks;
      row.checked = std::max(row.checked, checked);
      row.kinks_at = std::move(at);
      row.note = "checked beside its kinks";
    }
  } catch (const Error& error) {
    row.note = format("beside its kinks the graph cannot be computed: {}", error.what());
  }
}

}  // namespace fovea
