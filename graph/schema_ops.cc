#include "fovea/graph/schema_ops.h"

#include "fovea/tensor/format.h"

namespace fovea::schema {

Json defined(std::string_view name) { return {{"$ref", format("#/$defs/{}", name)}}; }

Json described(Json schema, std::string_view text) {
  schema["description"] = text;
  return schema;
}

namespace {

Json any_of(std::initializer_list<Json> choices) { return {{"anyOf", choices}}; }

Json type_of(const AttributeType& type);

Json list_of(const AttributeType& type) {
  Json list{{"type", "array"}, {"items", type_of(type.element.front())}};
  if (type.length) list["minItems"] = list["maxItems"] = *type.length;
  return type.or_single ? any_of({type_of(type.element.front()), list}) : list;
}

Json plain_type(const AttributeType& type) {
  switch (type.kind) {
    case AttributeKind::boolean:
      return {{"type", "boolean"}};
    case AttributeKind::integer:
      return any_of({{{"type", "integer"}}, defined("expression")});
    case AttributeKind::real:
      return any_of({{{"type", "number"}}, defined("real_expression")});
    case AttributeKind::text:
      return {{"type", "string"}};
    case AttributeKind::dtype:
      return defined("dtype");
    case AttributeKind::choice:
      return {{"enum", type.choices}};
    case AttributeKind::list:
      break;
  }
  return list_of(type);
}

Json type_of(const AttributeType& type) {
  Json plain = plain_type(type);
  return type.nullable ? any_of({std::move(plain), {{"type", "null"}}}) : plain;
}

Json attributes(const OpType& op) {
  Json properties = Json::object();
  for (const AttributeInfo& info : op.attributes) {
    Json one = described(type_of(info.type), info.help);
    if (info.standard) one["default"] = Json::parse(to_string(*info.standard));
    properties[std::string(info.name)] = std::move(one);
  }
  properties["doc"] = defined("doc");
  return {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
}

/// By position, with null for an optional one that is left out.
Json by_position(const OpType& op) {
  Json list{{"type", "array"}}, places = Json::array();
  std::size_t least = 0;
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    const Slot& slot = op.inputs[i];
    if (slot.arity == Arity::variadic) break;
    Json place = defined("operand");
    if (slot.arity == Arity::optional) place = any_of({place, {{"type", "null"}}});
    if (slot.arity == Arity::required) least = i + 1;
    places.push_back(described(
        std::move(place), slot.doc.empty() ? slot.name : format("{}: {}", slot.name, slot.doc)));
  }
  if (!places.empty()) list["prefixItems"] = places;
  list["items"] = op.variadic() ? defined("operand") : Json(false);
  list["minItems"] = least;
  return list;
}

Json by_name(const OpType& op) {
  Json properties = Json::object(), required = Json::array();
  for (const Slot& slot : op.inputs) {
    const std::string name(slot.name);
    Json& property = properties[name];
    if (slot.arity == Arity::required) {
      property = defined("operand");
      required.push_back(name);
    } else if (slot.arity == Arity::optional) {
      property = any_of({defined("operand"), {{"type", "null"}}});
    } else {
      property = {{"type", "array"}, {"items", defined("operand")}};
    }
    if (!slot.doc.empty()) property["description"] = slot.doc;
  }
  if (!properties.contains("doc")) properties["doc"] = defined("doc");
  Json object{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!required.empty()) object["required"] = required;
  return object;
}

}  // namespace

void add_ops(const Registry& registry, Json& definitions) {
  Json names = Json::array(), each = Json::array();
  for (const OpType* op : registry.types()) {
    const std::string name(op->name), inputs = "inputs_of_" + name, attrs = "attrs_of_" + name;
    names.push_back({{"const", name}, {"description", op->doc}});
    Json then{{"properties", {{"inputs", defined(inputs)}, {"attrs", defined(attrs)}}}};
    if (!op->inputs.empty()) then["required"] = {"inputs"};
    each.push_back({{"if", {{"properties", {{"op", {{"const", name}}}}}, {"required", {"op"}}}},
                    {"then", std::move(then)}});
    definitions[inputs] = {
        {"if", {{"type", "array"}}}, {"then", by_position(*op)}, {"else", by_name(*op)}};
    definitions[attrs] = attributes(*op);
  }
  definitions["op_node"] = {
      {"description", "Applies an op."},
      {"type", "object"},
      {"properties",
       {{"name", described(defined("name"), "Of its first output; output o is `name.o`.")},
        {"op", {{"oneOf", names}, {"description", "The op that it applies."}}},
        {"inputs",
         {{"description",
           "By position, with null for an optional one that is left out, "
           "or by name."}}},
        {"attrs", {{"description", "The op's attributes; what is left out has its default."}}},
        {"doc", defined("doc")}}},
      {"required", {"name", "op"}},
      {"additionalProperties", false},
      {"allOf", each}};
}

}  // namespace fovea::schema
