// Reads nodes, blocks and outputs, and finds what their names stand for.

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "fovea/graph/model/reader.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// For a hint; none in a body so large that looking for one would take long.
std::vector<std::string> names_of(const Body& body) {
  std::vector<std::string> names;
  if (body.names.size() > 10000) return names;
  for (const auto& [name, symbol] : body.names) names.push_back(name);
  std::ranges::sort(names);  // the same hint on every run
  return names;
}

std::vector<std::string> slot_names(const std::vector<Slot>& slots) {
  std::vector<std::string> names;
  for (const Slot& slot : slots) names.emplace_back(slot.name);
  return names;
}

std::vector<Slot> slots_of(const Node& node) {
  if (node.op != nullptr) return node.op->inputs;
  std::vector<Slot> slots;
  if (node.block != nullptr) {
    for (const Declaration& input : node.block->body.inputs) slots.push_back({input.name});
  }
  return slots;
}

// What is odd about a name that nothing has.
std::string_view why_unknown(std::string_view name) {
  double number = 0;
  const char* end = name.data() + name.size();
  if (const auto [last, error] = std::from_chars(name.data(), end, number);
      error == std::errc() && last == end) {
    return "; a number stands without quotes";
  }
  const bool ascii = std::ranges::all_of(name, [](unsigned char c) { return c < 0x80; });
  return ascii ? "" : "; it has letters beyond A to Z, which no name has";
}

// Of its op or block.
std::string_view name_of(const Node& node) {
  if (node.op != nullptr) return node.op->name;
  return node.block != nullptr ? std::string_view(node.block->name) : std::string_view();
}

}  // namespace

void Reader::blocks(const JsonValue& object) {
  const std::vector<JsonValue> members = named_members(object);
  for (JsonValue member : members) {
    if (!check_name(member) || !is_object(member)) continue;
    auto block = std::make_unique<Block>();
    block->name = member.key();
    block->at = member;
    d_.blocks.emplace(block->name, std::move(block));
  }
  for (JsonValue member : members) {
    const auto block = d_.blocks.find(std::string(member.key()));
    if (block == d_.blocks.end()) continue;
    check_keys(member, {"inputs", "params", "nodes", "outputs"});
    declare(member, block->second->body, true);
  }
  for (Block* block : order_blocks()) {
    resolve(block->at, block->body);
    check_results(*block);
  }
}

void Reader::add_name(Body& body, const JsonValue& member, std::string_view name, Symbol symbol) {
  if (body.names.emplace(name, symbol).second) return;
  body.unresolved = true;
  mistakes_.add_key(member, format("the name {} is taken; inputs, params, constants and nodes "
                                   "share one name space",
                                   quoted(name)));
}

void Reader::declare(const JsonValue& object, Body& body, bool in_block) {
  const auto index = [](const auto& list) { return static_cast<std::uint32_t>(list.size()); };
  for (const char* key : {"inputs", "params", "constants", "nodes"}) {
    const JsonValue names = object.find(key);
    const JsonKind kind = std::string_view(key) == "nodes" ? JsonKind::array : JsonKind::object;
    body.nameless |= names && !names.is(kind);
  }
  for (JsonValue member : named_members(object.find("inputs"))) {
    body.nameless |= !check_name(member);
    add_name(body, member, member.key(), {Source::input, index(body.inputs)});
    body.inputs.push_back(declaration(member, false, in_block));
  }
  for (JsonValue member : named_members(object.find("params"))) {
    body.nameless |= !check_name(member);
    add_name(body, member, member.key(), {Source::param, index(body.params)});
    body.params.push_back(declaration(member, true, in_block));
  }
  if (!in_block) {
    for (JsonValue member : named_members(object.find("constants"))) {
      body.nameless |= !check_name(member);
      add_name(body, member, member.key(), {Source::constant, index(body.constants)});
      body.constants.push_back(constant(member));
    }
  }
  const JsonValue nodes = required(object, "nodes");
  if (nodes && !nodes.is(JsonKind::array)) {
    mistakes_.add(nodes, format("nodes is {}; a list is required", nodes.describe()));
  } else if (nodes) {
    body.nodes.reserve(nodes.size());
    for (JsonValue value : nodes) {
      if (mistakes_.full()) {
        body.nameless = true;
        break;
      }
      body.nodes.push_back(node(value));
      const std::string& name = body.nodes.back().name;
      body.nameless |= name.empty();
      const Symbol symbol{Source::node, index(body.nodes) - 1};
      if (!name.empty()) add_name(body, value.find("name"), name, symbol);
    }
  }
}

