#include "fovea/graph/oracles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fovea/graph/gradient_rule.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/jvp.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"

namespace fovea {

namespace {

// Other steps than the first time, and no power of two.
constexpr double kOtherSteps = 0.37;

std::vector<Expr> inputs_of(const std::vector<Binding>& bindings) {
  std::vector<Expr> inputs;
  for (const auto& [x, value] : bindings) inputs.push_back(x);
  return inputs;
}

std::vector<Tensor> values_of(const std::vector<Binding>& bindings) {
  std::vector<Tensor> values;
  for (const auto& [x, value] : bindings) values.push_back(value);
  return values;
}

}  // namespace

Oracles::Oracles(Problem problem, std::uint64_t seed)
    : problem_(std::move(problem)), loss_(problem_.outputs, problem_.bindings, seed) {
  for (const Tensor& c : loss_.cotangents()) cotangents_.push_back(constant(c));
  forwards_.resize(problem_.wrt.size());
}

const Derivative& Oracles::numeric(std::size_t k, const Direction& d, double scale) {
  const auto key = std::pair(k, d.label());
  const auto found = numeric_.find(key);
  if (found != numeric_.end()) return found->second;
  return numeric_[key] = loss_.derivative(k, d, scale);
}

const Derivative& Oracles::confirmed(std::size_t k, const Direction& d, double scale) {
  Derivative& first = numeric_[{k, d.label()}];
  if (first.confirmed) return first;
  const Derivative second = loss_.derivative(k, d, scale, kOtherSteps);
  first.confirmed = true;
  first.kink = first.kink || second.kink;
  if (!second.found) return first;
  const double apart = std::abs(first.value - second.value);
  if (!first.found || (apart <= first.error + second.error && second.error < first.error)) {
    first.value = second.value;
    first.error = second.error;
    first.found = true;
  } else if (apart > first.error + second.error) {
    first.error = std::max({first.error, second.error, apart});
  }
  return first;
}

Oracles::Forward& Oracles::forward_of(std::size_t k) {
  if (forwards_[k]) return *forwards_[k];
  forwards_[k] = std::make_unique<Forward>();
  Forward& forward = *forwards_[k];
  const Expr& x = problem_.wrt[k];
  forward.tangent = input("", f64, x.shape());
  try {
    const std::vector<Expr> all =
        jvp(problem_.outputs, std::span(&x, 1), std::span(&forward.tangent, 1));
    for (std::size_t o = 0; o < all.size(); ++o) {
      if (!all[o]) continue;
      forward.results.push_back(all[o]);
      forward.of.push_back(o);
    }
    std::vector<Expr> inputs = inputs_of(problem_.bindings);
    inputs.push_back(forward.tangent);
    forward.run = compile(inputs, forward.results, CompileOptions::plain());
  } catch (const Error& error) {
    no_forward_ = error.what();
  }
  return forward;
}

double Oracles::weighted(const Forward& forward, const std::vector<Tensor>& tangents) const {
  double sum = 0;
  for (std::size_t r = 0; r < tangents.size(); ++r) {
    const Tensor t = tangents[r].contiguous();
    const auto* weight = loss_.cotangents()[forward.of[r]].data<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      if (weight[i] != 0) sum += weight[i] * t.data<double>()[i];
    }
  }
  return sum;
}

std::optional<double> Oracles::forward_value(std::size_t k, const Direction& d) {
  Forward& forward = forward_of(k);
  if (!forward.run) return {};
  std::vector<Tensor> inputs = values_of(problem_.bindings);
  inputs.push_back(d.dense(problem_.wrt[k].shape()));
  try {
    const double value = weighted(forward, (*forward.run)(inputs));
    if (std::isfinite(value)) return value;
  } catch (const Error& error) {
    no_forward_ = error.what();
    forward.run.reset();
  }
  return {};
}

std::optional<Measured> Oracles::forward(std::size_t k, const Direction& d) {
  const auto key = std::pair(k, d.label());
  if (const auto found = forward_.find(key); found != forward_.end()) return found->second;
  std::optional<Measured>& result = forward_[key];
  const std::optional<double> value = forward_value(k, d);
  if (!value) return result;
  const Forward& forward = forward_of(k);
  std::vector<Binding> bindings = problem_.bindings;
  bindings.emplace_back(forward.tangent, d.dense(problem_.wrt[k].shape()));
  Measured measured{.value = *value};
  double terms = 0, count = 0;
  for (std::size_t r = 0; const Bounded& t : with_bounds(forward.results, bindings)) {
    const auto* weight = loss_.cotangents()[forward.of[r++]].data<double>();
    for (std::size_t i = 0; i < t.bars.size(); ++i) {
      if (weight[i] == 0) continue;
      measured.bar += std::abs(weight[i]) * t.bars[i];
      terms += std::abs(weight[i] * t.value.data<double>()[i]);
      ++count;
    }
  }
  measured.bar += count * std::numeric_limits<double>::epsilon() * terms;
  return result = measured;
}

const std::vector<Bounded>* Oracles::decomposition() {
  if (!decomposed_) {
    decomposed_ = true;
    bool any = false;
    try {
      const std::vector<Expr> outputs =
          rewrite(problem_.outputs, [&](const RewriteStep& step) -> std::vector<Expr> {
            if (step.node->kind() != Node::Kind::op) return {};
            const OpType& type = step.node->op().type();
            if (!type.has_vjp || !type.has_decomposition) return {};
            any = true;
            return apply(by_decomposition(step.node->op_pointer()),
                         {step.inputs.begin(), step.inputs.end()}, step.node->location());
          });
      if (any) {
        decomposition_ =
            with_bounds(gradients(outputs, problem_.wrt, cotangents_), problem_.bindings);
      }
    } catch (const Error& error) {
      no_decomposition_ = error.what();
    }
  }
  return decomposition_ ? &*decomposition_ : nullptr;
}

}  // namespace fovea
