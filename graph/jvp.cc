#include "fovea/graph/jvp.h"

#include <algorithm>
#include <unordered_map>

#include "fovea/graph/rewrite.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

Expr zeros(const TensorSpec& spec) {
  return broadcast_to(constant(spec.dtype, 0), {.shape = {spec.shape.begin(), spec.shape.end()}});
}

Expr sum_of(const Expr& a, const Expr& b) { return a && b ? a + b : a ? a : b; }

class Forward {
 public:
  Forward(std::span<const Expr> outputs, std::span<const Expr> wrt, std::span<const Expr> tangents);
  std::vector<Expr> run();

 private:
  void add(const Expr& x, const Expr& tangent);
  Expr tangent_of(const Expr& x) const;
  std::vector<Expr> rule(const Node* node, std::span<const Expr> tangents) const;

  std::span<const Expr> outputs_;
  std::vector<const Node*> order_;
  std::unordered_map<const Node*, std::vector<Expr>> tangents_;
  std::unordered_map<const Node*, std::shared_ptr<const Node>> handles_;
};

Forward::Forward(std::span<const Expr> outputs, std::span<const Expr> wrt,
                 std::span<const Expr> tangents)
    : outputs_(outputs), order_(topological_order(outputs)) {
  if (tangents.size() != wrt.size()) {
    fail("jvp", "{} tangents for {} expressions; one for each is required", tangents.size(),
         wrt.size());
  }
  for (std::size_t k = 0; k < wrt.size(); ++k) {
    if (!is_float(wrt[k].dtype())) {
      fail("jvp", "wrt is {}; f32 or f64 is required", to_string(wrt[k].spec()));
    }
    if (tangents[k] && tangents[k].spec() != wrt[k].spec()) {
      fail("jvp", "a tangent {} for {}; shapes and dtypes must be equal",
           to_string(tangents[k].spec()), to_string(wrt[k].spec()));
    }
    add(wrt[k], tangents[k]);
  }
  for (const Expr& x : outputs) handles_[&x.node()] = x.node_pointer();
  for (const Node* node : order_) {
    for (const Expr& x : node->inputs()) {
      if (x) handles_[&x.node()] = x.node_pointer();
    }
  }
}

void Forward::add(const Expr& x, const Expr& tangent) {
  std::vector<Expr>& all = tangents_[&x.node()];
  all.resize(x.node().outputs().size());
  Expr& sum = all[static_cast<std::size_t>(x.output())];
  sum = sum_of(sum, tangent);
}

Expr Forward::tangent_of(const Expr& x) const {
  if (!x) return {};
  const auto found = tangents_.find(&x.node());
  return found == tangents_.end() ? Expr() : found->second[static_cast<std::size_t>(x.output())];
}

// y(t) for ops linear in all float inputs together. Without a tangent an input moves by 0.
std::vector<Expr> push_jointly(const Node* node, std::span<const Expr> tangents) {
  std::vector<Expr> in(node->inputs().begin(), node->inputs().end());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] && is_float(in[i].dtype())) in[i] = tangents[i] ? tangents[i] : zeros(in[i].spec());
  }
  return apply(node->op_pointer(), std::move(in), node->location());
}

// Σ_i y(…, t_i, …) for ops linear in each float input while the others are fixed.
std::vector<Expr> push_each(const Node* node, std::span<const Expr> tangents) {
  std::vector<Expr> sums(node->outputs().size());
  for (std::size_t i = 0; i < tangents.size(); ++i) {
    if (!tangents[i]) continue;
    std::vector<Expr> in(node->inputs().begin(), node->inputs().end());
    in[i] = tangents[i];
    const std::vector<Expr> terms = apply(node->op_pointer(), std::move(in), node->location());
    for (std::size_t o = 0; o < sums.size(); ++o) sums[o] = sum_of(sums[o], terms[o]);
  }
  return sums;
}

// Traced and differentiated on fresh placeholders, then substituted: an input may depend on
// another.
std::vector<Expr> push_decomposition(const Node* node, std::span<const Expr> tangents) {
  std::vector<Expr> slots, values;
  const auto placeholder = [&](const Expr& x) {
    if (!x) return Expr();
    slots.push_back(input("", x.dtype(), x.shape()));
    values.push_back(x);
    return slots.back();
  };
  std::vector<Expr> in, wrt, directions;
  for (const Expr& x : node->inputs()) in.push_back(placeholder(x));
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!tangents[i]) continue;
    wrt.push_back(in[i]);
    directions.push_back(placeholder(tangents[i]));
  }
  std::vector<Expr> results = Forward(node->op().decomposition(in), wrt, directions).run();
  std::vector<Expr> reached;
  for (const Expr& t : results) {
    if (t) reached.push_back(t);
  }
  reached = substitute(reached, slots, values);
  for (std::size_t o = 0, next = 0; o < results.size(); ++o) {
    if (results[o]) results[o] = reached[next++];
  }
  return results;
}

std::vector<Expr> Forward::rule(const Node* node, std::span<const Expr> tangents) const {
  const OpType& type = node->op().type();
  if (type.linear == Linear::jointly) return push_jointly(node, tangents);
  if (type.linear == Linear::each) return push_each(node, tangents);
  if (type.has_jvp) {
    std::vector<Expr> out;
    for (std::size_t o = 0; o < node->outputs().size(); ++o) {
      out.emplace_back(handles_.at(node), static_cast<std::int64_t>(o));
    }
    return node->op().jvp(node->inputs(), out, tangents);
  }
  if (type.has_decomposition) return push_decomposition(node, tangents);
  throw Error(type.name,
              "it has no forward mode; `linear`, `jvp` or a decomposition is required of the op");
}

std::vector<Expr> Forward::run() {
  for (const Node* node : order_) {
    if (node->kind() != Node::Kind::op || node->op().type().stops_gradient) continue;
    if (std::ranges::none_of(node->outputs(),
                             [](const TensorSpec& y) { return is_float(y.dtype); })) {
      continue;
    }
    std::vector<Expr> in;
    for (const Expr& x : node->inputs()) in.push_back(tangent_of(x));
    if (std::ranges::none_of(in, [](const Expr& t) { return static_cast<bool>(t); })) continue;
    const LocationScope scope(node->location());
    try {
      const std::vector<Expr> out = rule(node, in);
      for (std::size_t o = 0; o < out.size(); ++o) {
        const Expr y(handles_.at(node), static_cast<std::int64_t>(o));
        if (!out[o] || !is_float(y.dtype())) continue;
        if (out[o].spec() != y.spec()) {
          fail(node->op().type().name, "its forward mode gives {} for output {}, which is {}",
               to_string(out[o].spec()), o, to_string(y.spec()));
        }
        add(y, out[o]);
      }
    } catch (const Error& error) {
      throw error.at(node->location().text());
    }
  }
  std::vector<Expr> results;
  for (const Expr& y : outputs_) results.push_back(tangent_of(y));
  return results;
}

}  // namespace

bool has_forward_mode(const OpType& type) {
  return type.linear != Linear::no || type.has_jvp || type.has_decomposition;
}

std::vector<Expr> jvp(std::span<const Expr> outputs, std::span<const Expr> wrt,
                      std::span<const Expr> tangents) {
  return Forward(outputs, wrt, tangents).run();
}

}  // namespace fovea
