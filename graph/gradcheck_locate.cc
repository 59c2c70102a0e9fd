#include "fovea/graph/gradcheck_locate.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "fovea/graph/passes.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr int kDeepest = 8;  // decompositions inside decompositions

// The values of all ops that depend on a wrt, with the operands and outputs that they have in use.
class NodeValues {
 public:
  explicit NodeValues(const Problem& problem)
      // As `gradients` sees the graph.
      : roots_(fuse_attention(problem.outputs)) {
    std::set<const Node*> varying;
    for (const Expr& x : problem.wrt) varying.insert(&x.node());
    std::vector<Expr> wanted;
    for (const Node* node : topological_order(roots_)) {
      if (node->kind() != Node::Kind::op) continue;
      const auto varies = [&](const Expr& x) { return x && varying.contains(&x.node()); };
      for (const Expr& x : node->inputs()) {
        if (x) used_[&x.node()].insert(x.output());
      }
      if (std::ranges::none_of(node->inputs(), varies)) continue;
      varying.insert(node);
      nodes_.push_back(node);
      for (const Expr& x : node->inputs()) {
        if (x) wanted.push_back(x);
      }
    }
    for (const Expr& y : roots_) used_[&y.node()].insert(y.output());
    const std::vector<Tensor> values = evaluate(wanted, problem.bindings);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      values_[{&wanted[i].node(), wanted[i].output()}] = values[i];
    }
  }

  const std::vector<const Node*>& nodes() const { return nodes_; }
  std::vector<Tensor> operands(const Node* node) const {
    std::vector<Tensor> all;
    for (const Expr& x : node->inputs()) {
      all.push_back(x ? values_.at({&x.node(), x.output()}).contiguous() : Tensor());
    }
    return all;
  }
  std::vector<std::int64_t> outputs(const Node* node) const {
    const auto& used = used_.at(node);
    return {used.begin(), used.end()};
  }

 private:
  std::vector<Expr> roots_;
  std::vector<const Node*> nodes_;
  std::map<std::pair<const Node*, std::int64_t>, Tensor> values_;
  std::unordered_map<const Node*, std::set<std::int64_t>> used_;
};

std::string slot_text(const OpType& type, std::size_t i) {
  const std::size_t last = type.inputs.size() - 1;
  const Slot& slot = type.inputs[std::min(i, last)];
  return slot.arity == Arity::variadic ? format("{}[{}]", slot.name, i - last)
                                       : std::string(slot.name);
}

bool all_of_f64(std::span<const Tensor> tensors, bool (*holds)(double)) {
  return std::ranges::all_of(tensors, [&](const Tensor& t) {
    return !t || t.dtype() != f64 || std::ranges::all_of(t.to_vector<double>(), holds);
  });
}

// Whether f64 results are those of f32 arithmetic: numbers of f32 and not just integers, from
// operands that are not.
bool computes_in_f32(const Op& op, std::span<const Tensor> values) {
  if (!op.type().has_forward && !op.type().elementwise) return false;
  const std::vector<Tensor> out = eval::apply(op, values);
  return !all_of_f64(values, is_f32_number) && all_of_f64(out, is_f32_number) &&
         !all_of_f64(out, [](double v) { return !std::isfinite(v) || v == std::floor(v); });
}

