#include <algorithm>
#include <cmath>
#include <optional>

#include "fovea/graph/passes.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/node_map.h"
#include "fovea/ops/op.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

template <class A>
bool is(const Expr& x) {
  return x && x.node().kind() == Node::Kind::op && &x.node().op().type() == &op_type<A>();
}

template <class T>
T attribute(const Expr& x, std::string_view name) {
  for (const auto& [key, value] : x.node().op().attributes()) {
    if (key == name) return AttributeCodec<T>::decode(value);
  }
  return T{};
}

// The value of a constant scalar.
std::optional<double> number(const Expr& x) {
  if (!x || x.node().kind() != Node::Kind::constant || x.shape().numel() != 1) return {};
  return x.node().value().item();
}

// Whether x is y with its last two axes exchanged, and y.
Expr untransposed(const Expr& x) {
  if (!is<Transpose>(x)) return {};
  const Expr y = x.node().inputs()[0];
  const auto perm = attribute<std::vector<std::int64_t>>(x, "perm");
  const std::int64_t rank = y.rank();
  if (perm.empty()) return rank == 2 ? y : Expr();
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    const std::int64_t want = axis == rank - 1 ? rank - 2 : axis == rank - 2 ? rank - 1 : axis;
    const std::int64_t given = perm[static_cast<std::size_t>(axis)];
    if ((given < 0 ? given + rank : given) != want) return {};
  }
  return y;
}

// What heads were repeated from, for each group of query heads, as
// reshape(broadcast_to((batch, kv_heads, 1, length, dim))); null if `x` is something else.
Expr ungrouped(const Expr& x) {
  if (!is<Reshape>(x) || x.rank() != 4) return {};
  const Expr wide = x.node().inputs()[0];
  if (!is<BroadcastTo>(wide) || wide.rank() != 5) return {};
  const Expr heads = wide.node().inputs()[0];
  const Shape &from = heads.shape(), &to = wide.shape();
  const bool repeats = from.rank() == 5 && from[2] == 1 && to.with(2, 1) == from &&
                       to[0] == x.shape()[0] && to[1] * to[2] == x.shape()[1] &&
                       to[3] == x.shape()[2] && to[4] == x.shape()[3];
  return repeats ? heads : Expr();
}

// A recognised composition: the operands of attention, or why it stays composed.
struct Match {
  Attention::In<Expr> in = {};
  double scale = 1, softcap = 0;
  bool grouped = false;  // k and v are (batch, kv_heads, 1, length, dim)
  std::string reason = {};
};

class Matcher {
 public:
  explicit Matcher(std::span<const Expr> exprs) {
    for (const Node* node : topological_order(exprs)) {
      for (const Expr& x : node->inputs()) {
        if (x) ++uses_[&x.node()];
      }
    }
    for (const Expr& x : exprs) {
      if (x) uses_[&x.node()] += 2;  // an output is used elsewhere
    }
  }

  // Nothing unless y is a product with a softmax over its last axis, of a product.
  std::optional<Match> match(const Expr& y) const;

 private:
  bool scores(Expr s, Match& match) const;
  bool product(const Expr& s, Match& match) const;
  bool fits(Match& match, const Shape& scores) const;

  NodeMap<int> uses_;
};

std::optional<Match> Matcher::match(const Expr& y) const {
  if (!is<Matmul>(y) || attribute<bool>(y, "transpose_a")) return {};
  const Expr p = y.node().inputs()[0];
  if (!is<Softmax>(p)) return {};
  const auto axis = attribute<std::int64_t>(p, "axis");
  if (axis != -1 && axis != p.rank() - 1) return {};
  Match match;
  match.in.v = y.node().inputs()[1];
  if (*uses_.find(&p.node()) > 1) match.reason = "its probabilities are used elsewhere";
  if (!scores(p.node().inputs()[0], match)) return {};
  if (attribute<bool>(y, "transpose_b")) match.reason = "v is transposed";
  if (match.reason.empty()) fits(match, p.shape());
  return match;
}

