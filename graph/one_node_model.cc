#include "fovea/graph/one_node_model.h"

#include <algorithm>
#include <cmath>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct AsJson {
  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool b) const { return b ? "true" : "false"; }
  std::string operator()(const Extent& e) const { return format("{}", e.value()); }
  // The shortest text that reads back as the same number.
  std::string operator()(double d) const {
    return std::isfinite(d) ? format("{}", d) : format("\"{}\"", d);
  }
  std::string operator()(const std::string& s) const { return json_string(s); }
  std::string operator()(DType d) const { return format("\"{}\"", d); }
  std::string operator()(const AttributeValue::List& list) const {
    std::string text;
    for (const AttributeValue& entry : list) {
      text += (text.empty() ? "" : ", ") + std::visit(*this, entry.value);
    }
    return "[" + text + "]";
  }
};

constexpr const char* kNode = "result_of_op";

}  // namespace

std::string attributes_as_json(const AttributeMap& attributes) {
  std::string text;
  for (const auto& [name, value] : attributes) {
    text += format("{}{}: {}", text.empty() ? "" : ", ", json_string(name),
                   std::visit(AsJson{}, value.value));
  }
  return "{" + text + "}";
}

std::string one_node_input(const OpType& type, std::size_t i) {
  const std::size_t last = type.inputs.size() - 1;
  const Slot& slot = type.inputs[std::min(i, last)];
  return slot.arity == Arity::variadic ? format("{}_{}", slot.name, i - last)
                                       : std::string(slot.name);
}

std::string one_node_model(const Op& op, std::span<const Tensor> inputs,
                           std::span<const std::int64_t> outputs) {
  const OpType& type = op.type();
  std::string declared, operands, results;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string comma = i == 0 ? "" : ", ";
    if (!inputs[i]) {
      operands += comma + "null";
      continue;
    }
    const std::string name = json_string(one_node_input(type, i));
    std::vector<std::int64_t> extents(inputs[i].shape().begin(), inputs[i].shape().end());
    declared +=
        format("{}\n    {}: {{\"shape\": [{}], \"dtype\": \"{}\"}}", declared.empty() ? "" : ",",
               name, fmt::join(extents, ", "), inputs[i].dtype());
    operands += comma + name;
  }
  for (std::int64_t o : outputs) {
    const std::string_view slot = type.outputs[static_cast<std::size_t>(o)].name;
    results += format("{}{}: \"{}{}\"", results.empty() ? "" : ", ", json_string(slot), kNode,
                      o == 0 ? "" : format(".{}", slot));
  }
  const std::string attributes = attributes_as_json(op.attributes());
  return format(
      "{{\n  \"fovea\": 1,\n  \"inputs\": {{{}\n  }},\n  \"nodes\": [\n    {{\"name\": \"{}\", "
      "\"op\": {}, \"inputs\": [{}]{}}}\n  ],\n  \"outputs\": {{{}}}\n}}\n",
      declared, kNode, json_string(type.name), operands,
      attributes == "{}" ? "" : ",\n     \"attrs\": " + attributes, results);
}

}  // namespace fovea
