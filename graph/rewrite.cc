#include "fovea/graph/rewrite.h"

#include <algorithm>

#include "fovea/ops/node_map.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

std::vector<Expr> rewrite(std::span<const Expr> exprs,
                          const std::function<std::vector<Expr>(const RewriteStep&)>& make) {
  // New values of the outputs of each node that is not kept.
  NodeMap<std::vector<Expr>> changed;
  const std::function<Expr(const Expr&)> value = [&](const Expr& x) {
    if (!x) return x;
    const std::vector<Expr>* outputs = changed.find(&x.node());
    return outputs == nullptr ? x : (*outputs)[static_cast<std::size_t>(x.output())];
  };
  std::vector<Expr> inputs;
  for (const Node* node : topological_order(exprs)) {
    inputs.clear();
    bool differs = false;
    for (const Expr& x : node->inputs()) {
      inputs.push_back(value(x));
      differs |= x && !same(inputs.back(), x);
    }
    std::vector<Expr> outputs = make({node->shared_from_this(), inputs, value});
    if (outputs.empty() && differs) {
      const LocationScope scope(node->location());
      outputs = apply(node->op_pointer(), inputs, node->location());
    }
    if (!outputs.empty()) changed[node] = std::move(outputs);
  }
  std::vector<Expr> results;
  results.reserve(exprs.size());
  for (const Expr& x : exprs) results.push_back(value(x));
  return results;
}

std::vector<Expr> substitute(std::span<const Expr> exprs, std::span<const Expr> from,
                             std::span<const Expr> to) {
  NodeMap<std::vector<Expr>> replaced;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!from[i]) continue;
    if (to[i].spec() != from[i].spec()) {
      fail("substitute", "{} for {}; shapes and dtypes must be equal", to_string(to[i].spec()),
           to_string(from[i].spec()));
    }
    std::vector<Expr>& outputs = replaced[&from[i].node()];
    for (std::size_t o = outputs.size(); o < from[i].node().outputs().size(); ++o) {
      outputs.emplace_back(from[i].node_pointer(), static_cast<std::int64_t>(o));
    }
    outputs[static_cast<std::size_t>(from[i].output())] = to[i];
  }
  return rewrite(exprs, [&](const RewriteStep& step) {
    const std::vector<Expr>* outputs = replaced.find(step.node.get());
    return outputs == nullptr ? std::vector<Expr>() : *outputs;
  });
}

namespace {

// The op with every dtype attribute that is a float type changed to `dtype`.
std::shared_ptr<const Op> with_dtype(const std::shared_ptr<const Op>& op, DType dtype) {
  const auto kind = [](const AttributeInfo& info) { return info.type.kind; };
  if (std::ranges::count(op->type().attributes, AttributeKind::dtype, kind) == 0) return op;
  AttributeMap attributes = op->attributes();
  for (auto& [name, value] : attributes) {
    if (DType* held = std::get_if<DType>(&value.value); held && is_float(*held)) *held = dtype;
  }
  return op->type().make(attributes);
}

}  // namespace

std::vector<Expr> as_dtype(std::span<const Expr> exprs, DType dtype,
                           std::vector<std::pair<Expr, Expr>>* inputs) {
  if (!is_float(dtype)) fail("as_dtype", "{}; f32 or f64 is required", dtype);
  return rewrite(exprs, [&](const RewriteStep& step) -> std::vector<Expr> {
    const Node& node = *step.node;
    const LocationScope scope(node.location());
    const TensorSpec& spec = node.outputs()[0];
    const bool convert = is_float(spec.dtype) && spec.dtype != dtype;
    switch (node.kind()) {
      case Node::Kind::input: {
        const Expr made = convert ? input(node.name(), dtype, spec.shape) : Expr(step.node);
        if (inputs) inputs->emplace_back(Expr(step.node), made);
        return {made};
      }
      case Node::Kind::constant:
        if (!convert) return {};
        return {constant(node.value().astype(dtype))};
      case Node::Kind::op:
        break;
    }
    return apply(with_dtype(node.op_pointer(), dtype), {step.inputs.begin(), step.inputs.end()},
                 node.location());
  });
}

}  // namespace fovea
