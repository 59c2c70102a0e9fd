#include "fovea/graph/model.h"

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "fovea/graph/checked.h"
#include "fovea/graph/model/initial.h"
#include "fovea/graph/model/open_sizes.h"
#include "fovea/graph/model/reader.h"
#include "fovea/graph/model/weights.h"
#include "fovea/graph/model/write.h"
#include "fovea/graph/session.h"
#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"

namespace fovea {

using model::Declaration;
using model::Description;
using model::Mistakes;

struct Model::State {
  std::shared_ptr<const Description> description;
  // The file that the model names, once it has been opened.
  mutable std::mutex mutex;
  mutable std::shared_ptr<const model::WeightSource> named = {};
  // What sessions share.
  std::shared_ptr<model::InitialValues> initial = std::make_shared<model::InitialValues>();
  PackedWeights packed = {};
};

namespace {

model::Choices choices(const Sizes& sizes, const BindOptions& options) {
  return {.dims = sizes,
          .dtype = options.dtype,
          .arrays = options.inputs,
          .arrays_from = options.words.inputs,
          .sizes_from = options.words.sizes,
          .size_word = options.words.size};
}

const Declaration* declared(const Description& description, std::string_view name) {
  const model::Symbol symbol = description.body.find(name).symbol;
  if (symbol.source == model::Source::input) return &description.body.inputs[symbol.index];
  if (symbol.source == model::Source::param) return &description.body.params[symbol.index];
  return nullptr;
}

// What the weights must be like: for each param its spec, or nothing where it is not known.
struct Wanted {
  const model::Leaf* param;
  std::optional<TensorSpec> spec;
};

// `the param "layers.3.w" at m.json:5:9: /blocks/layer/params/w`.
std::string as_cause(const model::Leaf& leaf, std::string_view kind) {
  return format("the {} {} at {}", kind, fovea::quoted(leaf.name),
                leaf.declaration->at.key_place());
}

// Where the sizes in a shape that differs come from, when not from the model.
std::string sizes_given(const model::DimValues& dims, const model::Leaf& leaf,
                        const TensorSpec& given, const TensorSpec& required) {
  std::string text;
  if (given.shape == required.shape) return text;
  for (const model::Size& size : leaf.declaration->shape) {
    for (const std::string& name : size.value.names()) {
      const std::string& by = dims.given_by(name);
      if (by.empty() || text.find(by) != std::string::npos) continue;
      text +=
          format("{}{} is {} by {}", text.empty() ? "; " : ", ", name, *dims.value_of(name), by);
    }
  }
  return text;
}

class WeightsCheck {
 public:
  WeightsCheck(const model::DimValues& dims, const model::WeightSource& weights, Mistakes& mistakes)
      : dims_(dims),
        weights_(weights),
        mistakes_(mistakes),
        names_(weights.names()),
        complete_(mistakes.empty()) {}

  void check(const std::vector<Wanted>& wanted) {
    for (const auto& [param, spec] : wanted) {
      known_.push_back(param->from);
      if (param->declaration->broken) continue;
      if (!weights_.contains(param->from)) {
        missing(*param);
      } else if (spec) {
        check(*param, *spec);
      }
    }
    const auto& settings = dims_.description().weights;
    if (!complete_ || (settings && settings->ignore_extra)) return;
    std::ranges::sort(known_);
    for (const std::string& name : names_) {
      if (mistakes_.full()) return;
      if (!std::ranges::binary_search(known_, name)) extra(name);
    }
  }

 private:
  static constexpr std::size_t kMostHints = 100;  // finding one takes long where names are many

  void missing(const model::Leaf& param) {
    mistakes_.add_in(
        weights_.name(), param.declaration->at,
        format("there is no {} for {}{}", fovea::quoted(param.from), as_cause(param, "param"),
               ++hints_ <= kMostHints ? did_you_mean(param.from, names_) : ""));
  }

