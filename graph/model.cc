#include "fovea/graph/model.h"

#include <algorithm>
#include <filesystem>

#include "fovea/graph/model/initial.h"
#include "fovea/graph/model/reader.h"
#include "fovea/graph/session.h"
#include "fovea/tensor/file_io.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"

namespace fovea {

using model::Declaration;
using model::Description;
using model::Mistakes;

struct Model::State {
  std::shared_ptr<const Description> description;
};

namespace {

model::Choices choices(const Sizes& sizes, const BindOptions& options) {
  return {.dims = sizes, .dtype = options.dtype, .arrays = options.inputs};
}

const Declaration* declared(const Description& description, std::string_view name) {
  const model::Symbol symbol = description.body.find(name).symbol;
  if (symbol.source == model::Source::input) return &description.body.inputs[symbol.index];
  if (symbol.source == model::Source::param) return &description.body.params[symbol.index];
  return nullptr;
}

// The weights that the model names, unless others have been given.
std::shared_ptr<const NamedTensors> weights_of(const Description& description,
                                               const std::shared_ptr<const NamedTensors>& given,
                                               Mistakes& mistakes) {
  if (given != nullptr || !description.weights) return given;
  try {
    return std::make_shared<const NamedTensors>(load_tensors(model::weights_path(description)));
  } catch (const Error& error) {
    mistakes.add(description.weights->at, error);
    return nullptr;
  }
}

void check_weights(const Description& description, const model::Instance& instance,
                   const NamedTensors& weights, Mistakes& mistakes) {
  std::vector<std::string> known;
  for (const model::Leaf& param : instance.params) {
    known.push_back(param.from);
    const auto array = weights.find(param.from);
    if (array == weights.end()) {
      std::vector<std::string> names;
      for (const auto& [name, tensor] : weights) names.push_back(name);
      mistakes.add_key(
          param.declaration->at,
          format("the weights have no {} for the param {}{}", fovea::quoted(param.from),
                 fovea::quoted(param.name), did_you_mean(param.from, names)));
    } else if (param.expr) {
      try {
        model::fitted(array->second, param.expr.spec());
      } catch (const Error& error) {
        mistakes.add_key(param.declaration->at,
                         format("the weights' {}: {}", fovea::quoted(param.from),
                                error.diagnostics().front().text));
      }
    }
  }
  if (description.weights && description.weights->ignore_extra) return;
  std::ranges::sort(known);
  for (const auto& [name, tensor] : weights) {
    if (std::ranges::binary_search(known, name)) continue;
    mistakes.add({.place = description.document->name(),
                  .op = {},
                  .text = format("the weights have {} {}, but there is no such param; weights "
                                 "hold exactly the params{}",
                                 fovea::quoted(name), to_string(spec_of(tensor)),
                                 did_you_mean(name, known))});
  }
}

// Arrays and stated values of inputs must have the inputs' shapes and dtypes.
NamedTensors check_inputs(const model::Instance& instance, const NamedTensors& given,
                          Mistakes& mistakes) {
  NamedTensors values;
  for (const model::Leaf& input : instance.inputs) {
    const Declaration& declaration = *input.declaration;
    if (!input.expr || mistakes.contains(declaration.at)) continue;
    const auto array = given.find(input.name);
    if (declaration.value && mistakes.contains(declaration.value)) continue;
    try {
      if (array != given.end()) {
        values.emplace(input.name, model::fitted(array->second, input.expr.spec()));
      } else if (declaration.value) {
        values.emplace(input.name, model::stated_value(declaration, input.expr.spec()));
      }
    } catch (const Error& error) {
      mistakes.add(declaration.at, error);
    }
  }
  return values;
}

}  // namespace

Model Model::read(const std::string& path, const Registry& registry) {
  const std::string text = read_text_file(path, JsonDocument::kMaxBytes);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  auto state = std::make_shared<State>();
  state->description = model::read(path, folder.empty() ? "." : folder.string(), text, registry);
  return Model(std::move(state));
}

Model Model::load(const std::string& path, const Registry& registry) {
  Model model = read(path, registry);
  model.check();
  return model;
}

Model Model::parse(std::string_view text, const std::string& folder, const Registry& registry) {
  auto state = std::make_shared<State>();
  state->description = model::read("model", folder, std::string(text), registry);
  Model model(std::move(state));
  model.check();
  return model;
}

const std::string& Model::name() const { return state_->description->name; }
const std::string& Model::doc() const { return state_->description->doc; }

std::vector<std::string> Model::input_names() const {
  std::vector<std::string> names;
  for (const Declaration& input : state_->description->body.inputs) names.push_back(input.name);
  return names;
}

std::optional<DType> Model::dtype_of(std::string_view name, std::optional<DType> choice) const {
  const Declaration* declaration = declared(*state_->description, name);
  if (declaration == nullptr) return {};
  return model::chosen(declaration->dtype, choice);
}

void Model::load_weights(const std::string& path, std::optional<DType> choice) {
  set_weights(load_tensors(path, [&](std::string_view name) { return dtype_of(name, choice); }));
}

void Model::set_weights(NamedTensors weights) {
  weights_ = std::make_shared<const NamedTensors>(std::move(weights));
}

void Model::check(const Sizes& sizes, const BindOptions& options) const {
  const Description& description = *state_->description;
  Mistakes mistakes = description.mistakes;
  const auto dims = model::DimValues::bind(description, choices(sizes, options), mistakes);
  const auto weights = weights_of(description, weights_, mistakes);
  if (!dims.unbound().empty()) {
    model::check_open(description, dims, options.dtype, mistakes);
  } else {
    const model::Instance instance = model::build(description, dims, options.dtype, mistakes);
    for (const model::Refusal& refusal : instance.refusals) mistakes.append(refusal.mistakes);
    check_inputs(instance, options.inputs, mistakes);
    if (weights != nullptr) check_weights(description, instance, *weights, mistakes);
  }
  mistakes.throw_if_any();
}

Session Model::bind(const Sizes& sizes, const BindOptions& options) const {
  const Description& description = *state_->description;
  Mistakes mistakes = description.mistakes;
  const auto dims = model::DimValues::bind(description, choices(sizes, options), mistakes);
  auto state = std::make_shared<Session::State>();
  state->description = state_->description;
  state->instance = model::build(description, dims, options.dtype, mistakes);
  for (const model::Refusal& refusal : state->instance.refusals) {
    mistakes.append(refusal.mistakes);
  }
  state->given = check_inputs(state->instance, options.inputs, mistakes);
  state->weights = weights_of(description, weights_, mistakes);
  if (state->weights != nullptr) {
    check_weights(description, state->instance, *state->weights, mistakes);
  } else if (!description.document->root().find("weights")) {
    for (const model::Leaf& param : state->instance.params) {
      if (param.declaration->init || param.declaration->broken) continue;
      mistakes.add_key(param.declaration->at,
                       format("the param {} has no init and there are no weights; give --weights "
                              "FILE or an init",
                              fovea::quoted(param.name)));
    }
  }
  mistakes.throw_if_any();
  state->seed = options.seed.value_or(description.seed);
  state->max_memory = options.max_memory.value_or(model::memory_limit());
  state->prepare();
  return Session(std::move(state));
}

}  // namespace fovea
