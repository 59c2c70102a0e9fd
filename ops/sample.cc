#include "fovea/ops/sample.h"

#include <utility>

#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

// 0.3 m plus up to 0.05, m = ±1, ±2, …, shuffled (Fisher and Yates).
Tensor spread(const Shape& shape, DType dtype, Key key) {
  const std::int64_t n = shape.numel();
  const Tensor jitter = random_uniform(f64, {n}, 0, 0.05, {key.seed, key.stream ^ 1});
  const Tensor order = random_uniform(f64, {n}, 0, 1, {key.seed, key.stream ^ 2});
  const Tensor values = Tensor::empty(f64, shape);
  auto* v = values.mutable_data<double>();
  for (std::int64_t i = 0; i < n; ++i) {
    const double size = 0.3 * static_cast<double>(i / 2 + 1) + jitter.data<double>()[i];
    v[i] = i % 2 == 0 ? size : -size;
  }
  for (std::int64_t i = n; i-- > 1;) {
    const auto j = static_cast<std::int64_t>(order.data<double>()[i] * static_cast<double>(i + 1));
    std::swap(v[i], v[j]);
  }
  return values.astype(dtype);
}

}  // namespace

Tensor make_tensor(const Arg& arg, DType real, Key key) {
  const DType dtype = arg.dtype == f64 ? real : arg.dtype;
  switch (arg.kind) {
    case Arg::Kind::none:
      return {};
    case Arg::Kind::normal:
      return random_normal(f64, arg.shape, 0, 1, key).astype(dtype);
    case Arg::Kind::uniform:
      return random_uniform(f64, arg.shape, arg.low, arg.high, key).astype(dtype);
    case Arg::Kind::spread:
      return spread(arg.shape, dtype, key);
    case Arg::Kind::integers:
      return random_integers(arg.shape, static_cast<std::int64_t>(arg.low),
                             static_cast<std::int64_t>(arg.high), key);
    case Arg::Kind::bernoulli:
      return random_bernoulli(arg.shape, arg.high, key);
    case Arg::Kind::values:
      break;
  }
  return Tensor::from(arg.numbers, arg.shape).astype(dtype);
}

}  // namespace fovea
