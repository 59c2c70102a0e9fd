#include "fovea/graph/session.h"

#include <algorithm>

#include "fovea/graph/figures.h"
#include "fovea/graph/model/initial.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::uint64_t bytes_of(const TensorSpec& spec) {
  return static_cast<std::uint64_t>(spec.shape.numel()) * size_of(spec.dtype);
}

std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? ~std::uint64_t{0} : sum;
}

void require_memory_for(const std::string& name, const TensorSpec& spec, const Tensor& memory) {
  const auto refuse = [&](std::string_view given) {
    fail("run", "output {}: {}; {} is required", fovea::quoted(name), given, to_string(spec));
  };
  if (!memory) refuse("a null tensor");
  if (spec_of(memory) != spec) refuse(to_string(spec_of(memory)));
  if (!memory.is_writable()) refuse("read-only memory");
}

std::vector<Expr> output_exprs(const Session::State& state) {
  std::vector<Expr> exprs;
  for (const auto& [name, expr] : state.instance.outputs) exprs.push_back(expr);
  return exprs;
}

}  // namespace

void Session::State::prepare() {
  const auto lacks = [](const auto& list, auto expr_of) {
    return std::ranges::any_of(list, [&](const auto& one) { return !(one.*expr_of); });
  };
  if (lacks(instance.inputs, &model::Leaf::expr) || lacks(instance.params, &model::Leaf::expr) ||
      lacks(instance.outputs, &std::pair<std::string, Expr>::second)) {
    throw Error(description->document->name(), "the model cannot be bound with these sizes");
  }
  const auto origin_of = [&](const model::Leaf& leaf, bool is_param) {
    if (is_param) return weights != nullptr ? Origin::weights : Origin::init;
    if (given.contains(leaf.name)) {
      return leaf.declaration->value ? Origin::stated : Origin::given;
    }
    return leaf.declaration->init ? Origin::init : Origin::drawn;
  };
  for (const model::Leaf& leaf : instance.inputs) {
    leaves.emplace(&leaf.expr.node(), leaves.size());
    inputs.push_back({leaf.name, leaf.expr, origin_of(leaf, false)});
  }
  for (const model::Leaf& leaf : instance.params) {
    leaves.emplace(&leaf.expr.node(), leaves.size());
    params.push_back({leaf.name, leaf.expr, origin_of(leaf, true)});
  }
}

const ModelValue& Session::State::leaf(const Node* node) const {
  const std::size_t index = leaves.at(node);
  return index < inputs.size() ? inputs[index] : params[index - inputs.size()];
}

std::vector<Expr> Session::State::reached(std::span<const Expr> exprs) const {
  std::vector<Expr> needed;
  for (const Node* node : topological_order(exprs)) {
    if (node->kind() == Node::Kind::input && leaves.contains(node)) {
      needed.push_back(leaf(node).expr);
    }
  }
  return needed;
}

std::shared_ptr<const Session::State::Plan> Session::State::known_plan(std::span<const Expr> exprs,
                                                                       bool frozen) const {
  const auto wanted = [&](const std::shared_ptr<const Plan>& plan) {
    return plan->frozen == frozen &&
           std::ranges::equal(plan->exprs, exprs,
                              [](const Expr& a, const Expr& b) { return same(a, b); });
  };
  const auto found = std::ranges::find_if(plans, wanted);
  if (found == plans.end()) return nullptr;
  std::rotate(plans.begin(), found, found + 1);
  return plans.front();
}

void Session::State::keep(std::shared_ptr<const Plan> plan) const {
  plans.push_front(std::move(plan));
  if (plans.size() > kMostPlans) plans.pop_back();
}

std::uint64_t Session::State::require_memory(std::span<const Expr> leaves,
                                             std::uint64_t more) const {
  std::uint64_t own = 0;
  for (const Expr& x : leaves) own = saturating_sum(own, bytes_of(x.spec()));
  const std::uint64_t total = saturating_sum(own, more);
  if (total <= max_memory) return own;
  throw Error(description->document->name(),
              format("the model needs {} of memory, {} of them for inputs and params; {} are "
                     "allowed{}",
                     bytes_text(static_cast<double>(total)), bytes_text(static_cast<double>(own)),
                     bytes_text(static_cast<double>(max_memory)),
                     memory_word.empty() ? "" : format(" ({})", memory_word)));
}

