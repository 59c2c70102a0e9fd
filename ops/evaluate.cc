#include "fovea/ops/evaluate.h"

#include <unordered_map>

#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

// Values of nodes while they are needed.
class Values {
 public:
  explicit Values(std::span<const Expr> outputs) : order_(topological_order(outputs)) {
    for (const Node* node : order_) {
      std::vector<bool>& wanted = wanted_[node];
      wanted.resize(node->outputs().size());
      for (const Expr& x : node->inputs()) use(x);
    }
    for (const Expr& x : outputs) use(x);
  }

  std::span<const Node* const> order() const { return order_; }
  const std::vector<bool>& wanted(const Node* node) const { return wanted_.at(node); }
  void set(const Node* node, std::vector<Tensor> values) { values_[node] = std::move(values); }
  bool known(const Node* node) const { return values_.contains(node); }

  Tensor get(const Expr& x) const {
    if (!x) return {};
    return values_.at(&x.node())[static_cast<std::size_t>(x.output())];
  }

  // Forgets values after their last use.
  void release(const Expr& x) {
    if (x && --uses_[&x.node()] == 0) values_.erase(&x.node());
  }

 private:
  void use(const Expr& x) {
    if (!x) return;
    wanted_[&x.node()][static_cast<std::size_t>(x.output())] = true;
    ++uses_[&x.node()];
  }

  std::vector<const Node*> order_;
  std::unordered_map<const Node*, std::vector<bool>> wanted_;
  std::unordered_map<const Node*, std::size_t> uses_;
  std::unordered_map<const Node*, std::vector<Tensor>> values_;
};

}  // namespace

std::vector<Tensor> evaluate(std::span<const Expr> outputs, std::span<const Binding> bindings) {
  Values values(outputs);
  for (const auto& [expr, tensor] : bindings) {
    if (!tensor || spec_of(tensor) != expr.spec()) {
      fail("evaluate", "{} for {}", tensor ? to_string(spec_of(tensor)) : "a null tensor",
           to_string(expr.spec()));
    }
    values.set(&expr.node(), {tensor});
  }
  for (const Node* node : values.order()) {
    if (values.known(node)) continue;
    if (node->kind() == Node::Kind::input) {
      throw Error("evaluate", format("input {} has no value; bind one", quoted(node->name())))
          .at(node->location().text());
    }
    if (node->kind() == Node::Kind::constant) {
      values.set(node, {node->value()});
      continue;
    }
    std::vector<Tensor> in;
    for (const Expr& x : node->inputs()) in.push_back(values.get(x));
    try {
      values.set(node, eval::apply(node->op(), in, values.wanted(node)));
    } catch (const Error& error) {
      throw error.at(node->location().text());
    }
    for (const Expr& x : node->inputs()) values.release(x);
  }
  std::vector<Tensor> results;
  for (const Expr& x : outputs) results.push_back(values.get(x));
  return results;
}

}  // namespace fovea
