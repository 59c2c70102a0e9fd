#include "fovea/cli/commands.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "fovea/cli/terminal.h"
#include "fovea/graph/schema.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/json_arrays.h"

namespace fovea::cli {

void refuse_overwriting(const Options& options, const std::string& weights) {
  using Named = std::pair<std::string_view, std::string>;
  std::vector<Named> taken;
  for (const auto& [name, path] :
       {Named{"the model", options.model}, Named{"--inputs", options.inputs},
        Named{"--weights", options.weights}, Named{"--expect", options.expect},
        Named{"--cotangents", options.cotangents}, Named{"the model's weights", weights}}) {
    if (!path.empty()) taken.emplace_back(name, path);
  }
  const std::string repro = options.repro + "/";
  for (const auto& [name, path] :
       {Named{"--outputs", options.outputs}, Named{"--dot", options.dot},
        Named{"--svg", options.svg}, Named{"--report", options.report},
        Named{"--junit", options.junit},
        Named{"--repro", options.repro.empty() ? "" : repro + "model.json"},
        Named{"--repro", options.repro.empty() ? "" : repro + "inputs.safetensors"}}) {
    if (path.empty()) continue;
    for (const auto& [other, file] : taken) {
      std::error_code none;
      if (path != file && !std::filesystem::equivalent(path, file, none)) continue;
      throw UsageError(format("{} {}: the same file as {}; another one is required", name,
                              fovea::quoted(path), other));
    }
    taken.emplace_back(name, path);
  }
}

Model load_model(const Options& options, const Registry& registry) {
  Model model = Model::read(options.model, registry);
  if (options.weights.empty()) {
    refuse_overwriting(options, model.named_weights());
  } else {
    model.load_weights(options.weights, options.dtype);
  }
  return model;
}

BindOptions bind_options(const Options& options, const Model& model) {
  BindOptions bind{.dtype = options.dtype,
                   .seed = options.seed,
                   .draw = true,
                   .max_memory = options.max_memory,
                   .words = {.weights = "--weights FILE",
                             .sizes = "--dim",
                             .size = "--dim {0}={1}",
                             .max_memory = "--max-memory"}};
  if (!options.inputs.empty()) {
    bind.words.inputs = options.inputs;
    bind.inputs = load_tensors(
        options.inputs, [&](std::string_view name) { return model.dtype_of(name, options.dtype); });
  }
  return bind;
}

std::string drawn_note(const Options& options, const Session& session) {
  if (options.quiet) return {};
  std::string names;
  for (const ModelValue& input : session.inputs()) {
    if (input.origin != Origin::drawn) continue;
    names += format("{}{} {}", names.empty() ? "" : ", ", input.name, to_string(input.expr.spec()));
  }
  if (names.empty()) return {};
  return "drawn, since nothing gives them (floats normal, i64 zero, bool true): " + names;
}

const OpType& op_named(std::string_view option, const std::string& name, const Registry& registry) {
  try {
    return registry.get(name);
  } catch (const Error& error) {
    throw UsageError(format("{}: {}", option, error.diagnostics().front().text));
  }
}

NamedTensors by_name(const Results& results) { return {results.begin(), results.end()}; }

Outcome outcome(const Options& options, const Results& results) {
  Outcome out;
  out.file = options.outputs;
  if (!out.file.empty() || options.json) out.arrays = by_name(results);
  if (options.json) {
    out.text = json_arrays_text(out.arrays) + "\n";
  } else if (out.file.empty() && !options.quiet) {
    for (const auto& [name, tensor] : results) {
      out.text += format("{} {}\n{}\n", name, to_string(spec_of(tensor)), to_string(tensor));
    }
  }
  return out;
}

std::string json_text(const nlohmann::json& value) {
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string errors_as_json(const Options& options, std::span<const Diagnostic> mistakes) {
  nlohmann::json result;
  if (options.command == "validate") result["valid"] = false;
  result["errors"] = nlohmann::json::array();
  for (const Diagnostic& one : mistakes) {
    result["errors"].push_back({{"place", one.place}, {"op", one.op}, {"text", one.text}});
  }
  return json_text(result);
}

int validate(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  model.check(options.dims, bind_options(options, model));
  if (options.json) {
    out.text = json_text({{"valid", true}, {"errors", nlohmann::json::array()}});
  } else if (!options.quiet) {
    out.text = options.model + ": valid\n";
  }
  return 0;
}

int schema(const Registry& registry, Outcome& out) {
  out.text = model_schema(registry);
  return 0;
}

}  // namespace fovea::cli