void Reader::resolve(const JsonValue& object, Body& body) {
  for (Node& node : body.nodes) {
    if (!mistakes_.full()) operands(body, node);
  }
  order_nodes(body);
  if (const JsonValue outputs = required(object, "outputs")) {
    results(outputs, body);
  } else {
    body.unresolved = true;
  }
  check_used(body);
}

Node Reader::node(const JsonValue& value) {
  Node node;
  node.at = value;
  node.location = Location(value.place());
  node.broken = true;
  if (!is_object(value)) return node;
  const std::size_t before = mistakes_.size();
  if (const JsonValue name = required(value, "name")) {
    if (name.is(JsonKind::text) && is_model_name(name.text())) {
      node.name = name.text();
    } else {
      mistakes_.add(name, format("{} as a name; letters, digits and _ are required, no digit "
                                 "first",
                                 name.describe()));
    }
  }
  if (value.find("block") && value.find("op")) {
    mistakes_.add(value, "both \"op\" and \"block\"; exactly one of them is required");
  } else if (value.find("block")) {
    apply_block(value, node);
  } else {
    apply_op(value, node);
  }
  node.broken = mistakes_.size() != before;
  return node;
}

void Reader::apply_op(const JsonValue& value, Node& node) {
  check_keys(value, {"name", "op", "inputs", "attrs"});
  const JsonValue op = required(value, "op");
  if (!op) return;
  if (!op.is(JsonKind::text)) {
    mistakes_.add(op, format("op is {}; the name of an op is required", op.describe()));
    return;
  }
  node.op = registry_.find(op.text());
  if (node.op == nullptr) {
    std::vector<std::string> known;
    for (const OpType* type : registry_.types()) known.emplace_back(type->name);
    mistakes_.add(op, unknown("op", op.text(), known));
  }
  if (const JsonValue attributes = value.find("attrs"); attributes && is_object(attributes)) {
    node.attributes = attributes;
  }
}

void Reader::apply_block(const JsonValue& value, Node& node) {
  check_keys(value, {"name", "block", "inputs", "repeat", "share"});
  const JsonValue name = value.find("block");
  if (!name.is(JsonKind::text)) {
    mistakes_.add(name, format("block is {}; the name of a block is required", name.describe()));
  } else if (const auto block = d_.blocks.find(std::string(name.text()));
             block != d_.blocks.end()) {
    node.block = block->second.get();
  } else {
    std::vector<std::string> known;
    for (const auto& [known_name, unused] : d_.blocks) known.push_back(known_name);
    std::ranges::sort(known);
    mistakes_.add(name, unknown("block", name.text(), known));
  }
  if (const JsonValue repeat = value.find("repeat")) node.repeat = size(repeat);
  if (const JsonValue share = value.find("share")) {
    if (!value.find("repeat")) {
      mistakes_.add_key(share,
                        "\"share\" without \"repeat\"; it says that repetitions share their "
                        "params, so \"repeat\" is required");
    }
    if (share.is(JsonKind::boolean)) {
      node.share = share.boolean();
    } else {
      mistakes_.add(share, format("share is {}; true or false is required", share.describe()));
    }
  }
}

void Reader::operands(Body& body, Node& node) {
  if (!node.at.is(JsonKind::object)) return;
  const std::size_t before = mistakes_.size();
  const JsonValue inputs = node.at.find("inputs");
  if (!inputs && node.op != nullptr && node.op->inputs.empty()) return;
  if (!inputs) {
    mistakes_.add(node.at, "the key \"inputs\" is missing; it is required");
    body.unresolved = true;
  } else if (inputs.is(JsonKind::array)) {
    operands_by_position(body, inputs, node);
  } else if (inputs.is(JsonKind::object)) {
    operands_by_name(body, inputs, node);
  } else {
    mistakes_.add(inputs,
                  format("inputs is {}; a list or an object is required", inputs.describe()));
    body.unresolved = true;
  }
  node.broken |= mistakes_.size() != before;
}

