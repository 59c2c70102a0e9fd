#include "fovea/graph/rounding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "fovea/graph/loss.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr double kElementwise = 4;     // roundings, in units of ε
constexpr double kAmplification = 64;  // of the changes, in f64
constexpr double kSafety = 4;          // the largest of few random samples is not the largest
constexpr double kTiny = 64;           // roundings at the smallest normal number

// Uniform in [-1, 1), from a counter: Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U) {}
  double next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>(static_cast<std::int64_t>(z ^ (z >> 31))) * 0x1p-63;
  }

 private:
  std::uint64_t state_;
};

bool is_real(const Tensor& x) { return x && x.dtype() == f64; }

Tensor changed(const Tensor& x, double relative, Noise& noise) {
  if (!is_real(x) || relative == 0) return x;
  const Tensor copy = x.copy();
  auto* v = copy.mutable_data<double>();
  for (std::int64_t i = 0; i < copy.numel(); ++i) {
    const double moved = v[i] * (1 + relative * noise.next());
    if (std::isfinite(moved)) v[i] = moved;
  }
  return copy;
}

// How far an op's operands and results are changed, in units of ε.
struct Roundings {
  double operands = 0, results = 0;
};

void insert_magnitudes(const Tensor& x, std::unordered_set<std::uint64_t>& magnitudes) {
  for (double v : x.to_vector<double>()) {
    std::uint64_t bits = 0;
    v = std::abs(v);
    std::memcpy(&bits, &v, sizeof bits);
    magnitudes.insert(bits);
  }
}

bool first_results_are_in(std::span<const Tensor> in, const Tensor& y) {
  constexpr std::int64_t kFirst = 4;
  const Tensor results = y.contiguous();
  for (std::int64_t i = 0; i < std::min(kFirst, y.numel()); ++i) {
    const double r = std::abs(results.data<double>()[i]);
    bool found = r == 0 || std::isnan(r);
    for (const Tensor& x : in) {
      if (found || !is_real(x)) continue;
      const Tensor operand = x.contiguous();
      const auto* v = operand.data<double>();
      found = std::any_of(v, v + x.numel(), [r](double o) { return std::abs(o) == r; });
    }
    if (!found) return false;
  }
  return true;
}

// Whether every result is an operand's element, up to its sign, or 0: nothing was rounded.
bool selects(std::span<const Tensor> in, std::span<const Tensor> out) {
  // Most ops show with their first results that they compute something.
  for (const Tensor& y : out) {
    if (is_real(y) && !first_results_are_in(in, y)) return false;
  }
  std::unordered_set<std::uint64_t> operands{0}, results;
  for (const Tensor& x : in) {
    if (is_real(x)) insert_magnitudes(x, operands);
  }
  for (const Tensor& y : out) {
    if (is_real(y)) insert_magnitudes(y, results);
  }
  return std::ranges::all_of(results, [&](std::uint64_t r) { return operands.contains(r); });
}

// Terms that one result may be the sum of: all elements of an operand, spread over the results, or
// those along two of its axes.
double most_terms(std::span<const Tensor> in, std::span<const Tensor> out) {
  double results = 0, terms = 1;
  for (const Tensor& y : out) results += y ? static_cast<double>(y.numel()) : 0;
  for (const Tensor& x : in) {
    if (!is_real(x)) continue;
    std::vector<std::int64_t> extents(x.shape().begin(), x.shape().end());
    std::ranges::sort(extents, std::greater<>());
    extents.resize(2);
    terms = std::max({terms, static_cast<double>(x.numel()) / std::max(results, 1.0),
                      static_cast<double>(extents[0] + extents[1])});
  }
  return terms;
}

Roundings roundings_of(const OpType& type, std::span<const Tensor> in, std::span<const Tensor> out,
                       DType real) {
  if (type.has_view || std::ranges::none_of(out, is_real) || selects(in, out)) return {};
  // Sums, products and multiples round their results only.
  if (type.elementwise && type.linear != Linear::no) return {0, kElementwise};
  if (type.elementwise) return {kElementwise, kElementwise};
  const double terms = most_terms(in, out);
  // In f64 every order of summation is allowed for; in f32 that would hide errors, and roundings
  // are taken to be as many up as down.
  const double growth = real == f64 ? terms : std::min(terms, 8 * std::sqrt(terms));
  return {kElementwise + growth, kElementwise + growth};
}

