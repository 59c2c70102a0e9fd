#include "mutations.h"

#include <algorithm>
#include <optional>

#include "fovea/graph/gradient_rule.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"

namespace fovea::mutation {

namespace {

using Gradients = std::vector<Expr>;

// Damages the gradient of the slot alone.
template <class F>
Mutation of_gradient(std::string name, const F& f) {
  return {std::move(name), [f](const Call& call, std::size_t slot, Gradients dx) {
            if (dx[slot]) dx[slot] = f(call, slot, dx[slot]);
            return dx;
          }};
}

Mutation factor(std::string name, double by) {
  return of_gradient(std::move(name),
                     [by](const Call&, std::size_t, const Expr& g) { return by * g; });
}

// Gradient `g` with factors(i) on its element of index i along `axis`, or row-major if axis is
// nothing.
Expr with_factors(const Expr& g, std::optional<std::int64_t> axis,
                  const std::function<double(std::int64_t)>& factors) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(g.rank()), 1);
  if (axis) {
    shape[static_cast<std::size_t>(*axis)] = g.shape()[*axis];
  } else {
    for (std::int64_t a = 0; a < g.rank(); ++a) shape[static_cast<std::size_t>(a)] = g.shape()[a];
  }
  const Shape extents{std::span<const std::int64_t>(shape)};
  std::vector<double> values;
  for (std::int64_t i = 0; i < extents.numel(); ++i) values.push_back(factors(i));
  return g * constant(Tensor::from(values, extents).astype(g.dtype()));
}

Expr last_row_wrong(const Call&, std::size_t, const Expr& g) {
  if (g.rank() == 0) return g;
  const std::int64_t axis = std::max<std::int64_t>(0, g.rank() - 2), last = g.shape()[axis] - 1;
  return with_factors(g, axis, [last](std::int64_t i) { return i == last ? 1.001 : 1; });
}

// 16 f32 or 8 f64 are a vector; f64 is what is checked, so two vectors.
Expr wrong_beyond_a_vector(const Call&, std::size_t, const Expr& g) {
  return with_factors(g, {}, [](std::int64_t i) { return i >= 16 ? 1.001 : 1; });
}

Expr first_element_wrong(const Call&, std::size_t, const Expr& g) {
  return with_factors(g, {}, [](std::int64_t i) { return i == 0 ? 1.001 : 1; });
}

Expr transposed(const Call&, std::size_t, const Expr& g) {
  const bool square = g.rank() >= 2 && g.shape()[-1] == g.shape()[-2];
  return square ? swap_last_axes(g) : g;
}

// Elements in each other's places along the last axis.
Expr reversed(const Call&, std::size_t, const Expr& g) {
  return g.rank() == 0 ? g : slice(g, {.axis = -1, .step = -1});
}

// Grouped heads: inputs of rank 3 and more whose extents before the last two differ.
Expr wrong_for_grouped_heads(const Call& call, std::size_t, const Expr& g) {
  if (call.op.type().name.substr(0, 9) != "attention") return g;
  const Expr &q = call.in[0], &k = call.in[1];
  return q.rank() == 4 && q.shape()[1] != k.shape()[1] ? 1.001 * g : g;
}

Expr spread_to(const Expr& x, const Expr& y) {
  const auto extents = y.shape().extents();
  return broadcast_to(x, {.shape = {extents.begin(), extents.end()}});
}

Expr not_reduced(const Call& call, std::size_t, const Expr& g) {
  const Expr& y = call.out[0];
  const bool larger = broadcasts_to(g.shape(), y.shape()) && !(g.shape() == y.shape());
  return larger && !call.op.type().broadcasts ? spread_to(g, y) : g;
}

// The mean over what an input is broadcast along, in place of the sum.
Expr mean_of_broadcast(const Call& call, std::size_t slot, const Expr& g) {
  const Expr &x = call.in[slot], &y = call.out[0];
  if (!call.op.type().broadcasts || x.shape().numel() == 0 || y.shape().numel() == 0) return g;
  return static_cast<double>(x.shape().numel()) / static_cast<double>(y.shape().numel()) * g;
}

// ---- What the rule is made of: nodes between the inputs, outputs and cotangents and the gradient.