std::shared_ptr<const Session::State::Plan> Session::State::plan(
    std::span<const Expr> exprs) const {
  {
    const std::lock_guard lock(mutex);
    if (auto known = known_plan(exprs, false)) return known;
  }
  const std::vector<Expr> needed = reached(exprs);
  require_memory(needed, 0);
  auto made_plan = std::make_shared<const Plan>(
      Plan{{exprs.begin(), exprs.end()}, needed, compile(needed, exprs)});
  require_memory(needed, made_plan->executable.peak_bytes());
  const std::lock_guard lock(mutex);
  keep(made_plan);
  return made_plan;
}

std::shared_ptr<const Session::State::Plan> Session::State::frozen_plan(
    std::span<const Expr> exprs) const {
  {
    const std::lock_guard lock(mutex);
    if (auto known = known_plan(exprs, true)) return known;
  }
  // That there is memory must be known before the params are read.
  const auto open = plan(exprs);
  const std::size_t peak = open->executable.peak_bytes();
  const std::uint64_t used = require_memory(open->needed, peak) + peak;
  std::vector<Expr> needed;
  CompileOptions options{.packed = packed, .most_packed = max_memory - used};
  std::uint64_t seen = 0;
  {
    const std::lock_guard lock(mutex);
    seen = changes;
    for (const Expr& x : open->needed) {
      const std::size_t index = leaves.at(&x.node());
      if (index < inputs.size()) {
        needed.push_back(x);
      } else {
        // Not all makers of tensors know the names of the dims.
        options.frozen.emplace_back(x, value_of(leaf(&x.node())).reshape(x.shape()));
      }
    }
  }
  auto made_plan = std::make_shared<const Plan>(
      Plan{open->exprs, needed, compile(needed, exprs, options), true});
  const std::lock_guard lock(mutex);
  if (seen == changes) keep(made_plan);
  return made_plan;
}

std::shared_ptr<const Session::State::Plan> Session::State::run_plan(
    std::span<const Expr> exprs) const {
  bool freeze = false;
  {
    const std::lock_guard lock(mutex);
    freeze = std::exchange(settled, true);
  }
  return freeze ? frozen_plan(exprs) : plan(exprs);
}

Tensor Session::State::value_of(const ModelValue& value) const {
  Tensor& made_value = made[&value.expr.node()];
  if (made_value) return made_value;
  const std::size_t index = leaves.at(&value.expr.node());
  const model::Leaf& leaf =
      index < inputs.size() ? instance.inputs[index] : instance.params[index - inputs.size()];
  const TensorSpec& spec = value.expr.spec();
  switch (value.origin) {
    case Origin::given:
    case Origin::stated:
      return made_value = given.find(value.name)->second;
    case Origin::weights:
      return made_value = weights->tensor(leaf.from, spec);
    case Origin::init:
      return made_value =
                 index < inputs.size()
                     ? model::initial_value(*leaf.declaration->init, spec, key_for(seed, leaf.name))
                     : initial->get(leaf.name, *leaf.declaration->init, spec, seed);
    case Origin::drawn:
      break;
  }
  return made_value = model::drawn_value(spec, key_for(seed, leaf.name));
}

std::vector<Tensor> Session::State::values_for(std::span<const Expr> needed,
                                               const NamedTensors& inputs) const {
  for (const auto& [name, tensor] : inputs) {
    if (std::ranges::find(this->inputs, name, &ModelValue::name) != this->inputs.end()) continue;
    std::vector<std::string> known;
    for (const ModelValue& input : this->inputs) known.push_back(input.name);
    fail("run", "unknown input {}{}", fovea::quoted(name), did_you_mean(name, known));
  }
  const std::lock_guard lock(mutex);
  std::vector<Tensor> values;
  for (const Expr& x : needed) {
    const ModelValue& leaf = this->leaf(&x.node());
    const auto given = inputs.find(leaf.name);
    if (given == inputs.end()) {
      if (leaf.origin == Origin::drawn && !draw) {
        fail("run", "input {} {} is not given, and the model has no value for it",
             fovea::quoted(leaf.name), to_string(leaf.expr.spec()));
      }
      values.push_back(value_of(leaf));
      continue;
    }
    if (!given->second)
      fail("run", "input {}: a null tensor; a value is required", fovea::quoted(leaf.name));
    try {
      values.push_back(model::fitted(given->second, x.spec()));
    } catch (const Error& error) {
      fail("run", "input {}: {}", fovea::quoted(leaf.name), error.diagnostics().front().text);
    }
  }
  return values;
}

Expr Session::State::wanted(const std::string& name) const {
  const auto& outputs = instance.outputs;
  const auto at = std::ranges::find(outputs, name, &std::pair<std::string, Expr>::first);
  if (at != outputs.end()) return at->second;
  try {
    return model::find_value(*description, instance, name);
  } catch (const Error& error) {
    fail("run", "{}", error.diagnostics().front().text);
  }
}

