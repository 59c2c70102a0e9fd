#include "fovea/graph/passes.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>

#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr std::int64_t kLargestFolded = 1 << 16;  // elements of a result
constexpr std::int64_t kMostFolded = 1 << 22;     // of all that are made for one graph

bool runs(const OpType& type) { return type.has_forward || type.elementwise || type.has_view; }

std::optional<std::vector<Tensor>> constant_inputs(std::span<const Expr> inputs) {
  for (const Expr& x : inputs) {
    if (x && x.node().kind() != Node::Kind::constant) return {};
  }
  std::vector<Tensor> values;
  for (const Expr& x : inputs) values.push_back(x ? x.node().value() : Tensor());
  return values;
}

// Equal for nodes that merge_equal takes for one, different for almost all others.
std::uint64_t hash_of(const Node& node, std::span<const Expr> inputs) {
  std::uint64_t hash = 0;
  const auto mix = [&](std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  };
  if (node.kind() == Node::Kind::constant) {
    const Tensor& value = node.value();
    std::uint64_t bits = 0;
    std::memcpy(&bits, value.raw(), size_of(value.dtype()));
    mix(bits);
    return hash;
  }
  const OpType* type = &node.op().type();
  mix(reinterpret_cast<std::uintptr_t>(type));
  for (const Expr& x : inputs) {
    mix(x ? reinterpret_cast<std::uintptr_t>(&x.node()) : 0);
    mix(static_cast<std::uint64_t>(x.output()));
  }
  if (type->attributes.empty()) return hash;
  for (const auto& [name, value] : node.op().attributes()) {
    mix(std::hash<std::string>()(to_string(value)));
  }
  return hash;
}

bool equal_nodes(const Node& a, std::span<const Expr> a_inputs, const Node& b,
                 std::span<const Expr> b_inputs) {
  if (a.kind() != b.kind()) return false;
  if (a.kind() == Node::Kind::constant) return equal_bits(a.value(), b.value());
  // Types of one name may come from several registries.
  if (&a.op().type() != &b.op().type()) return false;
  if (!std::ranges::equal(a_inputs, b_inputs,
                          [](const Expr& x, const Expr& y) { return same(x, y); })) {
    return false;
  }
  if (a.op().type().attributes.empty()) return true;
  const AttributeMap x = a.op().attributes(), y = b.op().attributes();
  return std::ranges::equal(x, y, [](const auto& p, const auto& q) {
    return p.first == q.first && to_string(p.second) == to_string(q.second);
  });
}

std::vector<Expr> outputs_of(const std::shared_ptr<const Node>& node) {
  std::vector<Expr> outputs;
  for (std::size_t o = 0; o < node->outputs().size(); ++o) {
    outputs.emplace_back(node, static_cast<std::int64_t>(o));
  }
  return outputs;
}

}  // namespace

std::vector<Expr> expand_decompositions(std::span<const Expr> exprs) {
  std::vector<Expr> current(exprs.begin(), exprs.end());
  const auto expands = [](const Node* node) {
    return node->kind() == Node::Kind::op && !runs(node->op().type());
  };
  while (std::ranges::any_of(topological_order(current), expands)) {
    current = rewrite(current, [&](const RewriteStep& step) -> std::vector<Expr> {
      if (!expands(step.node.get())) return {};
      const LocationScope scope(step.node->location());
      return step.node->op().decomposition(step.inputs);
    });
  }
  return current;
}

std::vector<Expr> fold_constants(std::span<const Expr> exprs) {
  std::int64_t folded = 0;
  return rewrite(exprs, [&folded](const RewriteStep& step) -> std::vector<Expr> {
    const Node& node = *step.node;
    if (node.kind() != Node::Kind::op) return {};
    std::int64_t elements = 0;
    for (const TensorSpec& spec : node.outputs()) {
      if (spec.shape.numel() > kLargestFolded) return {};
      elements += spec.shape.numel();
    }
    const std::optional<std::vector<Tensor>> values = constant_inputs(step.inputs);
    if (!values) return {};
    const LocationScope scope(node.location());
    if (node.op().type().has_view) {
      if (const Tensor seen = node.op().view(values->front())) return {constant(seen)};
    }
    if (folded + elements > kMostFolded) return {};
    folded += elements;
    std::vector<Expr> results;
    try {
      for (Tensor& value : eval::apply(node.op(), *values)) {
        results.push_back(constant(std::move(value)));
      }
    } catch (const Error&) {
      return {};  // refused values are an error of the run, with its place
    }
    return results;
  });
}

std::vector<Expr> merge_equal(std::span<const Expr> exprs) {
  std::unordered_map<std::uint64_t, std::shared_ptr<const Node>> known;  // the first of each kind
  std::vector<Expr> inputs;
  return rewrite(exprs, [&](const RewriteStep& step) -> std::vector<Expr> {
    const Node& node = *step.node;
    if (node.kind() == Node::Kind::input) return {};
    if (node.kind() == Node::Kind::constant && node.value().numel() != 1) return {};
    for (std::uint64_t hash = hash_of(node, step.inputs);; ++hash) {
      const auto [found, is_new] = known.try_emplace(hash, step.node);
      if (is_new) return {};
      const Node& first = *found->second;
      inputs.clear();
      for (const Expr& x : first.inputs()) inputs.push_back(step.now(x));
      if (!equal_nodes(node, step.inputs, first, inputs)) continue;
      std::vector<Expr> outputs = outputs_of(found->second);
      for (Expr& x : outputs) x = step.now(x);
      return outputs;
    }
  });
}

}  // namespace fovea
