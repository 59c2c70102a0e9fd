// Attention on inputs of the kinds that break implementations.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "fovea/graph/gradcheck_locate.h"
#include "fovea/graph/passes.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/attention.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kQ = 0, kK = 1, kV = 2, kMask = 3, kBias = 4, kLengths = 5;

// Extents of one call, and what is done to its inputs.
struct Edge {
  const char* name;
  std::int64_t batch = 1, heads = 1, kv_heads = 1, lq = 3, lk = 3, d = 2, dv = 3;
  void (*shape)(const Edge& e, std::vector<Tensor>& in) = nullptr;
  bool hides = false;  ///< values that are not finite: their gradients are exactly 0
};

Tensor normal(const Shape& shape, std::uint64_t stream) {
  return random_normal(f64, shape, 0, 1, {12, stream});
}

void fill(const Tensor& x, std::int64_t first, std::int64_t count, double value) {
  std::fill_n(x.mutable_data<double>() + first, count, value);
}

void scale_by(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] *= factor;
}

Tensor all_visible(const Edge& e) { return Tensor::full(boolean, {e.lq, e.lk}, 1); }

void set_visible(const Tensor& mask, std::int64_t row, std::int64_t key, bool visible) {
  mask.mutable_data<bool>()[row * mask.shape()[1] + key] = visible;
}

void hide_rows(const Edge& e, std::vector<Tensor>& in) {
  in[kMask] = all_visible(e);
  for (std::int64_t j = 0; j < e.lk; ++j) set_visible(in[kMask], 0, j, false);
}

void show_one_key(const Edge& e, std::vector<Tensor>& in) {
  in[kMask] = Tensor::zeros(boolean, {e.lq, e.lk});
  for (std::int64_t i = 0; i < e.lq; ++i) set_visible(in[kMask], i, (i + 1) % e.lk, true);
}

void vary_lengths(const Edge& e, std::vector<Tensor>& in) {
  in[kLengths] = Tensor::from<std::int64_t>({0, 1, e.lk}, {3});
}

void tie(const Edge&, std::vector<Tensor>& in) {
  in[kQ] = Tensor::zeros(f64, in[kQ].shape());
  in[kK] = Tensor::full(f64, in[kK].shape(), 0.5);
}

void hide_by_bias(const Edge& e, std::vector<Tensor>& in) {
  in[kBias] = normal({e.lq, e.lk}, 4);
  in[kBias].mutable_data<double>()[1] = -kInfinity;
  fill(in[kBias], e.lk, e.lk, -kInfinity);
}

// Behind a mask: a query that sees +inf has no finite result.
void bias_of_infinity(const Edge& e, std::vector<Tensor>& in) {
  in[kBias] = normal({e.lq, e.lk}, 4);
  in[kBias].mutable_data<double>()[e.lk] = kInfinity;
  in[kMask] = all_visible(e);
  set_visible(in[kMask], 1, 0, false);
}

void large_logits(const Edge& e, std::vector<Tensor>& in) {
  const double factor = std::sqrt(1e4) * std::pow(static_cast<double>(e.d), 0.25);
  scale_by(in[kQ], factor);
  scale_by(in[kK], factor);
}

void denormals(const Edge&, std::vector<Tensor>& in) {
  for (std::size_t i : {kQ, kK, kV}) scale_by(in[i], 1e-310);
}

void nan_keys(const Edge& e, std::vector<Tensor>& in) {
  in[kMask] = all_visible(e);
  for (std::int64_t i = 0; i < e.lq; ++i) set_visible(in[kMask], i, 1, false);
  fill(in[kK], e.d, e.d, kNaN);
  fill(in[kV], e.dv, e.dv, kInfinity);
}

void nan_query(const Edge& e, std::vector<Tensor>& in) {
  hide_rows(e, in);
  fill(in[kQ], 0, e.d, kNaN);
}

void bias_for_keys(const Edge& e, std::vector<Tensor>& in) { in[kBias] = normal({e.lk}, 4); }
void bias_for_heads(const Edge& e, std::vector<Tensor>& in) {
  in[kBias] = normal({e.heads, 1, 1}, 4);
}
void bias_for_all(const Edge&, std::vector<Tensor>& in) { in[kBias] = normal({1}, 4); }

constexpr Edge kEdges[] = {
    {.name = "hidden rows", .shape = hide_rows},
    {.name = "one key seen", .shape = show_one_key},
    {.name = "Lq<Lk", .lq = 2, .lk = 5},
    {.name = "Lq>Lk", .lq = 5, .lk = 2},
    {.name = "lengths 1", .lq = 1, .lk = 1},
    {.name = "one query", .lq = 1, .lk = 4},
    {.name = "no keys", .lk = 0},
    {.name = "no queries", .lq = 0},
    {.name = "lengths 0, 1", .batch = 3, .shape = vary_lengths},
    {.name = "ties", .shape = tie},
    {.name = "-inf bias", .shape = hide_by_bias, .hides = true},
    {.name = "+inf bias hidden", .shape = bias_of_infinity, .hides = true},
    {.name = "logits 1e4", .shape = large_logits},
    {.name = "denormals", .shape = denormals},
    {.name = "grouped heads", .heads = 4, .kv_heads = 2},
    {.name = "one KV head", .heads = 3},
    {.name = "NaN hidden key", .shape = nan_keys, .hides = true},
    {.name = "NaN blind query", .shape = nan_query, .hides = true},
    {.name = "bias per key", .shape = bias_for_keys},
    {.name = "bias per head", .heads = 2, .kv_heads = 2, .shape = bias_for_heads},
    {.name = "one bias", .shape = bias_for_all},
};

