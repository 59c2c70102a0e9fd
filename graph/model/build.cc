// Builds a model's expressions for given sizes.

#include <algorithm>
#include <charconv>

#include "fovea/graph/model/instance.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// Where a body stands: the prefix of its names, and the repetition it is.
struct Place {
  std::string prefix;         // `layers.3.`, empty for the model
  std::string shared_prefix;  // of params: `layers.` when repetitions share them
  std::optional<std::int64_t> repetition;
  std::optional<std::int64_t> index;  // of the innermost repetition that has params of its own
  const JsonValue* use = nullptr;     // the node that applies the block
};

constexpr std::size_t kMostRefusals = 20000;  // looking further is a waste

constexpr std::string_view kIndex = "{i}";

std::string with_index(std::string from, std::int64_t index) {
  for (std::size_t at = 0; (at = from.find(kIndex)) != from.npos;) {
    from.replace(at, kIndex.size(), format("{}", index));
  }
  return from;
}

class Builder {
 public:
  Builder(const Description& description, const DimValues& dims, const std::optional<DType>& dtype,
          Mistakes& mistakes, Instance& instance)
      : d_(description), dims_(dims), dtype_(dtype), mistakes_(mistakes), instance_(instance) {}

  void build() {
    const Body& body = d_.body;
    Scope& scope = instance_.scope;
    for (const Declaration& input : body.inputs) {
      scope.inputs.push_back(leaf(input, input.name, {}, instance_.inputs));
    }
    for (const Constant& one : body.constants) scope.constants.push_back(constant_of(one));
    add_params(body, scope, {}, nullptr);
    add_nodes(body, scope, {});
    for (const Result& result : body.results) {
      instance_.outputs.emplace_back(result.name, lookup(body, scope, result.value));
    }
  }

  // The value of a resolved reference; null when it is broken.
  Expr lookup(const Body& body, const Scope& scope, const Reference& value) {
    const std::size_t i = value.symbol.index;
    switch (value.symbol.source) {
      case Source::none:
        return {};
      case Source::input:
        return scope.inputs[i];
      case Source::param:
        return scope.params[i];
      case Source::constant:
        return scope.constants[i];
      case Source::node:
        break;
    }
    const Node& node = body.nodes[i];
    if (node.op != nullptr) {
      const std::vector<Expr>& outputs = scope.nodes[i];
      const auto output = output_named(*node.op, value.member);
      if (output && *output < outputs.size()) return outputs[*output];
      if (!outputs.empty() && value.at && !dims_.stands_in()) {
        mistakes_.add(value.at,
                      format("{} names output {} of {}; there are {}", quoted(value.at.text()),
                             value.member, node.op->name, outputs.size()));
      }
      return {};
    }
    return node.block == nullptr ? Expr() : member(node, scope, value);
  }

 private:
  Expr member(const Node& node, const Scope& scope, const Reference& value) {
    const Body& body = node.block->body;
    const std::vector<Expr>& results = scope.nodes[value.symbol.index];
    if (results.empty()) return {};
    if (value.member.empty()) return results.front();
    for (std::size_t i = 0; i < body.results.size(); ++i) {
      if (body.results[i].name == value.member) return results[i];
    }
    const auto parts = scope.parts.find(value.symbol.index);
    if (parts == scope.parts.end()) return {};
    std::string_view rest = value.member;
    std::size_t repetition = 0;
    if (node.repeat && rest[0] >= '0' && rest[0] <= '9') {
      const std::size_t dot = rest.find('.');
      std::from_chars(rest.data(), rest.data() + dot, repetition);
      rest.remove_prefix(dot + 1);
    }
    if (repetition >= parts->second.size()) {
      if (value.at && !dims_.stands_in()) {
        mistakes_.add(value.at, format("{} names repetition {}; there are {}",
                                       quoted(value.at.text()), repetition, parts->second.size()));
      }
      return {};
    }
    Reference inner = body.find(rest);
    inner.at = value.at;
    return lookup(body, *parts->second[repetition], inner);
  }

