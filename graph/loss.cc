#include "fovea/graph/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "fovea/graph/rewrite.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kPerBar = 0x1p48;  // a bar is 16 ε of what was added up, and more
constexpr double kFirstStep = 0x1p-4;
constexpr double kSmallest = 0x1p-30;  // below, an element's own size is a second scale of steps

// How far away 0 is along a direction, for the typical element that it moves: there functions like
// 1/x end, and steps must not be wider than that.
double distance_to_zero(const Tensor& x, const Direction& d) {
  const Tensor at = x.contiguous(), along = d.dense(x.shape());
  std::vector<double> distances;
  for (std::int64_t i = 0; i < at.numel(); ++i) {
    const double step = std::abs(along.data<double>()[i]), to = std::abs(at.data<double>()[i]);
    if (step > 0 && to > 0) distances.push_back(to / step);
  }
  if (distances.empty()) return std::numeric_limits<double>::infinity();
  const auto middle = distances.begin() + std::ssize(distances) / 2;
  std::ranges::nth_element(distances, middle);
  return *middle;
}

// What stops gradients is a constant to them, and so it must be to differences.
std::vector<Expr> with_stops_fixed(std::span<const Expr> outputs,
                                   std::span<const Binding> bindings) {
  std::vector<Expr> stops, values;
  for (const Node* node : topological_order(outputs)) {
    if (node->kind() != Node::Kind::op || !node->op().type().stops_gradient) continue;
    for (std::size_t o = 0; o < node->outputs().size(); ++o) {
      stops.emplace_back(node->shared_from_this(), static_cast<std::int64_t>(o));
    }
  }
  if (stops.empty()) return {outputs.begin(), outputs.end()};
  for (const Tensor& value : evaluate(stops, bindings)) values.push_back(constant(value));
  return substitute(outputs, stops, values);
}

}  // namespace

std::string index_text(const Shape& shape, std::int64_t flat) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()));
  for (std::size_t axis = index.size(); axis-- > 0;) {
    const std::int64_t extent = shape[static_cast<std::int64_t>(axis)];
    index[axis] = flat % extent;
    flat /= extent;
  }
  return format("[{}]", fmt::join(index, ", "));
}

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool is_f32_number(double x) {
  if (!std::isfinite(x)) return true;
  return std::abs(x) <= std::numeric_limits<float>::max() &&
         static_cast<double>(static_cast<float>(x)) == x;
}

double largest(const Tensor& x) {
  double bound = 0;
  for (double v : x.astype(f64).to_vector<double>()) {
    if (std::isfinite(v)) bound = std::max(bound, std::abs(v));
  }
  return bound;
}

Direction Direction::element(const Shape& shape, std::int64_t index) {
  Direction d;
  d.label_ = index_text(shape, index);
  d.element_ = index;
  return d;
}

Direction Direction::through_all(std::string label, std::vector<double> d) {
  Direction direction;
  direction.label_ = std::move(label);
  direction.all_ = std::move(d);
  return direction;
}

double Direction::norm1() const {
  if (single()) return 1;
  return std::transform_reduce(all_.begin(), all_.end(), 0.0, std::plus<>(),
                               [](double d) { return std::abs(d); });
}

double Direction::norm2() const {
  if (single()) return 1;
  return std::sqrt(std::transform_reduce(all_.begin(), all_.end(), 0.0, std::plus<>(),
                                         [](double d) { return d * d; }));
}

double Direction::dot(const Tensor& gradient) const {
  const Tensor flat = gradient.contiguous();
  const auto* g = flat.data<double>();
  if (single()) return g[element_];
  double sum = 0;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (all_[i] != 0) sum += all_[i] * g[i];
  }
  return sum;
}

double Direction::bar(const Tensor& gradient, const std::vector<double>& bars) const {
  if (single()) return bars[static_cast<std::size_t>(element_)];
  const Tensor flat = gradient.contiguous();
  const auto* g = flat.data<double>();
  double sum = 0, terms = 0, count = 0;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (all_[i] == 0) continue;
    sum += std::abs(all_[i]) * bars[i];
    terms += std::abs(all_[i] * g[i]);
    ++count;
  }
  return sum + count * kEpsilon * terms;
}

Tensor Direction::dense(const Shape& shape) const {
  if (!single()) return Tensor::from(all_, shape);
  const Tensor d = Tensor::zeros(f64, shape);
  d.mutable_data<double>()[element_] = 1;
  return d;
}

