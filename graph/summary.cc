#include "fovea/graph/summary.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "fovea/graph/checked.h"
#include "fovea/graph/executable.h"
#include "fovea/graph/model/instance.h"
#include "fovea/graph/model/open_sizes.h"
#include "fovea/graph/passes.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/matmul.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

using model::Body;
using model::Scope;

/// A value in both instances.
using Twice = std::array<Expr, 2>;
using Scopes = std::array<const Scope*, 2>;

std::optional<double> sum(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return {};
  return *a + *b;
}

// What fuse_attention says of each place, and which attention nodes compute their scores.
class AttentionPaths {
 public:
  explicit AttentionPaths(std::span<const Expr> outputs) {
    const auto use = [&](const Expr& x) {
      if (x && x.output() >= 2) whole_.insert(&x.node());
    };
    for (const Expr& x : outputs) use(x);
    for (const Node* node : topological_order(outputs)) {
      for (const Expr& x : node->inputs()) use(x);
    }
    std::vector<AttentionNote> notes;
    fuse_attention(outputs, &notes);
    for (const AttentionNote& note : notes) notes_.emplace(note.location.text(), note.text);
  }

  std::string of(const Expr& x) const {
    if (x.node().kind() != Node::Kind::op) return {};
    if (&x.node().op().type() == &op_type<Attention>()) {
      return whole_.contains(&x.node()) ? "fused; scores or probs are used, which take Lq*Lk memory"
                                        : "fused; memory grows with the lengths";
    }
    if (&x.node().op().type() != &op_type<Matmul>()) return {};
    const auto note = notes_.find(x.node().location().text());
    return note == notes_.end() ? "" : note->second;
  }

 private:
  std::unordered_set<const Node*> whole_;
  std::unordered_map<std::string, std::string> notes_;
};

class Summarizer {
 public:
  Summarizer(const model::Description& description, const model::OpenSizes& sizes,
             const std::array<const model::Instance*, 2>& instances)
      : d_(description),
        sizes_(sizes),
        instances_(instances),
        outputs_(reachable_outputs(*instances[0])),
        paths_(outputs_) {
    for (const Node* node : topological_order(outputs_)) {
      for (const Expr& x : node->inputs()) use(x);
    }
    for (const Expr& x : outputs_) use(x);
  }

  Summary run() {
    const Scopes scopes{&instances_[0]->scope, &instances_[1]->scope};
    const Body& body = d_.body;
    Summary result{.name = d_.name, .doc = d_.doc};
    for (std::uint32_t i = 0; i < d_.dims.size(); ++i) result.dims.push_back(dim(i));
    declared(body.inputs, scopes, &Scope::inputs, result.inputs);
    declared(body.params, scopes, &Scope::params, result.params);
    for (std::size_t i = 0; i < body.constants.size(); ++i) {
      result.constants.push_back(
          value(body.constants[i].name, {scopes[0]->constants[i], scopes[1]->constants[i]}));
    }
    result.nodes = nodes(body, scopes);
    result.expanded_nodes = expanded_;
    result.flops = total(result.nodes);
    parameters(result);
    for (std::size_t i = 0; i < body.results.size(); ++i) {
      const Twice both{instances_[0]->outputs[i].second, instances_[1]->outputs[i].second};
      result.outputs.emplace_back(body.results[i].name,
                                  value(std::string(body.results[i].value.at.text()), both));
    }
    return result;
  }

  const std::vector<Expr>& outputs() const { return outputs_; }

 private:
  static std::vector<Expr> reachable_outputs(const model::Instance& instance) {
    std::vector<Expr> outputs;
    for (const auto& [name, x] : instance.outputs) {
      if (x) outputs.push_back(x);
    }
    return outputs;
  }

  void use(const Expr& x) {
    if (x && x.output() > 0) used_.insert({&x.node(), x.output()});
  }

  std::pair<std::string, std::string> dim(std::uint32_t i) const {
    const auto first = sizes_.choice(0).value(i), second = sizes_.choice(1).value(i);
    const model::Dim& one = d_.dims[i];
    if (first && first == second) return {one.name, format("{}", *first)};
    return {one.name, one.value ? one.value->text() : "open"};
  }

  std::optional<double> elements(const Twice& both) const {
    if (!both[0] || !both[1] || both[0].shape() != both[1].shape()) return {};
    return static_cast<double>(both[0].shape().numel());
  }

