#include "fovea/graph/gradcheck.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fovea/graph/gradcheck_locate.h"
#include "fovea/graph/gradcheck_more.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::string name_of_wrt(const Expr& x, std::size_t k) {
  if (x.node().kind() == Node::Kind::input && !x.node().name().empty()) return x.node().name();
  return x.node().kind() == Node::Kind::op ? std::string(x.node().op().type().name)
                                           : format("wrt {}", k);
}

// Equal expressions once.
std::vector<Expr> distinct(std::span<const Expr> wrt) {
  std::vector<Expr> unique;
  for (const Expr& x : wrt) {
    if (!is_float(x.dtype())) {
      fail("gradcheck", "wrt is {}; f32 or f64 is required", to_string(x.spec()));
    }
    if (std::ranges::none_of(unique, [&](const Expr& seen) { return same(seen, x); })) {
      unique.push_back(x);
    }
  }
  return unique;
}

void add_narrow_rows(std::span<const Expr> outputs, std::span<const Expr> wrt, const Problem& wide,
                     const GradcheckOptions& options, GradientReport& report) {
  const Problem narrow = make_narrow_problem(outputs, wrt, options);
  std::vector<GradientRow> rows = check_narrow_gradients(narrow, wide, options);
  for (GradientRow& row : rows) {
    for (std::size_t k = 0; k < wrt.size(); ++k) {
      if (narrow.wrt[k].node().name() == row.name) row.location = wrt[k].node().location().text();
    }
    row.name += " (f32)";
    report.rows.push_back(std::move(row));
  }
}

void find_culprit(const Problem& problem, const GradcheckOptions& options, GradientReport& report) {
  if (report.verdict() != Verdict::fail) return;
  if (auto culprit = locate(problem, options)) {
    report.culprits.push_back(*std::move(culprit));
  } else {
    report.notes.push_back(
        "no op's own gradient disagrees when it is checked alone: suspect how gradients are put "
        "together,\n    f32 arithmetic, or a rule that looks at more than its own operands");
  }
}

}  // namespace

GradientReport check_gradients(std::span<const Expr> outputs, std::span<const Expr> wrt,
                               const GradcheckOptions& options) {
  GradientReport report;
  report.seed = options.seed;
  report.order = options.order;
  if (options.order < 1) fail("gradcheck", "order {}; 1 or more is required", options.order);
  const std::vector<Expr> unique = distinct(wrt);
  const Deadline deadline(options.budget);
  Problem problem = make_problem(outputs, unique, options);
  if (problem.outputs.empty()) report.notes.push_back("no output is f32 or f64");
  const bool narrow = options.narrow && options.order == 1 && has_narrow(outputs);
  if (narrow && !unique.empty()) add_narrow_rows(outputs, unique, problem, options, report);
  for (int order = 1; order < options.order; ++order) {
    problem = differentiated(problem, options.seed + static_cast<std::uint64_t>(order));
  }
  PreparedCheck check(problem, options);
  Findings findings = check.run(engine_gradients, options, deadline);
  report.notes.insert(report.notes.end(), findings.notes.begin(), findings.notes.end());
  for (std::size_t k = 0; k < unique.size(); ++k) {
    GradientRow& row = findings.rows[k];
    row.name = name_of_wrt(unique[k], k);
    row.location = unique[k].node().location().text();
  }
  report.rows.insert(report.rows.begin(), std::make_move_iterator(findings.rows.begin()),
                     std::make_move_iterator(findings.rows.end()));
  if (options.contracts && !deadline.passed()) {
    report.failures = check_graph_contracts(problem, options.seed);
  }
  if (options.locate) find_culprit(problem, options, report);
  return report;
}

GradientReport check_gradients(const Expr& output, std::initializer_list<Expr> wrt,
                               const GradcheckOptions& options) {
  return check_gradients(std::span(&output, 1), std::span(wrt.begin(), wrt.size()), options);
}

}  // namespace fovea
