#include "fovea/graph/gradcheck_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "fovea/graph/one_node_model.h"
#include "fovea/tensor/atomic_write.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

using nlohmann::json;

json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
}

json as_json(const GradientRow& row) {
  json oracles = json::array(), findings = json::array(), kinks = json::array();
  for (Oracle oracle : row.oracles) oracles.push_back(name_of(oracle));
  for (const OracleFinding& f : row.findings) {
    findings.push_back({{"oracle", name_of(f.oracle)},
                        {"value", number(f.value)},
                        {"bar", number(f.bar)},
                        {"agrees", f.agrees}});
  }
  for (const Kink& kink : row.kinks_at) {
    kinks.push_back({{"input", kink.input}, {"op", kink.op}, {"location", kink.location}});
  }
  json errors = json::array();
  for (double e : row.errors) errors.push_back(number(e));
  std::vector<std::int64_t> shape(row.shape.begin(), row.shape.end());
  return {{"name", row.name},
          {"location", row.location},
          {"shape", shape},
          {"elements", row.elements},
          {"checked", row.checked},
          {"directions", row.directions},
          {"kinks", row.kinks},
          {"kinks_at", std::move(kinks)},
          {"fixed", row.fixed},
          {"skipped", row.skipped},
          {"absolute", number(row.absolute)},
          {"relative", number(row.relative)},
          {"largest", number(row.largest)},
          {"missed", number(row.missed)},
          {"oracles", std::move(oracles)},
          {"worst", row.worst},
          {"analytic", number(row.analytic)},
          {"bar", number(row.bar)},
          {"numeric", number(row.numeric)},
          {"uncertainty", number(row.uncertainty)},
          {"ulps", number(row.ulps)},
          {"findings", std::move(findings)},
          {"errors", std::move(errors)},
          {"verdict", name_of(row.verdict)},
          {"note", row.note},
          {"suspicion", row.suspicion}};
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Other control characters do not exist in XML.
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

// One row as a report of its own: the text that people get.
std::string text_of(const GradientRow& row, const GradientReport& report) {
  GradientReport one;
  one.rows = {row};
  one.culprits = report.culprits;
  one.seed = report.seed;
  one.order = report.order;
  one.command = report.command;
  return to_string(one);
}

std::string test_case(std::string_view name, std::string_view inside) {
  return format("    <testcase classname=\"gradcheck\" name=\"{}\"{}\n", xml(name),
                inside.empty() ? "/>" : format(">{}</testcase>", inside));
}

std::string failure(std::string_view type, std::string_view message, std::string_view text) {
  return format("<failure type=\"{}\" message=\"{}\">{}</failure>", xml(type), xml(message),
                xml(text));
}

}  // namespace

std::string report_as_json(const GradientReport& report) {
  json rows = json::array(), culprits = json::array();
  for (const GradientRow& row : report.rows) rows.push_back(as_json(row));
  for (const Culprit& culprit : report.culprits) {
    culprits.push_back({{"op", culprit.op},
                        {"name", culprit.name},
                        {"location", culprit.location},
                        {"row", as_json(culprit.row)}});
  }
  const json all = {{"verdict", name_of(report.verdict())},
                    {"seed", report.seed},
                    {"order", report.order},
                    {"command", report.command},
                    {"notes", report.notes},
                    {"failures", report.failures},
                    {"culprits", std::move(culprits)},
                    {"rows", std::move(rows)}};
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string report_as_junit(const GradientReport& report) {
  std::string cases;
  std::int64_t failures = 0, skipped = 0, tests = 0;
  for (const GradientRow& row : report.rows) {
    ++tests;
    std::string inside;
    if (row.verdict == Verdict::fail || row.verdict == Verdict::inconclusive) {
      ++failures;
      const std::string what =
          row.note.empty() ? format("{} at {}: gradient {:.9g}, oracle {:.9g} +- {:.1e}", row.name,
                                    row.worst, row.analytic, row.numeric, row.uncertainty)
                           : row.note;
      inside = failure(row.verdict == Verdict::fail ? "fail" : "inconclusive", what,
                       text_of(row, report));
    } else if (row.verdict == Verdict::vacuous) {
      ++skipped;
      inside = "<skipped message=\"every gradient is zero: nothing was tested\"/>";
    }
    cases += test_case(row.name, inside);
  }
  for (const std::string& text : report.failures) {
    ++tests;
    ++failures;
    cases += test_case("contract", failure("fail", text, text + "\nrepeat: " + report.command));
  }
  return format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"fovea "
      "gradcheck\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">\n{}  "
      "</testsuite>\n</testsuites>\n",
      tests, failures, skipped, cases);
}

std::string write_reproducer(const std::string& folder, const Culprit& culprit,
                             std::uint64_t seed) {
  if (!culprit.node) throw Error(folder, "no op is to blame; there is nothing to reproduce");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(folder, format("it cannot be made: {}", error.message()));
  const std::filesystem::path at(folder);
  const std::string model = (at / "model.json").string();
  const std::string arrays = (at / "inputs.safetensors").string();
  const std::string text = one_node_model(*culprit.node, culprit.inputs, culprit.outputs);
  NamedTensors inputs;
  for (std::size_t i = 0; i < culprit.inputs.size(); ++i) {
    if (!culprit.inputs[i]) continue;
    inputs.emplace(one_node_input(culprit.node->type(), i), culprit.inputs[i]);
  }
  atomic_write(
      model, [&](FileWriter& file) { file.write(text); }, [&] { save_tensors(arrays, inputs); });
  return format("fovea gradcheck {} --inputs {} --seed {}", model, arrays, seed);
}

}  // namespace fovea