// Whether no element is real or all are numbers that f32 has: integers above all.
bool is_short(const Tensor& x) {
  if (!is_real(x)) return true;
  return std::ranges::all_of(x.to_vector<double>(), is_f32_number);
}

// The first element in which two tensors of one spec differ in their bits; negative if none does.
std::int64_t first_difference(const Tensor& x, const Tensor& y) {
  const Tensor a = x.contiguous(), b = y.contiguous();
  const std::span p(static_cast<const std::byte*>(a.raw()), a.nbytes());
  const std::span q(static_cast<const std::byte*>(b.raw()), b.nbytes());
  const auto at = std::ranges::mismatch(p, q).in1;
  return at == p.end() ? -1 : (at - p.begin()) / static_cast<std::int64_t>(size_of(x.dtype()));
}

// With the decompositions of ops that are computed by them: what is rounded there counts, too.
std::vector<Expr> expanded(std::span<const Expr> outputs) {
  bool found = true;
  std::vector<Expr> all(outputs.begin(), outputs.end());
  while (std::exchange(found, false)) {
    all = rewrite(all, [&](const RewriteStep& step) -> std::vector<Expr> {
      if (step.node->kind() != Node::Kind::op) return {};
      const OpType& type = step.node->op().type();
      if (type.has_forward || type.elementwise || type.has_view) return {};
      found = true;
      return step.node->op().decomposition(step.inputs);
    });
  }
  return all;
}

class Runner {
 public:
  Runner(std::span<const Expr> outputs, std::span<const Binding> bindings, DType real)
      : outputs_(outputs), bindings_(bindings), real_(real), order_(topological_order(outputs)) {
    for (const auto& [x, value] : bindings) {
      if (is_real(value)) varying_.insert(&x.node());
    }
    for (const Node* node : order_) {
      std::vector<bool>& wanted = wanted_[node];
      wanted.resize(node->outputs().size());
      for (const Expr& x : node->inputs()) {
        use(x);
        if (x && varying_.contains(&x.node())) varying_.insert(node);
      }
    }
    for (const Expr& y : outputs) use(y);
  }

  // With changes of `relative` times the op's roundings; without noise plainly, which must come
  // first.
  std::vector<Tensor> run(double relative, Noise* noise) {
    std::unordered_map<const Node*, std::vector<Tensor>> values;
    std::unordered_map<const Node*, std::size_t> left = uses_;
    for (const auto& [x, value] : bindings_) values[&x.node()] = {value};
    const auto get = [&](const Expr& x) {
      return x ? values.at(&x.node())[static_cast<std::size_t>(x.output())] : Tensor();
    };
    for (const Node* node : order_) {
      if (values.contains(node)) continue;
      if (node->kind() == Node::Kind::constant) values[node] = {node->value()};
      if (node->kind() == Node::Kind::input) {
        throw Error("evaluate", format("input {} has no value; bind one", quoted(node->name())))
            .at(node->location().text());
      }
      if (node->kind() != Node::Kind::op) continue;
      std::vector<Tensor> in;
      for (const Expr& x : node->inputs()) in.push_back(get(x));
      values[node] = compute(node, std::move(in), relative, noise);
      for (const Expr& x : node->inputs()) {
        if (x && --left[&x.node()] == 0) values.erase(&x.node());
      }
    }
    std::vector<Tensor> results;
    for (const Expr& y : outputs_) results.push_back(get(y).contiguous());
    return results;
  }

  const RoundingNotes& notes() const { return notes_; }

 private:
  void use(const Expr& x) {
    if (!x) return;
    wanted_[&x.node()][static_cast<std::size_t>(x.output())] = true;
    ++uses_[&x.node()];
  }