void Reader::operands_by_position(Body& body, const JsonValue& list, Node& node) {
  const std::vector<Slot> slots = slots_of(node);
  const bool known = node.op != nullptr || node.block != nullptr;
  const bool variadic = !slots.empty() && slots.back().arity == Arity::variadic;
  for (JsonValue value : list) {
    const std::size_t i = value.position();
    if (known && !variadic && i == slots.size()) {
      mistakes_.add(value, format("{} inputs; {} takes {}", list.size(), name_of(node),
                                  slots.empty() ? "none"
                                                : format("{} ({})", slots.size(),
                                                         fmt::join(slot_names(slots), ", "))));
    }
    const Arity arity = i < slots.size() ? slots[i].arity
                        : variadic       ? Arity::variadic
                                         : Arity::optional;
    node.inputs.push_back(operand(body, value, arity == Arity::optional));
  }
  for (std::size_t i = node.inputs.size(); i < slots.size(); ++i) {
    if (slots[i].arity == Arity::variadic) break;
    node.inputs.push_back({});
    if (slots[i].arity == Arity::required) {
      body.unresolved = true;
      mistakes_.add(list, format("the input \"{}\" is missing", slots[i].name),
                    node.op ? node.op->name : std::string_view());
    }
  }
}

void Reader::operands_by_name(Body& body, const JsonValue& object, Node& node) {
  const std::vector<Slot> slots = slots_of(node);
  const bool known = node.op != nullptr || node.block != nullptr;
  const std::string_view op = node.op ? node.op->name : std::string_view();
  for (JsonValue member : object) {
    if (std::ranges::find(slots, member.key(), &Slot::name) != slots.end()) continue;
    if (member.key() == "doc" && member.is(JsonKind::text)) continue;
    if (known) {
      mistakes_.add_key(
          member,
          unknown(format("input of {}:", name_of(node)), member.key(), slot_names(slots),
                  node.op ? node.op->reserved_inputs : std::span<const std::string_view>()));
    }
    node.inputs.push_back(operand(body, member, true));  // what it names counts as used
  }
  for (const Slot& slot : slots) {
    const JsonValue value = object.find(slot.name);
    if (slot.arity != Arity::variadic) {
      if (!value && slot.arity == Arity::required) {
        body.unresolved = true;
        mistakes_.add(object, format("the input \"{}\" is missing", slot.name), op);
      }
      node.inputs.push_back(value ? operand(body, value, slot.arity == Arity::optional)
                                  : Operand{});
    } else if (value && !value.is(JsonKind::array)) {
      mistakes_.add(
          value, format("{} for \"{}\"; a list of values is required", value.describe(), slot.name),
          op);
      body.unresolved = true;
    } else if (value) {
      for (JsonValue element : value) node.inputs.push_back(operand(body, element, false));
    }
  }
}

Operand Reader::operand(Body& body, const JsonValue& value, bool optional) {
  Operand result{.kind = Operand::Kind::broken, .at = value, .value = {}};
  if (value.is(JsonKind::null) && optional) {
    result.kind = Operand::Kind::omitted;
  } else if (value.is_number()) {
    result.kind = Operand::Kind::number;
    result.number = value.number();
  } else if (value.is(JsonKind::text)) {
    const auto special = special_number(value.text());
    if (special && body.find(value.text()).symbol.source == Source::none) {
      result.kind = Operand::Kind::number;
      result.number = *special;
    } else if (auto found = reference(body, value)) {
      result.kind = Operand::Kind::value;
      result.value = *found;
    }
  } else {
    body.unresolved = true;
    mistakes_.add(value, value.is(JsonKind::null)
                             ? "null for a required input; the name of a value is required"
                             : format("{} as an input; the name of a value or a number is required",
                                      value.describe()));
  }
  return result;
}