std::span<const ModelValue> Session::inputs() const { return state_->inputs; }
std::span<const ModelValue> Session::params() const { return state_->params; }
const std::vector<std::pair<std::string, Expr>>& Session::outputs() const {
  return state_->instance.outputs;
}

Expr Session::value(std::string_view name) const {
  return model::find_value(*state_->description, state_->instance, name);
}

Tensor Session::tensor(const ModelValue& value) const {
  const std::lock_guard lock(state_->mutex);
  return state_->value_of(value);
}

const ModelValue& Session::State::param(std::string_view name) const {
  const auto at = std::ranges::find(params, name, &ModelValue::name);
  if (at != params.end()) return *at;
  std::vector<std::string> known;
  for (const ModelValue& one : params) known.push_back(one.name);
  fail("session", "unknown param {}{}", fovea::quoted(name), did_you_mean(name, known));
}

std::vector<const ModelValue*> Session::State::params_named(std::string_view name) const {
  std::vector<const ModelValue*> named;
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i].name == name) return {&params[i]};
    if (instance.params[i].from == name) named.push_back(&params[i]);
  }
  if (named.empty()) param(name);  // says what is wrong
  return named;
}

Tensor Session::param(std::string_view name) const { return tensor(state_->param(name)); }

void Session::set_params(const NamedTensors& values) {
  std::vector<std::pair<const Node*, Tensor>> fitted;
  const auto take = [&](const std::string& name, const ModelValue& param, const Tensor& tensor) {
    if (!tensor)
      fail("session", "param {}: a null tensor; a value is required", fovea::quoted(name));
    try {
      const TensorSpec& spec = param.expr.spec();
      model::require_fit(spec_of(tensor), spec);
      // Copied, so that what is packed does not change behind our back.
      fitted.emplace_back(&param.expr.node(), tensor.astype(spec.dtype).read_only());
    } catch (const Error& error) {
      fail("session", "param {}: {}", fovea::quoted(name), error.diagnostics().front().text);
    }
  };
  for (const auto& [name, tensor] : values) {
    for (const ModelValue* param : state_->params_named(name)) take(name, *param, tensor);
  }
  const std::lock_guard lock(state_->mutex);
  for (auto& [node, tensor] : fitted) state_->made[node] = std::move(tensor);
  if (fitted.empty()) return;
  std::erase_if(state_->plans, [](const auto& plan) { return plan->frozen; });
  ++state_->changes;
  state_->settled = false;
}

void Session::save_params(const std::string& path) const {
  NamedTensors values;
  for (std::size_t i = 0; i < state_->params.size(); ++i) {
    const std::string& name = state_->instance.params[i].from;
    const Tensor value = tensor(state_->params[i]);
    const auto [at, is_new] = values.emplace(name, value);
    if (!is_new && !equal_bits(at->second, value)) {
      fail(path, "the params named {} in the file differ; one name holds one array",
           fovea::quoted(name));
    }
  }
  save_tensors(path, values);
}

std::vector<Tensor> Session::compute(std::span<const Expr> exprs,
                                     const NamedTensors& inputs) const {
  const auto plan = state_->plan(exprs);
  return plan->executable(state_->values_for(plan->needed, inputs));
}

void Session::require_memory(std::span<const Expr> exprs) const { state_->plan(exprs); }

std::size_t Session::peak_bytes() const {
  return state_->plan(output_exprs(*state_))->executable.peak_bytes();
}

std::size_t Session::packed_bytes() const { return state_->packed.bytes(); }

std::string Session::explain() const {
  return state_->frozen_plan(output_exprs(*state_))->executable.explain();
}

NamedTensors Session::run(const NamedTensors& inputs) const {
  const auto plan = state_->run_plan(output_exprs(*state_));
  const std::vector<Tensor> results = plan->executable(state_->values_for(plan->needed, inputs));
  NamedTensors named;
  for (std::size_t i = 0; i < results.size(); ++i) {
    named.emplace(outputs()[i].first, results[i]);
  }
  return named;
}

void Session::run(const NamedTensors& inputs, const NamedTensors& outputs) const {
  std::vector<Expr> exprs;
  std::vector<Tensor> memory;
  for (const auto& [name, tensor] : outputs) {
    exprs.push_back(state_->wanted(name));
    require_memory_for(name, exprs.back().spec(), tensor);
    memory.push_back(tensor);
  }
  const auto plan = state_->run_plan(exprs);
  plan->executable.run(state_->values_for(plan->needed, inputs), memory);
}

}  // namespace fovea