  Expr leaf(const Declaration& declaration, std::string name, std::string from,
            std::vector<Leaf>& leaves) {
    Expr expr;
    if (!declaration.broken) {
      if (const auto shape = dims_.shape(declaration.shape, mistakes_)) {
        const LocationScope at(declaration.location);
        expr = input(name, chosen(declaration.dtype, dtype_), *shape);
      }
    }
    leaves.push_back({std::move(name), &declaration, expr, std::move(from)});
    return expr;
  }

  Expr constant_of(const Constant& one) {
    if (one.broken) return {};
    try {
      Tensor value = tensor_from_json(one.value, chosen(one.dtype, dtype_));
      if (one.shape) {
        const auto shape = dims_.shape(*one.shape, mistakes_);
        if (!shape) return {};
        const bool may_fit =
            dims_.stands_in() && std::ranges::any_of(*one.shape, [&](const Size& size) {
              return dims_.open(size.value);
            });
        const bool fits = may_fit              ? value.rank() == shape->rank()
                          : value.numel() == 0 ? shape->numel() == 0
                                               : value.shape() == *shape;
        if (!fits) {
          mistakes_.add(one.value, format("a value of shape {}; the shape given is {}",
                                          value.shape(), *shape));
          return {};
        }
        if (may_fit && value.shape() != *shape) {
          return input(one.name, value.dtype(), *shape);  // only its spec counts here
        }
        value = value.reshape(*shape);
      }
      const LocationScope at(Location(one.at.place()));
      return fovea::constant(std::move(value));
    } catch (const Error& error) {
      mistakes_.add(one.value, error);
      return {};
    }
  }

  void add_params(const Body& body, Scope& scope, const Place& place, const Scope* shared) {
    if (shared != nullptr) {
      scope.params = shared->params;
      return;
    }
    for (const Declaration& param : body.params) {
      const std::string name = place.shared_prefix + param.name;
      const JsonValue renamed = param.at.find("from");
      std::string from = renamed.is(JsonKind::text) ? param.from : name;
      if (from.find(kIndex) != from.npos) {
        if (place.index) {
          from = with_index(std::move(from), *place.index);
        } else {
          mistakes_.add(renamed, no_index(place));
        }
      }
      scope.params.push_back(leaf(param, name, std::move(from), instance_.params));
    }
  }

  static std::string no_index(const Place& place) {
    const std::string why =
        place.use == nullptr
            ? "this param is not in a block"
            : format("nothing repeats the block that is applied at {}{}", place.use->place(),
                     place.repetition ? ", or its repetitions share their params" : "");
    return format(
        "{} is the index of a repetition, but {}; \"repeat\", or a name without {} is "
        "required",
        kIndex, why, kIndex);
  }

  void add_nodes(const Body& body, Scope& scope, const Place& place) {
    scope.nodes.resize(body.nodes.size());
    for (std::uint32_t i : body.order) {
      const Node& node = body.nodes[i];
      if (node.op != nullptr) {
        scope.nodes[i] = apply_op(body, scope, node, place);
      } else if (node.block != nullptr && !node.broken && !node.block->broken) {
        apply_block(body, scope, i, place);
      }
    }
  }

  // Whether one node more is allowed; reported once.
  bool count(const JsonValue& at) {
    if (++nodes_ <= kMaxNodes) return true;
    if (nodes_ == kMaxNodes + 1 && !dims_.stands_in()) {
      mistakes_.add(at, format("more than {} nodes after expansion; that is the limit", kMaxNodes));
    }
    return false;
  }

  // With the node's whole name, where the place in the file does not tell which repetition it is.
  static Location located(const Node& node, const Place& place) {
    if (place.prefix.empty()) return node.location;
    return Location(format("{} ({}{})", node.location.text(), place.prefix, node.name));
  }

  std::vector<Expr> apply_op(const Body& body, const Scope& scope, const Node& node,
                             const Place& place) {
    if (!count(node.at)) return {};
    const std::shared_ptr<const Op> op = make_op(node, dims_, dtype_, mistakes_);
    if (node.broken) return {};
    std::optional<std::vector<Expr>> inputs = operands(body, scope, node);
    if (!inputs || op == nullptr || instance_.refusals.size() == kMostRefusals) return {};
    try {
      std::vector<Expr> outputs = apply(op, *inputs, located(node, place));
      instance_.accepted.push_back(&node);
      return outputs;
    } catch (const Error& error) {
      refuse(node, op, *inputs, error, place);
      return {};
    }
  }

