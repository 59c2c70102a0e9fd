#include "fovea/graph/passes.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>

#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr std::int64_t kLargestFolded = 1 << 16;  // elements

bool runs(const OpType& type) { return type.has_forward || type.elementwise || type.has_view; }

std::vector<Tensor> constant_inputs(std::span<const Expr> inputs) {
  std::vector<Tensor> values;
  for (const Expr& x : inputs) {
    if (x && x.node().kind() != Node::Kind::constant) return {};
    values.push_back(x ? x.node().value() : Tensor());
  }
  return values;
}

void append(std::string& key, const void* bytes, std::size_t size) {
  key.append(static_cast<const char*>(bytes), size);
}

// Bytes that are equal for equal nodes; none for nodes that are not merged.
std::string key_of(const Node& node, std::span<const Expr> inputs) {
  std::string key;
  if (node.kind() == Node::Kind::input) return key;
  if (node.kind() == Node::Kind::constant) {
    const Tensor& value = node.value();
    if (value.numel() != 1) return key;
    key = "=" + to_string(spec_of(value));
    append(key, value.raw(), size_of(value.dtype()));
    return key;
  }
  const OpType* type = &node.op().type();  // types of one name may come from several registries
  append(key, &type, sizeof type);
  for (const Expr& x : inputs) {
    const Node* operand = x ? &x.node() : nullptr;
    const std::int64_t output = x.output();
    append(key, &operand, sizeof operand);
    append(key, &output, sizeof output);
  }
  if (!type->attributes.empty()) {
    for (const auto& [name, value] : node.op().attributes())
      key += name + "=" + to_string(value) + " ";
  }
  return key;
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
  return rewrite(exprs, [](const RewriteStep& step) -> std::vector<Expr> {
    const Node& node = *step.node;
    if (node.kind() != Node::Kind::op || step.inputs.empty()) return {};
    for (const TensorSpec& spec : node.outputs()) {
      if (spec.shape.numel() > kLargestFolded) return {};
    }
    const std::vector<Tensor> values = constant_inputs(step.inputs);
    if (values.empty()) return {};
    const LocationScope scope(node.location());
    std::vector<Expr> results;
    try {
      for (Tensor& value : eval::apply(node.op(), values)) {
        results.push_back(constant(std::move(value)));
      }
    } catch (const Error&) {
      return {};  // refused values are an error of the run, with its place
    }
    return results;
  });
}

std::vector<Expr> merge_equal(std::span<const Expr> exprs) {
  std::unordered_map<std::string, std::vector<Expr>> known;
  return rewrite(exprs, [&](const RewriteStep& step) -> std::vector<Expr> {
    const Node& node = *step.node;
    std::string key = key_of(node, step.inputs);
    if (key.empty()) return {};
    const auto [found, is_new] = known.try_emplace(std::move(key));
    if (!is_new) return found->second;
    const bool kept = std::ranges::equal(step.inputs, node.inputs(),
                                         [](const Expr& a, const Expr& b) { return same(a, b); });
    const LocationScope scope(node.location());
    found->second =
        kept ? outputs_of(step.node)
             : apply(node.op_pointer(), {step.inputs.begin(), step.inputs.end()}, node.location());
    return found->second;
  });
}

}  // namespace fovea