std::vector<Expr> nodes_of_rule(const Call& call, const Expr& g) {
  std::vector<Expr> nodes;
  for (const Node* node : topological_order(std::span(&g, 1))) {
    if (node->kind() != Node::Kind::op || node == &call.out[0].node()) continue;
    if (node->outputs().size() == 1) nodes.emplace_back(node->shared_from_this(), 0);
  }
  return nodes;
}

// The gradient with the n-th node for which `replace` has something put in its place.
template <class F>
Mutation of_node(std::string name, int n, const F& replace) {
  return of_gradient(std::move(name), [n, replace](const Call& call, std::size_t, const Expr& g) {
    int seen = 0;
    for (const Expr& node : nodes_of_rule(call, g)) {
      const Expr other = replace(node);
      if (!other || other.spec() != node.spec() || ++seen < n) continue;
      return substitute(std::span(&g, 1), std::span(&node, 1), std::span(&other, 1))[0];
    }
    return g;
  });
}

bool is(const Expr& x, std::string_view name) { return x.node().op().type().name == name; }

// One side of a sum, the other left out.
Expr one_term(const Expr& node) {
  if (!is(node, "add") && !is(node, "sub")) return {};
  const Expr term = node.node().inputs()[0];
  return spread_to(term, node);
}

Expr mean_for_sum(const Expr& node) {
  if (!is(node, "sum")) return {};
  const Expr& x = node.node().inputs()[0];
  if (node.shape().numel() == 0 || x.shape().numel() == node.shape().numel()) return {};
  return static_cast<double>(node.shape().numel()) / static_cast<double>(x.shape().numel()) * node;
}

std::int64_t largest_rank(std::span<const Expr> in) {
  std::int64_t rank = 0;
  for (const Expr& x : in) rank = std::max(rank, x ? x.rank() : 0);
  return rank;
}

// `op` with another axis than its own, for which `accept` makes something of it.
template <class F>
Expr with_other_axis(const Op& op, std::int64_t rank, const F& accept) {
  for (const auto& [name, value] : op.attributes()) {
    if (name != "axis" && name != "axes") continue;
    const bool is_list = std::holds_alternative<AttributeValue::List>(value.value);
    const auto entry = [&](std::int64_t axis) {
      const AttributeValue single{Extent(axis)};
      return is_list ? AttributeValue{AttributeValue::List{single}} : single;
    };
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      if (value == entry(axis) || value == entry(axis - rank)) continue;
      AttributeMap attributes = op.attributes();
      for (auto& [key, held] : attributes) {
        if (key == name) held = entry(axis);
      }
      try {
        if (const Expr made = accept(*op.type().make(attributes))) return made;
      } catch (const Error&) {  // not for these shapes
      }
    }
  }
  return {};
}

// The rule of the same op along another axis.
Gradients wrong_axis(const Call& call, std::size_t slot, Gradients dx) {
  const Expr other = with_other_axis(call.op, largest_rank(call.in), [&](const Op& op) {
    const Expr g = own_gradient(op, call.in, call.out, call.d)[slot];
    return g && g.spec() == dx[slot].spec() ? g : Expr();
  });
  if (other) dx[slot] = other;
  return dx;
}

Expr wrong_axis_inside(const Expr& node) {
  const auto in = node.node().inputs();
  return with_other_axis(node.node().op(), largest_rank(in), [&](const Op& op) {
    const auto same_op = op.type().make(op.attributes());
    const Expr other = apply(same_op, {in.begin(), in.end()}, Location())[0];
    return other.spec() == node.spec() ? other : Expr();
  });
}

// ---- Rules that are given something else than they should be.

Mutation of_operands(std::string name, DType dtype, double value) {
  return {std::move(name), [dtype, value](const Call& call, std::size_t slot, Gradients dx) {
            std::vector<Expr> in(call.in.begin(), call.in.end());
            bool changed = false;
            for (Expr& x : in) {
              if (!x || x.dtype() != dtype) continue;
              x = constant(Tensor::full(dtype, x.shape(), value));
              changed = true;
            }
            if (changed) dx[slot] = own_gradient(call.op, in, call.out, call.d)[slot];
            return dx;
          }};
}

