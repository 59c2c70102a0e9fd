#include "fovea/graph/gradcheck.h"

#include <algorithm>
#include <utility>

#include "fovea/graph/gradcheck_prepared.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

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
  report.order = options.order;
  for (const Expr& x : wrt) {
    if (!is_float(x.dtype())) {
      fail("gradcheck", "wrt is {}; f32 or f64 is required", to_string(x.spec()));
    }
  }
  if (options.order < 1) fail("gradcheck", "order {}; 1 or more is required", options.order);
  std::vector<Expr> unique;
  for (const Expr& x : wrt) {
    if (std::ranges::none_of(unique, [&](const Expr& seen) { return same(seen, x); })) {
      unique.push_back(x);
    }
  }
  const Deadline deadline(options.budget);
  Problem problem = make_problem(outputs, unique, options);
  if (problem.outputs.empty()) report.notes.push_back("no output is f32 or f64");
  for (int order = 1; order < options.order; ++order) {
    problem = differentiated(problem, options.seed + static_cast<std::uint64_t>(order));
  }
  PreparedCheck check(std::move(problem), options);
  Findings findings = check.run(engine_gradients, options, deadline);
  report.notes.insert(report.notes.end(), findings.notes.begin(), findings.notes.end());
  for (std::size_t k = 0; k < unique.size(); ++k) {
    GradientRow& row = findings.rows[k];
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