std::optional<Reference> Reader::reference(Body& body, const JsonValue& value) {
  const std::string_view name = value.text();
  Reference found = body.find(name);
  found.at = value;
  const auto unknown_member = [&](std::string_view of, std::vector<std::string> members) {
    body.unresolved = true;
    const std::string known = format("{}", fmt::join(members, ", "));
    mistakes_.add(value, format("unknown value {}; {} gives {}{}", quoted(name), of, known,
                                did_you_mean(found.member, members)));
  };
  if (found.symbol.source == Source::none) {
    body.unresolved = true;
    if (!body.nameless) {
      const std::string hint = did_you_mean(name, names_of(body));
      mistakes_.add(value, format("unknown value {}{}", quoted(name),
                                  hint.empty() ? why_unknown(name) : hint));
    }
    return {};
  }
  if (found.symbol.source != Source::node) {
    if (found.member.empty() && name.find('.') == name.npos) return found;
    body.unresolved = true;
    mistakes_.add(value, format("unknown value {}; only nodes have named outputs", quoted(name)));
    return {};
  }
  const Node& node = body.nodes[found.symbol.index];
  if (name.ends_with('.')) {
    body.unresolved = true;
    mistakes_.add(value, format("unknown value {}; the name of an output is required after the dot",
                                quoted(name)));
    return {};
  }
  if (node.op != nullptr && !output_named(*node.op, found.member)) {
    unknown_member(node.op->name, node.op->variadic_outputs()
                                      ? std::vector<std::string>{"0", "1", "…"}
                                      : slot_names(node.op->outputs));
    return {};
  }
  if (node.block != nullptr && !is_member(node, found.member)) {
    std::vector<std::string> members;
    for (const Result& result : node.block->body.results) members.push_back(result.name);
    unknown_member(node.block->name, members);
    return {};
  }
  return found;
}

void Reader::results(const JsonValue& value, Body& body) {
  const bool list = value.is(JsonKind::array);
  std::unordered_set<std::string> names;
  if (!list && !value.is(JsonKind::object)) {
    mistakes_.add(value,
                  format("outputs is {}; an object or a list is required", value.describe()));
    body.unresolved = true;
    return;
  }
  for (JsonValue member : value) {
    if (!member.is(JsonKind::text)) {
      mistakes_.add(member,
                    format("{} as an output; the name of a value is required", member.describe()));
      body.unresolved = true;
      continue;
    }
    if (member.key() == "doc" && body.find(member.text()).symbol.source == Source::none) continue;
    std::string name(list ? member.text() : member.key());
    if (!list && !is_model_name(name)) check_name(member);
    if (!names.insert(name).second) {
      mistakes_.add(member,
                    format("the output {} stands twice; names are unique", fovea::quoted(name)));
    }
    if (const auto found = reference(body, member)) {
      body.results.push_back({std::move(name), *found});
    } else {
      body.results.push_back({std::move(name), Reference{member, {}, {}}});
    }
  }
  if (body.results.empty() && mistakes_.empty()) {
    mistakes_.add(value, "there are no outputs; at least one is required");
  }
}

void Reader::check_results(const Block& block) {
  for (const Result& result : block.body.results) {
    const Reference inner = block.body.find(result.name);
    const Reference& meant = result.value;
    if (inner.symbol.source == Source::none || meant.symbol.source == Source::none) continue;
    bool equal = inner.symbol.source == meant.symbol.source &&
                 inner.symbol.index == meant.symbol.index && inner.member == meant.member;
    if (inner.symbol.source == Source::node) {
      const Node& node = block.body.nodes[inner.symbol.index];
      equal |= inner.symbol.source == meant.symbol.source &&
               inner.symbol.index == meant.symbol.index && node.op != nullptr &&
               output_named(*node.op, meant.member) == 0;
    }
    if (!equal) {
      mistakes_.add(meant.at, format("the output \"{}\" is {}, but the block has another value "
                                     "\"{}\"; a name stands for one value",
                                     result.name, quoted(meant.at.text()), result.name));
    }
  }
}

void Reader::check_used(const Body& body) {
  if (body.unresolved || body.nameless) return;
  std::vector<bool> inputs(body.inputs.size()), params(body.params.size());
  const auto use = [&](const Symbol& symbol) {
    if (symbol.source == Source::input) inputs[symbol.index] = true;
    if (symbol.source == Source::param) params[symbol.index] = true;
  };
  for (const Node& node : body.nodes) {
    for (const Operand& operand : node.inputs) use(operand.value.symbol);
  }
  for (const Result& result : body.results) use(result.value.symbol);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i]) continue;
    mistakes_.add_key(body.inputs[i].at, format("unused input \"{}\"; use it in a node or an "
                                                "output, or remove it",
                                                body.inputs[i].name));
  }
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i]) continue;
    mistakes_.add_key(body.params[i].at, format("unused parameter \"{}\"; use it in a node or an "
                                                "output, or remove it",
                                                body.params[i].name));
  }
}

}  // namespace fovea::model
