#include "fovea/graph/session.h"

#include <algorithm>

#include "fovea/graph/model/initial.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::string in_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; amount >= 1024 && unit + 1 < std::size(kUnits); ++unit) amount /= 1024;
  return unit == 0 ? format("{} bytes", bytes) : format("{:.3g} {}", amount, kUnits[unit]);
}

std::uint64_t bytes_of(const TensorSpec& spec) {
  return static_cast<std::uint64_t>(spec.shape.numel()) * size_of(spec.dtype);
}

std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? ~std::uint64_t{0} : sum;
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

Executable Session::State::plan(std::span<const Expr> needed, std::span<const Expr> exprs) const {
  std::uint64_t own = 0;
  for (const Expr& x : needed) own = saturating_sum(own, bytes_of(x.spec()));
  const auto refuse = [&](std::uint64_t total) {
    throw Error(description->document->name(),
                format("the model needs {} of memory, {} of them for inputs and params; {} are "
                       "allowed (--max-memory)",
                       in_bytes(total), in_bytes(own), in_bytes(max_memory)));
  };
  if (own > max_memory) refuse(own);
  Executable executable = compile(needed, exprs);
  const std::uint64_t total = saturating_sum(own, executable.peak_bytes());
  if (total > max_memory) refuse(total);
  return executable;
}

Tensor Session::State::value_of(const ModelValue& value) const {
  const std::lock_guard lock(mutex);
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
      return made_value = model::fitted(weights->find(leaf.from)->second, spec);
    case Origin::init:
      return made_value =
                 model::initial_value(*leaf.declaration->init, spec, key_for(seed, leaf.name));
    case Origin::drawn:
      break;
  }
  return made_value = model::drawn_value(spec, key_for(seed, leaf.name));
}

std::span<const ModelValue> Session::inputs() const { return state_->inputs; }
std::span<const ModelValue> Session::params() const { return state_->params; }
const std::vector<std::pair<std::string, Expr>>& Session::outputs() const {
  return state_->instance.outputs;
}

Expr Session::value(std::string_view name) const {
  return model::find_value(*state_->description, state_->instance, name);
}

Tensor Session::tensor(const ModelValue& value) const { return state_->value_of(value); }

std::vector<Tensor> Session::compute(std::span<const Expr> exprs) const {
  const std::vector<Expr> needed = state_->reached(exprs);
  const Executable executable = state_->plan(needed, exprs);
  std::vector<Tensor> values;
  for (const Expr& x : needed) values.push_back(state_->value_of(state_->leaf(&x.node())));
  return executable(values);
}

void Session::require_memory(std::span<const Expr> exprs) const {
  state_->plan(state_->reached(exprs), exprs);
}

namespace {

// Values for `needed`: what the caller gives, else what the session has.
std::vector<Tensor> values_for(const Session::State& state, std::span<const Expr> needed,
                               const NamedTensors& inputs) {
  for (const auto& [name, tensor] : inputs) {
    if (std::ranges::find(state.inputs, name, &ModelValue::name) != state.inputs.end()) continue;
    std::vector<std::string> known;
    for (const ModelValue& input : state.inputs) known.push_back(input.name);
    fail("run", "unknown input {}{}", fovea::quoted(name), did_you_mean(name, known));
  }
  std::vector<Tensor> values;
  for (const Expr& x : needed) {
    const ModelValue& leaf = state.leaf(&x.node());
    const auto given = inputs.find(leaf.name);
    if (given == inputs.end()) {
      values.push_back(state.value_of(leaf));
      continue;
    }
    try {
      values.push_back(model::fitted(given->second, x.spec()));
    } catch (const Error& error) {
      fail("run", "input {}: {}", fovea::quoted(leaf.name), error.diagnostics().front().text);
    }
  }
  return values;
}

std::vector<Expr> output_exprs(const Session::State& state) {
  std::vector<Expr> exprs;
  for (const auto& [name, expr] : state.instance.outputs) exprs.push_back(expr);
  return exprs;
}

}  // namespace

NamedTensors Session::run(const NamedTensors& inputs) const {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->outputs) {
      const std::vector<Expr> exprs = output_exprs(*state_);
      state_->needed = state_->reached(exprs);
      state_->outputs = state_->plan(state_->needed, exprs);
    }
  }
  const std::vector<Tensor> results =
      (*state_->outputs)(values_for(*state_, state_->needed, inputs));
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
    const auto& all = this->outputs();
    const auto at = std::ranges::find(all, name, &std::pair<std::string, Expr>::first);
    if (at == all.end()) {
      std::vector<std::string> known;
      for (const auto& [output, expr] : all) known.push_back(output);
      fail("run", "unknown output {}{}", fovea::quoted(name), did_you_mean(name, known));
    }
    exprs.push_back(at->second);
    memory.push_back(tensor);
  }
  const std::vector<Expr> needed = state_->reached(exprs);
  state_->plan(needed, exprs).run(values_for(*state_, needed, inputs), memory);
}

}  // namespace fovea