  std::vector<Tensor> compute(const Node* node, std::vector<Tensor> in, double relative,
                              Noise* noise) {
    try {
      if (noise == nullptr) {
        std::vector<Tensor> out = eval::apply(node->op(), in, wanted_.at(node));
        for (const Tensor& y : out) note_magnitude(y);
        if (!varying_.contains(node) && std::ranges::all_of(out, is_short)) {
          if (real_ == f64) settled_[node] = out;
        } else {
          roundings_[node] = roundings_of(node->op().type(), in, out, real_);
        }
        if (std::ranges::none_of(out, is_real)) decisions_[node] = out;
        return out;
      }
      if (const auto settled = settled_.find(node); settled != settled_.end()) {
        return settled->second;
      }
      const Roundings roundings = roundings_[node];
      for (Tensor& x : in) x = changed(x, relative * roundings.operands, *noise);
      std::vector<Tensor> out = eval::apply(node->op(), in, wanted_.at(node));
      note_flip(node, out);
      for (Tensor& y : out) y = changed(y, relative * roundings.results, *noise);
      return out;
    } catch (const Error& error) {
      throw error.at(node->location().text());
    }
  }

  void note_magnitude(const Tensor& y) {
    if (!is_real(y)) return;
    for (double v : y.to_vector<double>()) {
      if (std::isfinite(v)) notes_.largest = std::max(notes_.largest, std::abs(v));
    }
  }

  void note_flip(const Node* node, const std::vector<Tensor>& out) {
    const auto before = decisions_.find(node);
    if (before == decisions_.end() || !notes_.flipped.empty()) return;
    for (std::size_t o = 0; o < out.size(); ++o) {
      if (!out[o]) continue;
      const std::int64_t at = first_difference(out[o], before->second[o]);
      if (at < 0) continue;
      const std::string place = node->location().text();
      notes_.flipped = format("{} {}{}{}", node->op().type().name, index_text(out[o].shape(), at),
                              place.empty() ? "" : ", ", place);
      return;
    }
  }

  std::span<const Expr> outputs_;
  std::span<const Binding> bindings_;
  DType real_;
  std::vector<const Node*> order_;
  std::unordered_map<const Node*, std::vector<bool>> wanted_;
  std::unordered_map<const Node*, std::size_t> uses_;
  std::unordered_map<const Node*, Roundings> roundings_;
  std::unordered_set<const Node*> varying_;  // they depend on a float input
  // Results of the plain run: of nodes that are the same in every run; without floats.
  std::unordered_map<const Node*, std::vector<Tensor>> settled_, decisions_;
  RoundingNotes notes_;
};

}  // namespace

std::vector<Bounded> with_bounds(std::span<const Expr> outputs, std::span<const Binding> bindings,
                                 const Arithmetic& arithmetic, RoundingNotes* notes) {
  const bool wide = arithmetic.real == f64;
  const double epsilon =
      wide ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
  const double tiny =
      kTiny * (wide ? std::numeric_limits<double>::min() : std::numeric_limits<float>::min());
  const double amplification = wide ? kAmplification : 1;
  const std::vector<Expr> all = expanded(outputs);
  Runner runner(all, bindings, arithmetic.real);
  std::vector<Bounded> results;
  for (const Tensor& y : runner.run(0, nullptr)) {
    results.push_back({y, std::vector<double>(static_cast<std::size_t>(y.numel()), 0.0)});
  }
  for (int sample = 0; sample < arithmetic.samples; ++sample) {
    Noise noise(static_cast<std::uint64_t>(sample) + 1);
    const std::vector<Tensor> moved = runner.run(epsilon * amplification, &noise);
    for (std::size_t o = 0; o < results.size(); ++o) {
      if (!is_real(results[o].value)) continue;
      const auto *a = results[o].value.data<double>(), *b = moved[o].data<double>();
      for (std::size_t i = 0; i < results[o].bars.size(); ++i) {
        const double change = std::abs(a[i] - b[i]);
        if (std::isfinite(change)) results[o].bars[i] = std::max(results[o].bars[i], change);
      }
    }
  }
  for (Bounded& y : results) {
    for (double& bar : y.bars) bar = kSafety / amplification * bar + tiny;
  }
  if (notes != nullptr) *notes = runner.notes();
  return results;
}

}  // namespace fovea