  void check(const model::Leaf& param, const TensorSpec& spec) {
    std::string text;
    try {
      const TensorSpec given = weights_.spec(param.from);
      if (model::fits(given, spec)) return;
      text = format("{} is {}; {} is required by {}{}{}", fovea::quoted(param.from),
                    to_string(given), to_string(spec), as_cause(param, "param"),
                    model::misfit_cause(given, spec), sizes_given(dims_, param, given, spec));
    } catch (const Error& error) {
      text = format("{}: {}", error.diagnostics().front().text, as_cause(param, "param"));
    }
    mistakes_.add_in(weights_.name(), param.declaration->at, std::move(text));
  }

  void extra(const std::string& name) {
    std::string spec;
    try {
      spec = to_string(weights_.spec(name));
    } catch (const Error& error) {
      spec = error.diagnostics().front().text;
    }
    mistakes_.add({.place = weights_.name(),
                   .op = {},
                   .text = format("{} {} belongs to no param of {}; exactly the params are "
                                  "required, or \"extra\": \"ignore\" in the model's "
                                  "\"weights\"{}",
                                  fovea::quoted(name), spec, dims_.description().document->name(),
                                  ++hints_ <= kMostHints ? did_you_mean(name, known_) : "")});
  }

  const model::DimValues& dims_;
  const model::WeightSource& weights_;
  Mistakes& mistakes_;
  const std::vector<std::string> names_;
  const bool complete_;  // nothing else is wrong, so all params are there
  std::vector<std::string> known_;
  std::size_t hints_ = 0;
};

void check_weights(const model::DimValues& dims, const model::Instance& instance,
                   const model::WeightSource& weights, Mistakes& mistakes) {
  std::vector<Wanted> wanted;
  for (const model::Leaf& param : instance.params) {
    wanted.push_back({&param, param.expr ? std::optional(param.expr.spec()) : std::nullopt});
  }
  WeightsCheck(dims, weights, mistakes).check(wanted);
}

// With open dims, an extent that depends on them may be what the weights have.
void check_open_weights(const model::DimValues& dims, const model::OpenInstances& instances,
                        const model::WeightSource& weights, Mistakes& mistakes) {
  const std::vector<model::Leaf>&first = instances[0]->params, &second = instances[1]->params;
  if (instances[0]->open_repeats || first.size() != second.size()) return;
  std::vector<Wanted> wanted;
  for (std::size_t i = 0; i < first.size(); ++i) {
    Wanted& one = wanted.emplace_back(Wanted{&first[i], {}});
    if (!first[i].expr || !second[i].expr || !weights.contains(first[i].from)) continue;
    try {
      const TensorSpec given = weights.spec(first[i].from);
      const Shape &a = first[i].expr.shape(), &b = second[i].expr.shape();
      std::vector<Extent> extents(a.begin(), a.end());
      for (std::int64_t axis = 0; axis < std::min(a.rank(), given.shape.rank()); ++axis) {
        if (a[axis] != b[axis]) extents[static_cast<std::size_t>(axis)] = given.shape[axis];
      }
      one.spec = TensorSpec{first[i].expr.dtype(), Shape(std::move(extents))};
    } catch (const Error&) {
      one.spec = first[i].expr.spec();  // a dtype that cannot be loaded, which will be said
    }
  }
  WeightsCheck(dims, weights, mistakes).check(wanted);
}

// Arrays and stated values of inputs must have the inputs' shapes and dtypes.
NamedTensors check_inputs(const model::DimValues& dims, const model::Instance& instance,
                          const BindOptions& options, Mistakes& mistakes) {
  NamedTensors values;
  for (const model::Leaf& input : instance.inputs) {
    const Declaration& declaration = *input.declaration;
    if (!input.expr || mistakes.contains(declaration.at)) continue;
    if (const auto array = options.inputs.find(input.name); array != options.inputs.end()) {
      const TensorSpec given = spec_of(array->second), &spec = input.expr.spec();
      if (model::fits(given, spec)) {
        values.emplace(input.name, model::fitted(array->second, spec));
        continue;
      }
      mistakes.add_in(
          options.words.inputs, declaration.at,
          format("{} is {}; {} is required by {}{}{}", fovea::quoted(input.name), to_string(given),
                 to_string(spec), as_cause(input, "input"), model::misfit_cause(given, spec),
                 sizes_given(dims, input, given, spec)));
    } else if (declaration.value && !mistakes.contains(declaration.value)) {
      try {
        values.emplace(input.name, model::stated_value(declaration, input.expr.spec()));
      } catch (const Error& error) {
        mistakes.add(declaration.at, error);
      }
    }
  }
  return values;
}

}  // namespace

std::shared_ptr<const model::WeightSource> Model::weights(Mistakes& mistakes) const {
  const Description& description = *state_->description;
  if (weights_ != nullptr || !description.weights) return weights_;
  const std::lock_guard lock(state_->mutex);
  try {
    if (!state_->named) {
      state_->named =
          model::WeightSource::open(model::weights_path(description), {}, named_weights());
    }
  } catch (const Error& error) {
    mistakes.add(description.weights->at, error);
  }
  return state_->named;
}

Model Model::read(const std::string& path, const Registry& registry) {
  std::string text = read_text_file(path, JsonDocument::kMaxBytes);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  auto state = std::make_shared<State>();
  state->description =
      model::read(path, folder.empty() ? "." : folder.string(), std::move(text), registry);
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

std::string Model::to_json() const { return model::to_json(*state_->description->document); }

void Model::save(const std::string& path) const {
  atomic_write(path, [&](FileWriter& out) { out.write(to_json()); });
}

std::string Model::named_weights() const {
  const Description& description = *state_->description;
  if (!description.weights) return {};
  const std::string& file = description.weights->file;
  return description.folder == "." ? file : description.folder + "/" + file;
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
  weights_ = model::WeightSource::open(
      path, [&](std::string_view name) { return dtype_of(name, choice); });
}

void Model::set_weights(NamedTensors weights) {
  weights_ = std::make_shared<const model::WeightSource>(std::move(weights));
}

void Model::check(const Sizes& sizes, const BindOptions& options) const {
  checked(sizes, options, false);
}

Model::Checked Model::checked(const Sizes& sizes, const BindOptions& options, bool keep) const {
  const Description& description = *state_->description;
  Mistakes mistakes = description.mistakes;
  Checked result{.description = state_->description,
                 .dims = model::DimValues::bind(description, choices(sizes, options), mistakes),
                 .instances = {}};
  const auto weights = this->weights(mistakes);
  if (!result.dims.unbound().empty()) {
    const model::OpenSizes open(result.dims);
    result.instances =
        model::check_open(description, open, result.dims, options.dtype, keep, mistakes);
    if (weights != nullptr) check_open_weights(result.dims, result.instances, *weights, mistakes);
  } else {
    result.instances[0] = std::make_unique<model::Instance>(
        model::build(description, result.dims, options.dtype, mistakes));
    const model::Instance& instance = *result.instances[0];
    for (const model::Refusal& refusal : instance.refusals) mistakes.append(refusal.mistakes);
    check_inputs(result.dims, instance, options, mistakes);
    if (weights != nullptr) check_weights(result.dims, instance, *weights, mistakes);
  }
  mistakes.throw_if_any();
  return result;
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
  state->given = check_inputs(dims, state->instance, options, mistakes);
  state->weights = weights(mistakes);
  if (state->weights != nullptr) {
    check_weights(dims, state->instance, *state->weights, mistakes);
  } else if (!description.document->root().find("weights")) {
    for (const model::Leaf& param : state->instance.params) {
      if (param.declaration->init || param.declaration->broken) continue;
      mistakes.add_key(
          param.declaration->at,
          format("the param {} has no init and there are no weights; give {} or an init",
                 fovea::quoted(param.name), options.words.weights));
    }
  }
  mistakes.throw_if_any();
  state->initial = state_->initial;
  state->packed = state_->packed;
  state->seed = options.seed.value_or(description.seed);
  state->draw = options.draw;
  state->memory_word = options.words.max_memory;
  state->max_memory = options.max_memory.value_or(model::memory_limit());
  state->prepare();
  return Session(std::move(state));
}

}  // namespace fovea