  ValueSummary value(std::string name, const Twice& both) const {
    ValueSummary result{.name = std::move(name)};
    if (!both[0] || !both[1]) return result;
    result.dtype = both[0].dtype();
    const Shape &first = both[0].shape(), &second = both[1].shape();
    if (first.rank() != second.rank()) return result;
    std::vector<ExtentSummary>& shape = result.shape.emplace();
    for (std::int64_t axis = 0; axis < first.rank(); ++axis) {
      const Extent &a = first[axis], &b = second[axis];
      ExtentSummary& extent = shape.emplace_back();
      if (a.name() == b.name()) extent.name = a.name();
      if (a.value() == b.value()) {
        extent.size = a.value();
      } else if (extent.name.empty()) {
        extent.name = sizes_.name_of({a.value(), b.value()});
      }
    }
    result.elements = elements(both);
    if (result.elements) {
      result.bytes = *result.elements * static_cast<double>(size_of(both[0].dtype()));
    }
    return result;
  }

  void declared(const std::vector<model::Declaration>& list, const Scopes& scopes,
                std::vector<Expr> Scope::*values, std::vector<ValueSummary>& out) const {
    for (std::size_t i = 0; i < list.size(); ++i) {
      out.push_back(value(list[i].name, {(scopes[0]->*values)[i], (scopes[1]->*values)[i]}));
    }
  }

  std::optional<double> total(const std::vector<NodeSummary>& all) const {
    std::optional<double> flops = 0;
    for (const NodeSummary& node : all) flops = sum(flops, node.flops);
    return flops;
  }

  std::vector<NodeSummary> nodes(const Body& body, const Scopes& scopes) {
    std::vector<NodeSummary> all;
    for (const std::uint32_t i : body.order) {
      const model::Node& node = body.nodes[i];
      NodeSummary one{.name = node.name, .what = {}};
      for (const model::Operand& operand : node.inputs) {
        if (operand.kind != model::Operand::Kind::omitted) one.inputs.push_back(named(operand));
      }
      if (node.op != nullptr) {
        op(body, scopes, i, one);
      } else if (node.block != nullptr) {
        block(body, scopes, i, one);
      }
      all.push_back(std::move(one));
    }
    return all;
  }

  static std::string named(const model::Operand& operand) {
    return operand.at.is(JsonKind::text) ? std::string(operand.at.text()) : operand.at.describe();
  }

  // Of an output: `lse`; of one of a variable number, `2`.
  static std::string name_of(const OpType& op, std::size_t o) {
    const bool variadic = o >= op.outputs.size() || op.outputs.back().arity == Arity::variadic;
    return variadic ? format("{}", o) : std::string(op.outputs[o].name);
  }

  static Expr output(const Scope& scope, std::uint32_t node, std::size_t o) {
    const std::vector<Expr>& outputs = scope.nodes[node];
    return o < outputs.size() ? outputs[o] : Expr();
  }

  void op(const Body& body, const Scopes& scopes, std::uint32_t i, NodeSummary& out) {
    const model::Node& node = body.nodes[i];
    out.what = node.op->name;
    ++expanded_;
    const std::vector<Expr>&first = scopes[0]->nodes[i], &second = scopes[1]->nodes[i];
    const std::size_t count = std::max<std::size_t>(1, first.size());
    out.bytes = 0;
    for (std::size_t o = 0; o < count; ++o) {
      const Twice both{output(*scopes[0], i, o), output(*scopes[1], i, o)};
      if (o > 0 && (!both[0] || !used_.contains({&both[0].node(), static_cast<std::int64_t>(o)}))) {
        continue;
      }
      const std::string name =
          o == 0 ? node.name : format("{}.{}", node.name, name_of(*node.op, o));
      out.outputs.push_back(value(name, both));
      out.bytes = sum(out.bytes, out.outputs.back().bytes);
    }
    out.parameters = 0;
    for (const model::Operand& operand : node.inputs) {
      if (operand.value.symbol.source != model::Source::param) continue;
      const std::size_t p = operand.value.symbol.index;
      out.parameters = sum(out.parameters, elements({scopes[0]->params[p], scopes[1]->params[p]}));
    }
    if (first.empty() || second.empty()) return;
    out.flops = flops(first.front(), second.front());
    out.attention = paths_.of(first.front());
  }

  static std::optional<double> flops(const Expr& first, const Expr& second) {
    std::array<double, 2> counts{};
    for (std::size_t c = 0; const Expr* x : {&first, &second}) {
      std::vector<Op::MaybeSpec> specs;
      for (const Expr& in : x->node().inputs()) {
        specs.push_back(in ? Op::MaybeSpec(in.spec()) : std::nullopt);
      }
      counts[c++] = x->node().op().flops(specs);
    }
    if (counts[0] != counts[1]) return {};
    return counts[0];
  }