Tensor Direction::moved(const Tensor& x, double& step) const {
  Tensor result = x.copy();
  auto* v = result.mutable_data<double>();
  if (single()) {
    const double before = v[element_];
    v[element_] += step;
    step = v[element_] - before;
  } else {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (all_[i] != 0) v[i] += step * all_[i];
    }
  }
  return result;
}

Loss::Loss(std::vector<Expr> outputs, std::vector<Binding> bindings, std::uint64_t seed)
    : outputs_(with_stops_fixed(outputs, bindings)), bindings_(std::move(bindings)) {
  RoundingNotes notes;
  values_ = with_bounds(outputs_, bindings_, {}, &notes);
  flipped_ = notes.flipped;
  for (std::size_t o = 0; o < values_.size(); ++o) {
    const Tensor& y = values_[o].value;
    const Tensor c = random_normal(f64, y.shape(), 0, 1, {seed, ~static_cast<std::uint64_t>(o)});
    const auto* value = y.data<double>();
    auto* weight = c.mutable_data<double>();
    std::int64_t special = 0;
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      if (!std::isfinite(value[i])) {
        weight[i] = 0;
        ++special;
      } else {
        magnitude_ += std::abs(weight[i] * value[i]);
        terms_ +=
            std::abs(weight[i]) *
            std::max(std::abs(value[i]), kPerBar * values_[o].bars[static_cast<std::size_t>(i)]);
      }
    }
    cotangents_.push_back(c);
    left_out_.push_back(special);
  }
  std::vector<Expr> inputs;
  for (const auto& [x, value] : bindings_) inputs.push_back(x);
  executable_ = compile(inputs, outputs_, CompileOptions::plain());
}

std::int64_t Loss::elements() const {
  return std::transform_reduce(values_.begin(), values_.end(), std::int64_t{0}, std::plus<>(),
                               [](const Bounded& y) { return y.value.numel(); });
}

std::optional<std::vector<Tensor>> Loss::values(std::size_t k, const Tensor& moved) const {
  std::vector<Tensor> inputs;
  for (const auto& [x, value] : bindings_) inputs.push_back(value);
  inputs[k] = moved;
  try {
    return (*executable_)(inputs);
  } catch (const Error&) {
    return {};
  }
}

Change Loss::change(std::size_t k, const Direction& d, double step) const {
  Change change;
  change.step = step;
  const auto moved = values(k, d.moved(bindings_[k].second, change.step));
  if (!moved || change.step == 0) return change;
  for (std::size_t o = 0; o < moved->size(); ++o) {
    const auto *now = (*moved)[o].data<double>(), *before = values_[o].value.data<double>();
    const auto* weight = cotangents_[o].data<double>();
    const std::int64_t n = values_[o].value.numel();
    for (std::int64_t i = 0; i < n; ++i) {
      const double weight_of = std::abs(weight[i]);
      if (weight_of == 0 && same_number(now[i], before[i])) continue;
      if (!std::isfinite(now[i]) || !std::isfinite(before[i])) return change;
      change.value += weight[i] * (now[i] - before[i]);
      // Equal bits do not mean that nothing changed: what did may have been rounded away.
      const double bar = values_[o].bars[static_cast<std::size_t>(i)];
      const double growth = std::max(1.0, std::abs(now[i]) / std::abs(before[i]));
      const double moved_bar = std::isfinite(growth) ? bar * growth : bar;
      change.noise += weight_of * (bar + std::max(moved_bar, 4 * kEpsilon * std::abs(now[i])));
    }
  }
  if (!d.single()) change.noise += 2 * kEpsilon * std::abs(change.value);
  change.usable = std::isfinite(change.value);
  return change;
}

Derivative Loss::derivative(std::size_t k, const Direction& d, double scale,
                            double widening) const {
  const Tensor& x = bindings_[k].second;
  const double distance = distance_to_zero(x, d);
  double first = kFirstStep * widening, second = 0;
  if (d.single() && distance < std::numeric_limits<double>::infinity()) {
    first *= std::max(1.0, distance);
    if (distance < kSmallest) second = kFirstStep * widening * distance;
  }
  const auto along = [&](double step) { return change(k, d, step); };
  const Derivative found = differentiate(along, first, std::max(kSmallest, distance / 2), scale);
  if (second == 0) return found;
  const Derivative finer = differentiate(along, second, second, scale);
  if (!finer.found) return found;
  const bool contradicts = std::abs(finer.value - found.value) > finer.error + found.error;
  return !found.found || finer.error < found.error || contradicts ? finer : found;
}

}  // namespace fovea