std::optional<Culprit> locate_in(const Problem& problem, const GradcheckOptions& options,
                                 int depth) {
  const NodeValues values(problem);
  for (const Node* node : values.nodes()) {
    const OpType& type = node->op().type();
    if (!type.has_vjp && !type.has_decomposition) continue;
    Culprit culprit{.op = std::string(type.name),
                    .location = node->location().text(),
                    .name = {},
                    .row = {},
                    .node = node->op_pointer(),
                    .inputs = values.operands(node),
                    .outputs = values.outputs(node)};
    try {
      std::vector<std::size_t> slots;
      const Problem alone = problem_of_op(culprit.node, culprit.inputs, culprit.outputs, slots);
      if (alone.wrt.empty() || alone.outputs.empty()) continue;
      Findings found = PreparedCheck(alone, options).run(engine_gradients, options, Deadline(1e9));
      const auto worst = std::ranges::find(found.rows, Verdict::fail, &GradientRow::verdict);
      if (worst == found.rows.end()) continue;
      culprit.row = *worst;
      const std::size_t k = static_cast<std::size_t>(worst - found.rows.begin());
      culprit.row.name = slot_text(type, slots[k]);
      culprit.row.suspicion =
          suspicion(*culprit.node, culprit.inputs, culprit.row, options.order == 1);
      if (!type.has_vjp && depth < kDeepest) {
        Problem inner = alone;
        inner.outputs.clear();
        std::vector<Expr> in = {alone.outputs[0].node().inputs().begin(),
                                alone.outputs[0].node().inputs().end()};
        for (const Expr& y : culprit.node->decomposition(in)) {
          if (y.dtype() == f64) inner.outputs.push_back(y);
        }
        if (auto deeper = locate_in(inner, options, depth + 1)) {
          deeper->op = format("{}, of which {} is made", deeper->op, culprit.op);
          deeper->location = culprit.location;
          return deeper;
        }
      }
    } catch (const Error& error) {
      culprit.row.verdict = Verdict::fail;
      culprit.row.note = error.what();
    }
    return culprit;
  }
  return {};
}

}  // namespace

Problem problem_of_op(const std::shared_ptr<const Op>& op, std::span<const Tensor> values,
                      std::span<const std::int64_t> outputs, std::vector<std::size_t>& slots) {
  Problem problem;
  std::vector<Expr> in;
  std::vector<Binding> others;
  for (std::size_t i = 0; i < values.size(); ++i) {
    in.push_back(values[i] ? input(slot_text(op->type(), i), values[i].dtype(), values[i].shape())
                           : Expr());
    if (!values[i]) continue;
    if (values[i].dtype() == f64) {
      problem.wrt.push_back(in.back());
      problem.bindings.emplace_back(in.back(), values[i]);
      slots.push_back(i);
    } else {
      others.emplace_back(in.back(), values[i]);
    }
  }
  problem.bindings.insert(problem.bindings.end(), others.begin(), others.end());
  const std::vector<Expr> all = apply(op, in, Location());
  for (std::int64_t o : outputs) {
    if (all[static_cast<std::size_t>(o)].dtype() == f64) {
      problem.outputs.push_back(all[static_cast<std::size_t>(o)]);
    }
  }
  return problem;
}

std::string suspicion(const Op& op, std::span<const Tensor> values, const GradientRow& row,
                      bool first_order) {
  if (row.verdict != Verdict::fail) return {};
  bool numeric_agrees = false, numeric_differs = false, forward_differs = false;
  for (const OracleFinding& f : row.findings) {
    numeric_agrees |= f.oracle == Oracle::numeric && f.agrees;
    numeric_differs |= f.oracle == Oracle::numeric && !f.agrees;
    forward_differs |= f.oracle == Oracle::forward && !f.agrees;
  }
  const Linear linear = op.type().linear;
  if (forward_differs && !numeric_differs && linear != Linear::no) {
    return format("forward mode, which follows from `linear = Linear::{}`, is wrong{}",
                  linear == Linear::jointly ? "jointly" : "each",
                  numeric_agrees ? ": is the op linear so?" : "");
  }
  if (first_order && numeric_differs && computes_in_f32(op, values)) {
    return "forward's f64 results are f32 numbers: values, not gradients, seem to be computed in "
           "f32";
  }
  return {};
}

std::optional<Culprit> locate(const Problem& problem, const GradcheckOptions& options) {
  GradcheckOptions quiet = options;
  quiet.progress = {};
  return locate_in(problem, quiet, 0);
}

}  // namespace fovea
