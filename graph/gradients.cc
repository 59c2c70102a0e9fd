#include "fovea/graph/gradients.h"

#include <algorithm>
#include <optional>

#include "fovea/graph/passes.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/node_map.h"
#include "fovea/ops/op.h"
#include "fovea/ops/reduce.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/strided.h"

namespace fovea {

namespace {

Expr zeros(const TensorSpec& spec) {
  return broadcast_to(constant(spec.dtype, 0), {.shape = {spec.shape.begin(), spec.shape.end()}});
}

// A gradient that stands at positions [start, end) of an axis and is zero elsewhere.
struct Piece {
  Expr x;
  std::int64_t axis, start, end;
};

std::optional<Piece> piece_of(const Expr& x) {
  if (x.node().kind() != Node::Kind::op || x.node().op().type().name != Unslice::name) return {};
  const auto a = decode_attributes<Unslice>(x.node().op().attributes());
  if (a.step != 1) return {};
  const std::int64_t axis = a.axis < 0 ? a.axis + x.shape().rank() : a.axis;
  const SliceRange range = slice_range(a.name, x.shape()[axis], a.start, a.end, a.step);
  return Piece{x.node().inputs()[0], axis, range.start, range.start + range.count};
}

// A sum of gradients of slices that do not overlap, as they come where a value is split, is one
// concat: each element is written once.
Expr joined(const Expr& sum) {
  std::vector<Piece> pieces;
  for (Expr rest = sum; rest;) {
    const Node& node = rest.node();
    const bool adds = node.kind() == Node::Kind::op && node.op().type().name == "add";
    const std::optional<Piece> piece = piece_of(adds ? node.inputs()[1] : rest);
    if (!piece || (!pieces.empty() && piece->axis != pieces.front().axis)) return sum;
    pieces.push_back(*piece);
    rest = adds ? node.inputs()[0] : Expr();
  }
  if (pieces.size() < 2) return sum;
  std::ranges::sort(pieces, {}, &Piece::start);
  const std::int64_t axis = pieces.front().axis;
  std::vector<Expr> parts;
  std::int64_t end = 0;
  const auto fill = [&](std::int64_t start) {
    if (start > end) parts.push_back(zeros({sum.dtype(), sum.shape().with(axis, start - end)}));
  };
  for (const Piece& piece : pieces) {
    if (piece.start < end) return sum;
    fill(piece.start);
    parts.push_back(piece.x);
    end = piece.end;
  }
  fill(sum.shape()[axis]);
  return concat(std::move(parts), {.axis = axis});
}

class Reverse {
 public:
  Reverse(std::span<const Expr> outputs, std::span<const Expr> wrt,
          std::span<const Expr> cotangents);
  std::vector<Expr> run();

 private:
  void seed(const Expr& output, const Expr& cotangent);
  void mark_relevant();
  bool relevant(const Expr& x) const {
    return x && is_float(x.dtype()) && *relevant_.find(&x.node()) != 0;
  }
  void accumulate(const Expr& x, const Expr& d);
  void step(const Node* node, std::vector<Expr> d);
  std::vector<Expr> rule(const Node* node, std::span<const Expr> d) const;
  std::vector<Expr> rule_of_decomposition(const Node* node, std::span<const Expr> d) const;

  std::span<const Expr> outputs_, wrt_;
  std::vector<const Node*> order_;
  NodeMap<char> relevant_;  // whether some wrt is the node or before it
  NodeMap<std::vector<Expr>> cotangents_;
};

Reverse::Reverse(std::span<const Expr> outputs, std::span<const Expr> wrt,
                 std::span<const Expr> cotangents)
    : outputs_(outputs), wrt_(wrt), order_(topological_order(outputs)) {
  for (const Expr& x : wrt) {
    if (!is_float(x.dtype())) {
      fail("gradients", "wrt is {}; f32 or f64 is required", to_string(x.spec()));
    }
  }
  if (!cotangents.empty() && cotangents.size() != outputs.size()) {
    fail("gradients", "{} cotangents for {} outputs; one for each is required", cotangents.size(),
         outputs.size());
  }
  mark_relevant();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!cotangents.empty()) {
      if (cotangents[i]) seed(outputs[i], cotangents[i]);
    } else if (outputs[i].shape().numel() != 1) {
      fail("gradients",
           "an output of shape {} without a cotangent; exactly one element, or a cotangent, is "
           "required",
           outputs[i].shape());
    } else {
      seed(outputs[i],
           broadcast_to(constant(outputs[i].dtype(), 1),
                        {.shape = {outputs[i].shape().begin(), outputs[i].shape().end()}}));
    }
  }
}

void Reverse::seed(const Expr& output, const Expr& cotangent) {
  if (!is_float(output.dtype())) {
    fail("gradients", "an output is {}; f32 or f64 is required", to_string(output.spec()));
  }
  if (cotangent.spec() != output.spec()) {
    fail("gradients", "a cotangent {} for an output {}; shapes and dtypes must be equal",
         to_string(cotangent.spec()), to_string(output.spec()));
  }
  accumulate(output, cotangent);
}

void Reverse::mark_relevant() {
  NodeMap<char> is_wrt;
  for (const Expr& x : wrt_) is_wrt[&x.node()] = true;
  for (const Node* node : order_) {
    const bool stops = node->kind() == Node::Kind::op && node->op().type().stops_gradient;
    relevant_[node] =
        is_wrt.contains(node) ||
        (!stops && std::ranges::any_of(node->inputs(), [&](const Expr& x) { return relevant(x); }));
  }
}

