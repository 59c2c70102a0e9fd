#include "fovea/graph/gradcheck_problem.h"

#include <algorithm>
#include <cmath>

#include "fovea/graph/gradients.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kBeside = 0x1p-8;
constexpr double kSmall = 0x1p-10;  // elements below are moved absolutely
constexpr double kKinkSteps[] = {0x1p-20, 0x1p-12, 0x1p-6};
constexpr double kKink = 0.05;      // difference of one-sided changes, relative to them
constexpr double kVisible = 1e-12;  // change of a value that can be told from rounding

Tensor value_of(const Expr& old, const Expr& x, std::size_t index,
                const GradcheckOptions& options) {
  for (const auto& [bound, value] : options.values) {
    if (!same(bound, old)) continue;
    if (!value || value.shape() != x.shape() ||
        (value.dtype() != x.dtype() && !(is_float(value.dtype()) && is_float(x.dtype())))) {
      fail("gradcheck", "{} for input {}, which is {}",
           value ? to_string(spec_of(value)) : "a null tensor", quoted(old.node().name()),
           to_string(old.spec()));
    }
    return value.astype(x.dtype());
  }
  if (x.dtype() == i64) return Tensor::zeros(i64, x.shape());
  if (x.dtype() == boolean) return Tensor::full(boolean, x.shape(), 1);
  Key key = key_for(options.seed, old.node().name());
  key.stream += index;
  return random_normal(f64, x.shape(), 0, 1, key).astype(x.dtype());
}

Problem make(std::span<const Expr> outputs, std::span<const Expr> wrt,
             const GradcheckOptions& options, bool narrow) {
  std::vector<Expr> all;
  for (const Expr& y : outputs) {
    if (is_float(y.dtype())) all.push_back(y);
  }
  const auto count = static_cast<std::ptrdiff_t>(all.size());
  all.insert(all.end(), wrt.begin(), wrt.end());
  std::vector<std::pair<Expr, Expr>> inputs;
  if (narrow) {
    for (const Node* node : topological_order(all)) {
      if (node->kind() == Node::Kind::input) {
        inputs.emplace_back(Expr(node->shared_from_this()), Expr(node->shared_from_this()));
      }
    }
  } else {
    all = as_dtype(all, f64, &inputs);
  }
  std::vector<Binding> given;
  for (const auto& [old, x] : inputs) {
    given.emplace_back(x, value_of(old, x, given.size(), options));
  }
  const std::vector<Expr> targets(all.begin() + count, all.end());
  const std::vector<Tensor> values = evaluate(targets, given);
  Problem problem;
  std::vector<Expr> from, to;
  for (std::size_t k = 0; k < targets.size(); ++k) {
    const bool is_input = targets[k].node().kind() == Node::Kind::input;
    problem.wrt.push_back(is_input ? targets[k]
                                   : input("", targets[k].dtype(), targets[k].shape()));
    problem.bindings.emplace_back(problem.wrt.back(), values[k].contiguous());
    if (is_input) continue;
    from.push_back(targets[k]);
    to.push_back(problem.wrt.back());
  }
  problem.outputs = substitute(std::span(all).first(static_cast<std::size_t>(count)), from, to);
  for (const Binding& binding : given) {
    const bool is_wrt =
        std::ranges::any_of(problem.wrt, [&](const Expr& x) { return same(x, binding.first); });
    if (!is_wrt) problem.bindings.push_back(binding);
  }
  return problem;
}

}  // namespace

Problem make_problem(std::span<const Expr> outputs, std::span<const Expr> wrt,
                     const GradcheckOptions& options) {
  return make(outputs, wrt, options, false);
}

Problem make_narrow_problem(std::span<const Expr> outputs, std::span<const Expr> wrt,
                            const GradcheckOptions& options) {
  return make(outputs, wrt, options, true);
}

Problem differentiated(const Problem& problem, std::uint64_t seed) {
  Problem result = problem;
  const Loss loss(problem.outputs, problem.bindings, seed ^ 0x9e3779b97f4a7c15U);
  std::vector<Expr> cotangents;
  for (const Tensor& c : loss.cotangents()) cotangents.push_back(constant(c));
  result.outputs = gradients(problem.outputs, problem.wrt, cotangents);
  return result;
}

Problem beside(const Problem& problem) {
  Problem moved = problem;
  for (std::size_t k = 0; k < problem.wrt.size(); ++k) {
    const Tensor x = problem.bindings[k].second.copy();
    auto* v = x.mutable_data<double>();
    double amount = 0.5 + 0.1 * static_cast<double>(k);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      // A sequence in [0, 1) without repetitions: multiples of the golden ratio.
      amount += 0.6180339887498949;
      amount -= std::floor(amount);
      if (!std::isfinite(v[i])) continue;
      const double part = kBeside * (0.5 + amount) * (i % 2 == 0 ? 1 : -1);
      if (std::abs(v[i]) >= kSmall) {
        v[i] *= 1 + part;
      } else {
        v[i] = v[i] == 0 ? part : v[i] + std::copysign(part, v[i]);  // away from 0
      }
    }
    moved.bindings[k].second = x;
  }
  return moved;
}

namespace {

// The element of a node's result at which the one-sided changes differ.
std::int64_t kinked_element(const Tensor& before, const Tensor& at, const Tensor& after) {
  const Tensor a = before.contiguous(), b = at.contiguous(), c = after.contiguous();
  for (std::int64_t i = 0; i < b.numel(); ++i) {
    const double left = b.data<double>()[i] - a.data<double>()[i];
    const double right = c.data<double>()[i] - b.data<double>()[i];
    const double size = std::abs(left) + std::abs(right);
    if (!std::isfinite(size) || size <= kVisible * std::abs(b.data<double>()[i])) continue;
    if (std::abs(right - left) > kKink * size) return i;
  }
  return -1;
}

}  // namespace

std::optional<Kink> find_kink(const Problem& problem, std::size_t k, const Direction& d) {
  std::vector<Expr> values;
  for (const Node* node : topological_order(problem.outputs)) {
    if (node->kind() != Node::Kind::op) continue;
    for (std::size_t o = 0; o < node->outputs().size(); ++o) {
      if (node->outputs()[o].dtype != f64) continue;
      values.emplace_back(node->shared_from_this(), static_cast<std::int64_t>(o));
    }
  }
  double size = 1;
  if (d.single()) {
    const double at = problem.bindings[k].second.contiguous().data<double>()[d.index()];
    size = std::max(size, std::abs(at));
  }
  for (const double step : kKinkSteps) {
    std::vector<std::vector<Tensor>> results;
    for (const double side : {-1.0, 0.0, 1.0}) {
      std::vector<Binding> bindings = problem.bindings;
      double taken = side * step * size;
      if (side != 0) bindings[k].second = d.moved(bindings[k].second, taken);
      try {
        results.push_back(evaluate(values, bindings));
      } catch (const Error&) {
        return {};
      }
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t at = kinked_element(results[0][i], results[1][i], results[2][i]);
      if (at < 0) continue;
      const Node& node = values[i].node();
      return Kink{.input = d.label(),
                  .op = format("{} {}", node.op().type().name, index_text(values[i].shape(), at)),
                  .location = node.location().text()};
    }
  }
  return {};
}

}  // namespace fovea
