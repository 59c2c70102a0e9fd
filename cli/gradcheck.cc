// `fovea gradcheck`.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "fovea/cli/commands.h"
#include "fovea/cli/terminal.h"
#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradcheck_files.h"
#include "fovea/graph/laws.h"
#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

// A word as a shell takes it.
std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("_-./=,:+%@").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// The command that was given, without what only says where results go; `ops` in place of --ops.
std::string repeating(const Options& options, const std::vector<std::string>& ops) {
  static constexpr std::string_view kFiles[] = {"--report", "--junit", "--svg", "--repro"};
  std::string command = "fovea";
  bool seeded = false;
  for (std::size_t i = 0; i < options.words.size(); ++i) {
    const std::string& word = options.words[i];
    const std::string name = word.substr(0, word.find('='));
    if (word == "--json" || word == "--quiet") continue;
    if (std::ranges::find(kFiles, name) != std::end(kFiles)) {
      if (name == word) ++i;
      continue;
    }
    if (name == "--ops" && !ops.empty()) {
      const bool named = name == word && i + 1 < options.words.size() && !options.ops.empty() &&
                         !options.words[i + 1].starts_with("-");
      if (named) ++i;
      command += format(" --ops {}", fmt::join(ops, ","));
      continue;
    }
    seeded = seeded || name == "--seed";
    command += " " + shell_word(word);
  }
  if (!seeded) command += format(" --seed {}", options.seed.value_or(0));
  return command;
}

GradcheckOptions check_options(const Options& options) {
  GradcheckOptions check;
  check.seed = options.seed.value_or(0);
  check.order = options.order;
  check.budget = options.budget;
  check.contracts = true;
  return check;
}

void append(GradientReport& all, GradientReport&& more) {
  const auto move = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  move(all.rows, more.rows);
  move(all.notes, more.notes);
  move(all.failures, more.failures);
  move(all.culprits, more.culprits);
}

// Text for stdout, and the files.
int finish(const Options& options, GradientReport& report, bool passed, Outcome& out) {
  if (!options.repro.empty() && !report.culprits.empty()) {
    const std::string command =
        write_reproducer(options.repro, report.culprits.front(), report.seed);
    report.notes.push_back("the op to blame alone: " + command);
  }
  const auto file = [&](const std::string& path, const auto& text_of) {
    if (!path.empty()) out.texts.emplace_back(path, text_of(report));
  };
  file(options.report, report_as_json);
  file(options.junit, report_as_junit);
  file(options.svg, report_as_svg);
  if (options.json) {
    out.text = report_as_json(report);
  } else if (!options.quiet || !passed) {
    // With --quiet only what did not pass is worth a word.
    out.text = to_string(report);
  }
  return passed ? 0 : 1;
}

// Gradients of integers and predicates do not exist: such an op has no rows, but contracts.
int check_registry(const Options& options, const Registry& registry, Outcome& out) {
  std::vector<const OpType*> types = registry.types();
  if (!options.ops.empty()) {
    types.clear();
    for (const std::string& name : options.ops) types.push_back(&op_named("--ops", name, registry));
  }
  GradientReport all;
  GradcheckOptions check = check_options(options);
  all.seed = check.seed;
  all.order = check.order;
  Progress progress("checking gradients", options.quiet);
  std::vector<std::string> failed;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const OpType& type = *types[i];
    progress.set(static_cast<double>(i) / static_cast<double>(types.size()));
    check.budget = options.budget / static_cast<double>(types.size());
    if (check.order > 1 && !type.no_second_derivative.empty()) {
      all.notes.push_back(
          format("{}: no derivative of order 2: {}", type.name, type.no_second_derivative));
      continue;
    }
    GradientReport report = check_op(type, check);
    if (check.order == 1) {
      report.failures = check_contracts(type, check.seed, options.laws);
      if (options.laws) {
        report.notes.push_back(
            format("{}: {} laws, {} failures", type.name, laws().size(), report.failures.size()));
      }
    }
    // Linear ops have second derivatives of zero.
    const bool fine = report.passed() || (check.order > 1 && report.verdict() == Verdict::vacuous);
    if (!fine && !(report.rows.empty() && report.failures.empty())) failed.emplace_back(type.name);
    append(all, std::move(report));
  }
  all.command = repeating(options, failed);
  return finish(options, all, failed.empty() && all.passed(), out);
}

// The name of the node at the JSON pointer that ends a location; in a block, the location ends with
// the name.
void name_culprits(const std::string& path, GradientReport& report) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 28;  // the model has been read once already
  for (Culprit& culprit : report.culprits) {
    std::string& location = culprit.location;
    if (const std::size_t name = location.rfind(" ("); location.ends_with(')')) {
      culprit.name = location.substr(name + 2, location.size() - name - 3);
      location.resize(name);
      continue;
    }
    const std::size_t pointer = location.find(": /");
    if (pointer == std::string::npos) continue;
    std::string at = location.substr(pointer + 2);
    at.resize(std::min(at.size(), at.find_first_of(" ,")));
    try {
      const auto document = nlohmann::json::parse(read_text_file(path, kMostBytes));
      culprit.name = document.at(nlohmann::json::json_pointer(at)).at("name").get<std::string>();
    } catch (const nlohmann::json::exception&) {
      // A place that is no node has no name.
    }
  }
}

int check_model(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  const Session session = model.bind(options.dims, bind_options(options, model));
  std::vector<Expr> outputs, wrt;
  for (const auto& [name, expr] : session.outputs()) outputs.push_back(expr);
  session.require_memory(outputs);
  Progress progress("checking gradients", options.quiet);
  GradcheckOptions check = check_options(options);
  check.progress = [&](double part) { progress.set(part); };
  const auto add = [&](const ModelValue& value) {
    check.values.emplace_back(value.expr, session.tensor(value));
    if (is_float(value.expr.dtype())) wrt.push_back(value.expr);
  };
  for (const ModelValue& input : session.inputs()) add(input);
  for (const ModelValue& param : session.params()) add(param);
  GradientReport report = check_gradients(outputs, wrt, check);
  if (options.edges) {
    GradientReport edges = check_attention_edges(outputs, check);
    if (edges.rows.empty()) report.notes.push_back("--edges: the model has no attention");
    append(report, std::move(edges));
  }
  if (!report.culprits.empty()) name_culprits(options.model, report);
  report.command = repeating(options, {});
  out.note = drawn_note(options, session);
  return finish(options, report, report.passed(), out);
}

}  // namespace

int gradcheck(const Options& options, const Registry& registry, Outcome& out) {
  return options.check_ops ? check_registry(options, registry, out)
                           : check_model(options, registry, out);
}

}  // namespace fovea::cli
