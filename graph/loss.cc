#include "fovea/graph/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kFirstStep = 0x1p-4;

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
  return std::transform_reduce(all_.begin(), all_.end(), g, 0.0);
}

Tensor Direction::moved(const Tensor& x, double& step) const {
  Tensor result = x.copy();
  auto* v = result.mutable_data<double>();
  if (single()) {
    const double before = v[element_];
    v[element_] += step;
    step = v[element_] - before;
  } else {
    for (std::size_t i = 0; i < all_.size(); ++i) v[i] += step * all_[i];
  }
  return result;
}

Loss::Loss(std::vector<Expr> outputs, std::vector<Binding> bindings, std::uint64_t seed)
    : outputs_(std::move(outputs)), bindings_(std::move(bindings)) {
  values_ = evaluate(outputs_, bindings_);
  for (std::size_t o = 0; o < values_.size(); ++o) {
    values_[o] = values_[o].contiguous();
    const Tensor& y = values_[o];
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
      }
    }
    cotangents_.push_back(c);
    left_out_.push_back(special);
  }
}

std::int64_t Loss::elements() const {
  return std::transform_reduce(values_.begin(), values_.end(), std::int64_t{0}, std::plus<>(),
                               [](const Tensor& y) { return y.numel(); });
}

Change Loss::change(std::size_t k, const Direction& d, double step) const {
  Change change;
  change.step = step;
  std::vector<Binding> bindings = bindings_;
  bindings[k].second = d.moved(bindings_[k].second, change.step);
  const std::vector<Tensor> moved = evaluate(outputs_, bindings);
  double noise = 0;
  for (std::size_t o = 0; o < moved.size(); ++o) {
    const Tensor y = moved[o].contiguous();
    const auto *now = y.data<double>(), *before = values_[o].data<double>();
    const auto* weight = cotangents_[o].data<double>();
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      if (!std::isfinite(now[i]) || !std::isfinite(before[i])) {
        if (!same_number(now[i], before[i])) return change;
        continue;
      }
      change.value += weight[i] * (now[i] - before[i]);
      noise += std::abs(weight[i]) * (std::abs(now[i]) + std::abs(before[i]));
    }
  }
  change.noise = 2 * kEpsilon * noise;
  // An element's step is known exactly; along a direction every element's is rounded.
  if (!d.single()) {
    change.noise += kEpsilon * largest(bindings_[k].second) * std::abs(change.value / step);
  }
  change.usable = std::isfinite(change.value) && change.step != 0;
  return change;
}

Derivative Loss::derivative(std::size_t k, const Direction& d, double scale) const {
  double first = kFirstStep;
  if (d.single()) {
    const Tensor x = bindings_[k].second.contiguous();
    Tensor position = x.reshape({x.numel()});
    first *= std::max(1.0, std::abs(d.dot(position)));
  }
  return differentiate([&](double step) { return change(k, d, step); }, first, scale);
}

}  // namespace fovea