Gradients ignores_cotangent(const Call& call, std::size_t slot, Gradients dx) {
  std::vector<Expr> ones;
  for (const Expr& d : call.d) {
    ones.push_back(d ? constant(Tensor::full(d.dtype(), d.shape(), 1)) : Expr());
  }
  dx[slot] = own_gradient(call.op, call.in, call.out, ones)[slot];
  return dx;
}

Gradients swapped(const Call&, std::size_t slot, Gradients dx) {
  for (std::size_t other = slot + 1; other < dx.size(); ++other) {
    if (!dx[slot] || !dx[other] || dx[slot].spec() != dx[other].spec()) continue;
    std::swap(dx[slot], dx[other]);
    break;
  }
  return dx;
}

// Two slots with one value, of which the rule serves only one.
Gradients dropped_fan_out(const Call& call, std::size_t slot, Gradients dx) {
  for (std::size_t other = 0; other < dx.size(); ++other) {
    if (other != slot && call.in[other] && same(call.in[slot], call.in[other])) dx[slot] = Expr();
  }
  return dx;
}

Mutation forgets_attribute(const AttributeInfo& info) {
  return {format("forgets {}", info.name),
          [name = std::string(info.name)](const Call& call, std::size_t slot, Gradients dx) {
            AttributeMap others = call.op.attributes();
            if (std::erase_if(others, [&](const auto& a) { return a.first == name; }) == 0)
              return dx;
            try {
              const auto op = call.op.type().make(others);
              const Expr g = own_gradient(*op, call.in, call.out, call.d)[slot];
              if (!g || g.spec() == dx[slot].spec()) dx[slot] = g;
            } catch (const Error&) {  // it cannot do without
            }
            return dx;
          }};
}

std::vector<Mutation> common_mutations() {
  std::vector<Mutation> all{
      {"zero",
       [](const Call&, std::size_t slot, Gradients dx) {
         dx[slot] = Expr();
         return dx;
       }},
      factor("sign", -1),
      factor("factor 1.001", 1.001),
      factor("factor 0.999", 0.999),
      factor("factor 1 + 3e-6", 1 + 3e-6),
      of_gradient("transposed", transposed),
      of_gradient("reversed", reversed),
      of_gradient("wrong only in the first element", first_element_wrong),
      of_gradient("wrong only in the last row", last_row_wrong),
      of_gradient("wrong only beyond 16 elements", wrong_beyond_a_vector),
      of_gradient("wrong only for grouped heads", wrong_for_grouped_heads),
      of_gradient("not reduced", not_reduced),
      of_gradient("mean of what is broadcast", mean_of_broadcast),
      of_operands("stale mask", boolean, 1),
      of_operands("stale integers", i64, 0),
      {"ignores the cotangent", ignores_cotangent},
      {"swapped with another input", swapped},
      {"wrong axis", wrong_axis},
      of_node("wrong axis inside", 1, wrong_axis_inside),
      {"dropped fan-out", dropped_fan_out, true},
  };
  for (int n = 1; n <= 3; ++n) {
    all.push_back(of_node(format("missing term {}", n), n, one_term));
    all.push_back(of_node(format("mean for sum {}", n), n, mean_for_sum));
  }
  return all;
}

}  // namespace

std::string Mutant::text() const {
  return format("{}.{}: {}", op->name, op->inputs[slot].name, mutation.name);
}

std::vector<Mutant> mutants(const Registry& registry) {
  const std::vector<Mutation> common = common_mutations();
  std::vector<Mutant> all;
  for (const OpType* type : registry.types()) {
    if (!type->has_vjp && !type->has_decomposition) continue;
    const std::vector<AnySample> samples = type->samples();
    for (std::size_t slot = 0; slot < type->inputs.size(); ++slot) {
      const bool is_float = std::ranges::any_of(samples, [&](const AnySample& sample) {
        return slot < sample.in.size() && sample.in[slot] && fovea::is_float(sample.in[slot].dtype);
      });
      if (!is_float) continue;
      for (const Mutation& mutation : common) all.push_back({type, slot, mutation});
      for (const AttributeInfo& info : type->attributes) {
        all.push_back({type, slot, forgets_attribute(info)});
      }
    }
  }
  return all;
}

}  // namespace fovea::mutation
