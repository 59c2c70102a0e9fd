// The commands. Each leaves its result in `out` and returns the exit status.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fovea/cli/options.h"
#include "fovea/ops/registry.h"

namespace fovea::cli {

/// What a command that has not failed prints and writes, at the very end.
struct Outcome {
  std::string text;  ///< for stdout
  std::string note;  ///< for stderr
  std::string file;  ///< empty: none
  NamedTensors arrays;
  std::vector<std::pair<std::string, std::string>> texts = {};  ///< files, and what is in them
};

int run(const Options& options, const Registry& registry, Outcome& out);
int grad(const Options& options, const Registry& registry, Outcome& out);
int gradcheck(const Options& options, const Registry& registry, Outcome& out);
int validate(const Options& options, const Registry& registry, Outcome& out);
int show(const Options& options, const Registry& registry, Outcome& out);
int schema(const Registry& registry, Outcome& out);
int ops(const Options& options, const Registry& registry, Outcome& out);

/// Throws UsageError if a file would be written that is read as well, or twice: a slip would
/// destroy a model. `weights` is a file that the model names, or empty.
void refuse_overwriting(const Options& options, const std::string& weights = {});

/// A model and what the options bind it to.
Model load_model(const Options& options, const Registry& registry);
BindOptions bind_options(const Options& options, const Model& model);
/// Says which inputs were drawn, unless `--quiet`; empty if none were.
std::string drawn_note(const Options& options, const Session& session);

/// Throws UsageError, with a likely name, when there is no such op.
const OpType& op_named(std::string_view option, const std::string& name, const Registry& registry);

/// Named results in the order of the model.
using Results = std::vector<std::pair<std::string, Tensor>>;
NamedTensors by_name(const Results& results);
std::string json_text(const nlohmann::json& value);
/// What a command that refuses prints with `--json`: every mistake, in parts.
std::string errors_as_json(const Options& options, std::span<const Diagnostic> mistakes);
/// The results in a file, as JSON, or as text for people.
Outcome outcome(const Options& options, const Results& results);

}  // namespace fovea::cli
