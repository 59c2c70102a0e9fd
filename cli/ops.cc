// `fovea ops`.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fovea/cli/commands.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

std::string signature(const OpType& type) {
  const auto list = [](const std::vector<Slot>& slots) {
    std::string text;
    for (const Slot& slot : slots) {
      const std::string name(slot.name);
      text += (text.empty() ? "" : ", ") + (slot.arity == Arity::optional   ? "[" + name + "]"
                                            : slot.arity == Arity::variadic ? name + "…"
                                                                            : name);
    }
    return text;
  };
  return format("{}({}) -> {}", type.name, list(type.inputs), list(type.outputs));
}

// `title:` and a line for each that has something to say.
std::string slot_lines(std::string_view title, const std::vector<Slot>& slots) {
  std::string text;
  for (const Slot& slot : slots) {
    if (!slot.doc.empty()) text += format("  {}: {}\n", slot.name, slot.doc);
  }
  return text.empty() ? text : format("\n{}:\n{}", title, text);
}

std::string describe(const OpType& type) {
  std::string text = format("{}\n\n  {}\n", signature(type), type.doc);
  text += slot_lines("inputs", type.inputs) + slot_lines("outputs", type.outputs);
  if (!type.attributes.empty()) text += "\nattributes:\n";
  for (const AttributeInfo& info : type.attributes) {
    text += format("  {}: {}{}\n      {}\n", info.name, to_string(info.type),
                   info.standard ? ", default " + to_string(*info.standard) : "", info.help);
  }
  if (!type.no_second_derivative.empty()) {
    text += format("\nno second derivative: {}\n", type.no_second_derivative);
  }
  return text;
}

nlohmann::json as_json(const OpType& type) {
  const auto slots = [](const std::vector<Slot>& list) {
    constexpr const char* kArity[] = {"required", "optional", "variadic"};
    nlohmann::json all = nlohmann::json::array();
    for (const Slot& slot : list) {
      all.push_back({{"name", slot.name},
                     {"arity", kArity[static_cast<int>(slot.arity)]},
                     {"doc", slot.doc}});
    }
    return all;
  };
  nlohmann::json attributes = nlohmann::json::array();
  for (const AttributeInfo& info : type.attributes) {
    nlohmann::json one{{"name", info.name}, {"type", to_string(info.type)}, {"help", info.help}};
    if (info.standard) one["default"] = nlohmann::json::parse(to_string(*info.standard));
    attributes.push_back(std::move(one));
  }
  return {{"name", type.name},
          {"doc", type.doc},
          {"inputs", slots(type.inputs)},
          {"outputs", slots(type.outputs)},
          {"attributes", std::move(attributes)}};
}

}  // namespace

int ops(const Options& options, const Registry& registry, Outcome& out) {
  std::vector<const OpType*> types = registry.types();
  if (!options.ops.empty()) types = {&op_named("ops", options.ops.front(), registry)};
  if (options.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const OpType* type : types) all.push_back(as_json(*type));
    out.text = json_text(options.ops.empty() ? all : all.front());
  } else if (!options.ops.empty()) {
    out.text = describe(*types.front());
  } else {
    for (const OpType* type : types) out.text += format("{:<16} {}\n", type->name, type->doc);
  }
  return 0;
}

}  // namespace fovea::cli
