// `fovea gradcheck`.

#include <nlohmann/json.hpp>

#include "fovea/cli/commands.h"
#include "fovea/cli/terminal.h"
#include "fovea/graph/gradcheck.h"
#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

nlohmann::json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
}

nlohmann::json as_json(const GradientReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const GradientRow& row : report.rows) {
    rows.push_back({{"name", row.name},
                    {"location", row.location},
                    {"elements", row.elements},
                    {"checked", row.checked},
                    {"directions", row.directions},
                    {"kinks", row.kinks},
                    {"absolute", number(row.absolute)},
                    {"relative", number(row.relative)},
                    {"worst", row.worst},
                    {"analytic", number(row.analytic)},
                    {"numeric", number(row.numeric)},
                    {"uncertainty", number(row.uncertainty)},
                    {"verdict", name_of(row.verdict)}});
  }
  return {{"verdict", name_of(report.verdict())},
          {"seed", report.seed},
          {"notes", report.notes},
          {"rows", std::move(rows)}};
}

// With --quiet only what did not pass is worth a word.
std::string text_of(const Options& options, const GradientReport& report) {
  if (options.json) return json_text(as_json(report));
  return options.quiet && report.passed() ? "" : to_string(report);
}

// Gradients of integers and predicates do not exist: such an op has no rows and no verdict.
int check_registry(const Options& options, const Registry& registry, Outcome& out) {
  std::vector<const OpType*> types = registry.types();
  if (!options.ops.empty()) {
    types.clear();
    for (const std::string& name : options.ops) types.push_back(&op_named("--ops", name, registry));
  }
  GradientReport all;
  all.seed = options.seed.value_or(0);
  Progress progress("checking gradients", options.quiet);
  bool passed = true;
  for (std::size_t i = 0; i < types.size(); ++i) {
    progress.set(static_cast<double>(i) / static_cast<double>(types.size()));
    const GradientReport report = check_op(*types[i], {.seed = all.seed});
    passed &= report.passed() || report.rows.empty();
    all.rows.insert(all.rows.end(), report.rows.begin(), report.rows.end());
    all.notes.insert(all.notes.end(), report.notes.begin(), report.notes.end());
  }
  out.text = text_of(options, all);
  return passed && !all.rows.empty() ? 0 : 1;
}

int check_model(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  BindOptions bind = bind_options(options, model);
  bind.dtype = f64;
  const Session session = model.bind(options.dims, bind);
  std::vector<Expr> outputs, wrt;
  for (const auto& [name, expr] : session.outputs()) outputs.push_back(expr);
  session.require_memory(outputs);
  Progress progress("checking gradients", options.quiet);
  GradcheckOptions check{.seed = options.seed.value_or(0),
                         .progress = [&](double part) { progress.set(part); }};
  const auto add = [&](const ModelValue& value) {
    check.values.emplace_back(value.expr, session.tensor(value));
    if (is_float(value.expr.dtype())) wrt.push_back(value.expr);
  };
  for (const ModelValue& input : session.inputs()) add(input);
  for (const ModelValue& param : session.params()) add(param);
  const GradientReport report = check_gradients(outputs, wrt, check);
  out.note = drawn_note(options, session);
  out.text = text_of(options, report);
  return report.passed() ? 0 : 1;
}

}  // namespace

int gradcheck(const Options& options, const Registry& registry, Outcome& out) {
  return options.check_ops ? check_registry(options, registry, out)
                           : check_model(options, registry, out);
}

}  // namespace fovea::cli