  // How often a block is repeated, as a number and as a text; -1 when that is open.
  double repetitions(const model::Size& repeat, std::string& text) const {
    model::Mistakes none;
    const auto first = sizes_.choice(0).size(repeat, none);
    const auto second = sizes_.choice(1).size(repeat, none);
    if (!first || !second || first->value() != second->value()) {
      text = repeat.value.text();
      return -1;
    }
    text = format("{}", first->value());
    return static_cast<double>(first->value());
  }

  void block(const Body& body, const Scopes& scopes, std::uint32_t i, NodeSummary& out) {
    const model::Node& node = body.nodes[i];
    const Body& inner = node.block->body;
    out.what = node.block->name;
    out.is_block = true;
    out.share = node.share;
    const double times = node.repeat ? repetitions(*node.repeat, out.repeat) : 1;
    for (std::size_t o = 0; o < inner.results.size(); ++o) {
      const Twice both{output(*scopes[0], i, o), output(*scopes[1], i, o)};
      out.outputs.push_back(
          value(o == 0 ? node.name : format("{}.{}", node.name, inner.results[o].name), both));
      out.results.emplace_back(inner.results[o].name, inner.results[o].value.at.text());
    }
    out.flops = out.parameters = out.bytes = 0;
    const auto first = scopes[0]->parts.find(i), second = scopes[1]->parts.find(i);
    if (first == scopes[0]->parts.end() || first->second.empty() ||
        second == scopes[1]->parts.end() || second->second.empty()) {
      return;  // no repetition
    }
    const Scopes parts{first->second.front().get(), second->second.front().get()};
    declared(inner.inputs, parts, &Scope::inputs, out.block_inputs);
    declared(inner.params, parts, &Scope::params, out.params);
    const double before = expanded_;
    out.nodes = nodes(inner, parts);
    expanded_ = before + (expanded_ - before) * (times < 0 ? 1 : times);
    for (const NodeSummary& one : out.nodes) {
      out.flops = sum(out.flops, one.flops);
      out.bytes = sum(out.bytes, one.bytes);
      out.parameters = sum(out.parameters, one.parameters);
    }
    const auto multiply = [&](std::optional<double>& figure) {
      if (times < 0) figure.reset();
      if (figure) *figure *= times;
    };
    multiply(out.flops);
    multiply(out.bytes);
    if (!node.share) multiply(out.parameters);
  }

  void parameters(Summary& result) const {
    const std::vector<model::Leaf>&first = instances_[0]->params, &second = instances_[1]->params;
    if (instances_[0]->open_repeats || first.size() != second.size()) return;
    result.parameters = result.parameter_bytes = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
      const ValueSummary one = value({}, {first[i].expr, second[i].expr});
      result.parameters = sum(result.parameters, one.elements);
      result.parameter_bytes = sum(result.parameter_bytes, one.bytes);
    }
  }

  struct Hash {
    std::size_t operator()(const std::pair<const Node*, std::int64_t>& x) const {
      return std::hash<const Node*>()(x.first) + static_cast<std::size_t>(x.second);
    }
  };

  const model::Description& d_;
  const model::OpenSizes& sizes_;
  const std::array<const model::Instance*, 2>& instances_;
  std::vector<Expr> outputs_;
  AttentionPaths paths_;
  std::unordered_set<std::pair<const Node*, std::int64_t>, Hash> used_;
  double expanded_ = 0;
};

// Compiled as for a run, but with inputs and params that have no values yet.
double planned_bytes(const model::Instance& instance, std::span<const Expr> outputs) {
  std::vector<Expr> leaves;
  for (const auto* list : {&instance.inputs, &instance.params}) {
    for (const model::Leaf& leaf : *list) leaves.push_back(leaf.expr);
  }
  return static_cast<double>(compile(leaves, outputs).peak_bytes());
}

}  // namespace

std::string spec_text(const ValueSummary& value) {
  if (!value.dtype || !value.shape) return "?";
  std::vector<std::string> extents;
  for (const auto& [size, name] : *value.shape) {
    extents.push_back(!size          ? name
                      : name.empty() ? format("{}", *size)
                                     : format("{}={}", name, *size));
  }
  return format("{} ({}{})", *value.dtype, fmt::join(extents, ", "),
                extents.size() == 1 ? "," : "");
}

Summary summarize(const Model& model, const Sizes& sizes, const BindOptions& options) {
  const Model::Checked checked = model.checked(sizes, options, true);
  const model::OpenSizes open(checked.dims);
  const model::Instance* second =
      checked.instances[1] ? checked.instances[1].get() : checked.instances[0].get();
  const std::array<const model::Instance*, 2> instances{checked.instances[0].get(), second};
  Summarizer summarizer(*checked.description, open, instances);
  Summary result = summarizer.run();
  if (!checked.instances[1]) {
    result.peak_bytes = planned_bytes(*instances[0], summarizer.outputs());
  }
  return result;
}

}  // namespace fovea