// The only place where cotangents are added up.
void Reverse::accumulate(const Expr& x, const Expr& d) {
  std::vector<Expr>& sums = cotangents_[&x.node()];
  sums.resize(x.node().outputs().size());
  Expr& sum = sums[static_cast<std::size_t>(x.output())];
  sum = sum ? sum + d : d;
}

std::vector<Expr> Reverse::run() {
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
    const Node* node = *it;
    if (node->kind() != Node::Kind::op) continue;
    const std::vector<Expr>* found = cotangents_.find(node);
    if (found == nullptr) continue;
    if (node->op().type().stops_gradient) continue;
    if (std::ranges::none_of(node->inputs(), [&](const Expr& x) { return relevant(x); })) continue;
    step(node, *found);
  }
  std::vector<Expr> results;
  for (const Expr& x : wrt_) {
    const std::vector<Expr>* found = cotangents_.find(&x.node());
    Expr d;
    if (found != nullptr) d = (*found)[static_cast<std::size_t>(x.output())];
    const LocationScope scope(x.node().location());
    results.push_back(d ? joined(d) : zeros(x.spec()));
  }
  return results;
}

void Reverse::step(const Node* node, std::vector<Expr> d) {
  const LocationScope scope(node->location());
  for (Expr& sum : d) sum = joined(sum);
  const OpType& type = node->op().type();
  const std::vector<Expr> in_gradients = [&] {
    try {
      return rule(node, d);
    } catch (const Error& error) {
      throw error.at(node->location().text());
    }
  }();
  if (in_gradients.size() != node->inputs().size()) {
    throw Error(type.name, format("its gradient rule gives {} gradients for {} inputs",
                                  in_gradients.size(), node->inputs().size()))
        .at(node->location().text());
  }
  for (std::size_t i = 0; i < in_gradients.size(); ++i) {
    const Expr& x = node->inputs()[i];
    Expr dx = in_gradients[i];
    if (!dx || !relevant(x)) continue;
    if (type.broadcasts && broadcasts_to(x.shape(), dx.shape())) dx = detail::sum_to(dx, x.shape());
    if (dx.spec() != x.spec()) {
      throw Error(type.name, format("its gradient rule gives {} for input {}, which is {}",
                                    to_string(dx.spec()), i, to_string(x.spec())))
          .at(node->location().text());
    }
    accumulate(x, dx);
  }
}

std::vector<Expr> Reverse::rule(const Node* node, std::span<const Expr> d) const {
  const OpType& type = node->op().type();
  if (node->op().vjp_covers(d)) {
    std::vector<Expr> outputs;
    for (std::size_t o = 0; o < node->outputs().size(); ++o) {
      outputs.emplace_back(node->shared_from_this(), static_cast<std::int64_t>(o));
    }
    return node->op().vjp(node->inputs(), outputs, d);
  }
  if (type.has_decomposition) return rule_of_decomposition(node, d);
  throw Error(type.name, "it has no gradient; leave its inputs out of wrt");
}

// Traced on one fresh placeholder for each input, differentiated there, then substituted: at the
// real inputs it would be wrong when one input depends on another, as in f(x, x).
std::vector<Expr> Reverse::rule_of_decomposition(const Node* node, std::span<const Expr> d) const {
  std::vector<Expr> slots, values;
  const auto placeholder = [&](const Expr& x) {
    const Expr made = x ? input("", x.dtype(), x.shape()) : Expr();
    slots.push_back(made);
    values.push_back(x);
    return made;
  };
  std::vector<Expr> in, wrt, outputs, cotangents;
  for (const Expr& x : node->inputs()) {
    in.push_back(placeholder(x));
    if (relevant(x)) wrt.push_back(in.back());
  }
  const std::vector<Expr> all = node->op().decomposition(in);
  for (std::size_t o = 0; o < all.size(); ++o) {
    if (!d[o]) continue;
    outputs.push_back(all[o]);
    cotangents.push_back(placeholder(d[o]));
  }
  const std::vector<Expr> inner =
      substitute(Reverse(outputs, wrt, cotangents).run(), slots, values);
  std::vector<Expr> results;
  for (std::size_t i = 0, next = 0; i < in.size(); ++i) {
    results.push_back(relevant(node->inputs()[i]) ? inner[next++] : Expr());
  }
  return results;
}

}  // namespace

std::vector<Expr> gradients(std::span<const Expr> outputs, std::span<const Expr> wrt,
                            std::span<const Expr> cotangents) {
  // Before rules are applied, or training would never be fused. What `wrt` names stays as it is.
  std::vector<Expr> roots(outputs.begin(), outputs.end());
  roots.insert(roots.end(), wrt.begin(), wrt.end());
  roots = fuse_attention(roots);
  return Reverse(std::span(roots).first(outputs.size()), std::span(roots).last(wrt.size()),
                 cotangents)
      .run();
}

std::vector<Expr> gradients(const Expr& output, std::span<const Expr> wrt) {
  return gradients(std::span(&output, 1), wrt);
}

std::vector<Expr> gradients(const Expr& output, std::initializer_list<Expr> wrt) {
  return gradients(output, std::span(wrt.begin(), wrt.size()));
}

}  // namespace fovea