  void refuse(const Node& node, const std::shared_ptr<const Op>& op,
              const std::vector<Expr>& inputs, const Error& error, const Place& place) {
    Refusal refusal{&node, op, {}, {}};
    for (const Expr& x : inputs) {
      refusal.inputs.push_back(x ? Op::MaybeSpec(x.spec()) : std::nullopt);
    }
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      std::string text = diagnostic.text;
      if (place.use != nullptr) text += format(" (block used at {})", place.use->place());
      refusal.mistakes.add(node.at, std::move(text), diagnostic.op);
    }
    instance_.refusals.push_back(std::move(refusal));
  }

  std::optional<std::vector<Expr>> operands(const Body& body, const Scope& scope,
                                            const Node& node) {
    std::vector<Expr> inputs(node.inputs.size());
    bool complete = true;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Operand& operand = node.inputs[i];
      if (operand.kind == Operand::Kind::value) {
        inputs[i] = lookup(body, scope, operand.value);
        complete &= static_cast<bool>(inputs[i]);
      }
      complete &= operand.kind != Operand::Kind::broken;
    }
    if (!complete) return {};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (node.inputs[i].kind != Operand::Kind::number) continue;
      inputs[i] = number(node, node.inputs[i], inputs);
      if (!inputs[i]) return {};
    }
    return inputs;
  }

  // A number takes the dtype of the other operand: of a float one, if there is one, else i64.
  Expr number(const Node& node, const Operand& operand, const std::vector<Expr>& inputs) {
    std::optional<DType> dtype;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (node.inputs[i].kind != Operand::Kind::value) continue;
      const DType other = inputs[i].dtype();
      if (!dtype || (!is_float(*dtype) && (is_float(other) || other == i64))) dtype = other;
    }
    if (!dtype || *dtype == boolean) {
      mistakes_.add(operand.at,
                    format("the number {} beside no f32, f64 or i64 value; its dtype "
                           "would be that of the other operand",
                           operand.at.describe()),
                    node.op->name);
      return {};
    }
    return constant_number(operand, *dtype);
  }

  Expr constant_number(const Operand& operand, DType dtype) {
    try {
      return fovea::constant(tensor_from_json(operand.at, dtype));
    } catch (const Error& error) {
      mistakes_.add(operand.at, error);
      return {};
    }
  }

  void apply_block(const Body& body, Scope& scope, std::uint32_t index, const Place& place) {
    const Node& node = body.nodes[index];
    const Block& block = *node.block;
    std::vector<Expr> inputs;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Operand& operand = node.inputs[i];
      const DType dtype = chosen(block.body.inputs[i].dtype, dtype_);
      inputs.push_back(operand.kind == Operand::Kind::number ? constant_number(operand, dtype)
                                                             : lookup(body, scope, operand.value));
      if (!inputs.back()) return;
    }
    std::int64_t repetitions = 1;
    if (node.repeat && !count_of(node, repetitions)) return;
    std::vector<std::unique_ptr<Scope>>& parts = scope.parts[index];
    const std::string name = place.prefix + node.name + ".";
    std::vector<Expr> results(
        inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(
                                             std::min(inputs.size(), block.body.results.size())));
    for (std::int64_t i = 0; i < repetitions; ++i) {
      if (!count(node.at)) return;
      Place inner{name, name, place.repetition, place.index, &node.at};
      if (node.repeat) {
        inner.prefix += format("{}.", i);
        inner.repetition = i;
        if (!node.share) {
          inner.shared_prefix = inner.prefix;
          inner.index = i;
        }
      }
      const Scope* shared = node.share && i > 0 ? parts.front().get() : nullptr;
      parts.push_back(std::make_unique<Scope>());
      results = enter(node, *parts.back(), inputs, inner, shared);
      if (results.empty()) return;
      if (node.repeat) std::ranges::copy(results, inputs.begin());
    }
    scope.nodes[index] = std::move(results);
  }

  // The number of repetitions, which must feed back into the block.
  bool count_of(const Node& node, std::int64_t& repetitions) {
    const std::optional<Extent> extent = dims_.size(*node.repeat, mistakes_);
    if (!extent) return false;
    repetitions = extent->value();
    // Any number is as good as the stand-in: two show what the second is given.
    if (dims_.stands_in() && dims_.open(node.repeat->value)) {
      repetitions = std::min<std::int64_t>(repetitions, 2);
      instance_.open_repeats = true;
    }
    if (repetitions > kMaxRepeat) {
      if (!dims_.stands_in()) {
        mistakes_.add(node.repeat->at,
                      format("repeat is {}; at most {} is allowed", repetitions, kMaxRepeat));
      }
      return false;
    }
    const Body& body = node.block->body;
    if (body.results.size() > body.inputs.size()) {
      mistakes_.add(node.repeat->at,
                    format("block \"{}\" has {} outputs and {} inputs; to be repeated, its outputs "
                           "must feed its first inputs",
                           node.block->name, body.results.size(), body.inputs.size()));
      return false;
    }
    return true;
  }

  // Whether a block's inputs are as it declares them. Where stand-ins may be to blame, those that
  // are not become what they should be, so that the block is looked at.
  bool fit(const Block& block, const Node& node, std::vector<Expr>& inputs, const Place& place) {
    bool all = true;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Declaration& declared = block.body.inputs[i];
      if (declared.broken) return false;
      const auto shape = dims_.shape(declared.shape, mistakes_);
      if (!shape) return false;
      const TensorSpec given = inputs[i].spec();
      const TensorSpec wanted{chosen(declared.dtype, dtype_), *shape};
      if (given == wanted) continue;
      const bool fed_back = place.repetition && *place.repetition > 0;
      std::string text = format("block \"{}\": input \"{}\" is {}; {} is required{}", block.name,
                                declared.name, to_string(given), to_string(wanted),
                                fed_back ? " (an output of the repetition before)" : "");
      const bool extents_only = given.dtype == wanted.dtype && given.shape.rank() == shape->rank();
      if (extents_only && dims_.stands_in()) {
        instance_.mismatches.push_back({&node, i, given, wanted, std::move(text)});
        const LocationScope at(declared.location);
        inputs[i] = input(declared.name, wanted.dtype, *shape);
        continue;
      }
      all = false;
      mistakes_.add(*place.use, std::move(text));
    }
    return all;
  }

  // Applies a block once; its results, or nothing when something is broken.
  std::vector<Expr> enter(const Node& node, Scope& scope, std::vector<Expr> inputs,
                          const Place& place, const Scope* shared) {
    const Body& body = node.block->body;
    if (!fit(*node.block, node, inputs, place)) return {};
    scope.inputs = inputs;
    add_params(body, scope, place, shared);
    add_nodes(body, scope, place);
    std::vector<Expr> results;
    for (const Result& result : body.results) {
      results.push_back(lookup(body, scope, result.value));
      if (!results.back()) return {};
    }
    return results;
  }

  const Description& d_;
  const DimValues& dims_;
  const std::optional<DType>& dtype_;
  Mistakes& mistakes_;
  Instance& instance_;
  std::int64_t nodes_ = 0;
};

}  // namespace

Instance build(const Description& description, const DimValues& dims,
               const std::optional<DType>& dtype, Mistakes& mistakes) {
  Instance instance;
  Builder(description, dims, dtype, mistakes, instance).build();
  return instance;
}

Expr find_value(const Description& description, const Instance& instance, std::string_view name) {
  const Body& body = description.body;
  const Reference found = body.find(name);
  Mistakes mistakes;
  Instance unused;
  const bool whole_name = found.symbol.source == Source::node || name.find('.') == name.npos;
  const bool member = found.symbol.source != Source::node ||
                      is_member(body.nodes[found.symbol.index], found.member);
  Expr value;
  if (found.symbol.source != Source::none && whole_name && member && !name.ends_with('.')) {
    value = Builder(description, DimValues(description), {}, mistakes, unused)
                .lookup(body, instance.scope, found);
  }
  if (value) return value;
  std::vector<std::string> known;
  for (const auto& [one, symbol] : body.names) known.push_back(one);
  std::ranges::sort(known);
  fail("", "unknown value {}{}", quoted(name), did_you_mean(name, known));
}

}  // namespace fovea::model