// What a value that is not finite must not reach.
void require_zero(const Problem& problem, const std::string& label,
                  std::vector<std::string>& failures) {
  const Loss loss(problem.outputs, problem.bindings, 1);
  std::vector<Expr> c;
  for (const Tensor& t : loss.cotangents()) c.push_back(constant(t));
  const std::vector<Tensor> g = evaluate(engine_gradients(problem, c), problem.bindings);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const Tensor x = problem.bindings[k].second.contiguous(), dx = g[k].contiguous();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const double gradient = dx.data<double>()[i];
      const bool hidden = !std::isfinite(x.data<double>()[i]);
      if (std::isfinite(gradient) && (!hidden || gradient == 0)) continue;
      failures.push_back(format("{}: the gradient of {} at {} is {}; {} is required", label,
                                problem.wrt[k].node().name(), index_text(x.shape(), i), gradient,
                                hidden ? "exactly 0" : "a finite value"));
    }
  }
}

class Edges {
 public:
  explicit Edges(const GradcheckOptions& options) : options_(options), deadline_(options.budget) {
    options_.progress = {};
    report_.seed = options.seed;
  }

  void run(const Node& node) {
    const auto base = decode_attributes<Attention>(node.op().attributes());
    const std::string place = node.location().text();
    for (const Edge& edge : kEdges) {
      if (deadline_.passed()) {
        report_.notes.push_back(
            format("edges from \"{}\" on were left out for lack of time", edge.name));
        return;
      }
      const bool needs_place = edge.lq != edge.lk && !base.align && !base.query_offset &&
                               (base.causal || base.window != Window{});
      if (!needs_place) {
        run(edge, base, place, "");
        continue;
      }
      for (const Align align : {Align::top_left, Align::bottom_right}) {
        Attention placed = base;
        placed.align = align;
        run(edge, placed, place, align == Align::top_left ? " top" : " bottom");
      }
    }
  }

  GradientReport take() { return std::move(report_); }

 private:
  void run(const Edge& edge, const Attention& op, const std::string& place,
           std::string_view suffix) {
    std::vector<Tensor> in(6);
    in[kQ] = normal({edge.batch, edge.heads, edge.lq, edge.d}, 1);
    in[kK] = normal({edge.batch, edge.kv_heads, edge.lk, edge.d}, 2);
    in[kV] = normal({edge.batch, edge.kv_heads, edge.lk, edge.dv}, 3);
    if (edge.shape) edge.shape(edge, in);
    const std::string label = format("{}{}", edge.name, suffix);
    const LocationScope scope{Location(place)};
    try {
      std::vector<std::size_t> slots;
      const std::array<std::int64_t, 2> outputs{0, 1};
      const Problem problem = problem_of_op(make_op(op), in, outputs, slots);
      Findings found = PreparedCheck(problem, options_).run(engine_gradients, options_, deadline_);
      for (std::size_t k = 0; k < found.rows.size(); ++k) {
        GradientRow& row = found.rows[k];
        row.name = format("{}: {}", label, problem.wrt[k].node().name());
        row.location = place;
        // Where nothing is seen, nothing moves: all oracles said so.
        if (row.verdict == Verdict::vacuous) row.verdict = Verdict::pass;
        report_.rows.push_back(std::move(row));
      }
      if (edge.hides) {
        require_zero(problem, label, report_.failures);
      }
    } catch (const Error& error) {
      report_.failures.push_back(format("{}: {}", label, error.what()));
    }
  }

  GradcheckOptions options_;
  Deadline deadline_;
  GradientReport report_;
};

}  // namespace

GradientReport check_attention_edges(std::span<const Expr> outputs,
                                     const GradcheckOptions& options) {
  Edges edges(options);
  std::set<std::string> seen;  // one node for each set of attributes
  const std::vector<Expr> wide = fuse_attention(as_dtype(outputs, f64));
  for (const Node* node : topological_order(wide)) {
    if (node->kind() != Node::Kind::op || &node->op().type() != &op_type<Attention>()) continue;
    std::string key;
    for (const auto& [name, value] : node->op().attributes()) {
      key += format("{}={};", name, to_string(value));
    }
    if (seen.insert(key).second) edges.run(*node);
  }
  return edges.take();
}

}  // namespace fovea