// Walks down from the softmax: mask, bias, cap and factors, product. False if there is no product.
bool Matcher::scores(Expr s, Match& match) const {
  for (;;) {
    if (is<Matmul>(s)) return product(s, match);
    if (s.node().kind() != Node::Kind::op) return false;
    if (*uses_.find(&s.node()) > 1) match.reason = "its scores are used elsewhere";
    const std::span<const Expr> in = s.node().inputs();
    const bool factors = match.scale != 1 || match.softcap != 0;  // between here and the softmax
    if (is<Where>(s) && !match.in.mask && !match.in.bias && !factors &&
        number(in[2]) == -std::numeric_limits<double>::infinity()) {
      match.in.mask = in[0];
      s = in[1];
    } else if (is<Add>(s) && !match.in.bias && !factors) {
      // The operand that leads on to the product has the scores' shape; the other is the bias.
      const bool first =
          in[0].shape() == s.shape() && (is<Matmul>(in[0]) || is<Scale>(in[0]) || is<Mul>(in[0]) ||
                                         is<Div>(in[0]) || is<Tanh>(in[0]));
      match.in.bias = in[first ? 1 : 0];
      s = in[first ? 0 : 1];
    } else if (is<Tanh>(s) && match.softcap == 0 && match.scale > 0 && std::isfinite(match.scale)) {
      match.softcap = match.scale;  // c tanh(f q k) is the cap c on the scores c f q k
      s = in[0];
    } else if (is<Scale>(s)) {
      match.scale *= attribute<double>(s, "factor");
      s = in[0];
    } else if (is<Mul>(s) && (number(in[0]) || number(in[1]))) {
      const bool second = number(in[1]).has_value();
      match.scale *= *number(in[second ? 1 : 0]);
      s = in[second ? 0 : 1];
    } else if (is<Div>(s) && number(in[1])) {
      match.scale /= *number(in[1]);
      s = in[0];
    } else {
      return false;
    }
  }
}

bool Matcher::product(const Expr& s, Match& match) const {
  if (*uses_.find(&s.node()) > 1) match.reason = "its scores are used elsewhere";
  match.in.q = s.node().inputs()[0];
  match.in.k = s.node().inputs()[1];
  if (attribute<bool>(s, "transpose_a")) match.reason = "q is transposed";
  if (!attribute<bool>(s, "transpose_b")) {
    const Expr k = untransposed(match.in.k);
    if (!k) match.reason = "k is not a transpose";
    if (k) match.in.k = k;
  }
  return true;
}

// What attention takes that a composition need not have.
bool Matcher::fits(Match& match, const Shape& scores) const {
  const Attention::In<Expr>& in = match.in;
  const std::int64_t rank = in.q.rank();
  const auto leading = [&](const Expr& x) {
    return x.shape().extents().first(
        static_cast<std::size_t>(std::max<std::int64_t>(x.rank() - 2, 0)));
  };
  if (rank < 2 || rank > 4 || in.k.rank() != rank || in.v.rank() != rank) {
    match.reason = format("q, k, v have ranks {}, {}, {}; attention takes equal ranks from 2 to 4",
                          rank, in.k.rank(), in.v.rank());
  } else if (!std::ranges::equal(leading(in.q), leading(in.k)) ||
             !std::ranges::equal(leading(in.k), leading(in.v))) {
    match.reason = "the leading extents of q, k and v differ";
  } else if (!std::isfinite(match.scale)) {
    match.reason = "its scale is not finite";
  } else if ((in.mask && !broadcasts_to(in.mask->shape(), scores)) ||
             (in.bias && !broadcasts_to(in.bias->shape(), scores))) {
    match.reason = "mask or bias is larger than the scores";
  }
  const Expr k = ungrouped(in.k), v = ungrouped(in.v);
  if (k && v && k.shape()[1] == v.shape()[1]) {
    match.in.k = k;
    match.in.v = v;
    match.grouped = true;
  }
  return match.reason.empty();
}

}  // namespace

std::vector<Expr> fuse_attention(std::span<const Expr> exprs, std::vector<AttentionNote>* notes) {
  const std::vector<const Node*> order = topological_order(exprs);
  if (std::ranges::none_of(order, [](const Node* node) {
        return node->kind() == Node::Kind::op && &node->op().type() == &op_type<Softmax>();
      })) {
    return {exprs.begin(), exprs.end()};
  }
  const Matcher matcher(exprs);
  return rewrite(exprs, [&](const RewriteStep& step) -> std::vector<Expr> {
    const std::optional<Match> match = matcher.match(Expr(step.node));
    if (!match) return {};
    if (notes) {
      notes->push_back({step.node->location(), match->reason.empty()
                                                   ? "composed of ops, now fused"
                                                   : "stays composed, " + match->reason});
    }
    if (!match->reason.empty()) return {};
    const LocationScope scope(step.node->location());
    // The match is of the nodes as they were; what they read may have changed since.
    const auto now = [&](const std::optional<Expr>& x) { return x ? step.now(*x) : x; };
    const auto heads = [&](const Expr& x) {
      const Expr y = step.now(x);
      if (!match->grouped) return y;
      const Shape shape = y.shape().without(2);
      return reshape(y, {.shape = {shape.begin(), shape.end()}});
    };
    const Attention::In<Expr>& in = match->in;
    return {attention({.q = step.now(in.q),
                       .k = heads(in.k),
                       .v = heads(in.v),
                       .mask = now(in.mask),
                       .bias = now(in.bias)},
                      {.scale = match->scale, .softcap = match->softcap})
                .y};
  });
}

}  // namespace fovea
