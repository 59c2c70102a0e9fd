// Comparing tensors with numbers.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "fovea/graph/gradients.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"
#include "fovea/tensor/tensor.h"

namespace fovea::test {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Numbers = std::vector<double>;

inline Numbers numbers_of(const Tensor& t) {
  const Tensor wide = t.astype(f64);
  return wide.to_vector<double>();
}

/// Shape and elements; NaN equals NaN. `tolerance` is relative to 1 + |expected|.
inline void check(const Tensor& t, const Shape& shape, const Numbers& expected,
                  double tolerance = 0) {
  CHECK_MESSAGE(t.shape() == shape, to_string(t.shape()));
  const Numbers got = numbers_of(t);
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool equal = got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i])) ||
                       std::abs(got[i] - expected[i]) <= tolerance * (1 + std::abs(expected[i]));
    CHECK_MESSAGE(equal, "element " << i << ": " << got[i] << ", expected " << expected[i]);
  }
}

inline Tensor doubles(const Numbers& values, const Shape& shape) {
  return Tensor::from(values, shape);
}
inline Tensor floats(const Numbers& values, const Shape& shape) {
  return doubles(values, shape).astype(f32);
}
inline Tensor integers(const std::vector<std::int64_t>& values, const Shape& shape) {
  return Tensor::from(values, shape);
}
inline Tensor bools(const std::vector<bool>& values, const Shape& shape) {
  return Tensor::from(values, shape);
}

/// Gradients of f(x...) for the cotangent `d`.
inline std::vector<Tensor> gradients_at(const std::function<Expr(const std::vector<Expr>&)>& f,
                                        const std::vector<Tensor>& x, const Tensor& d) {
  std::vector<Expr> in;
  std::vector<Binding> bindings;
  for (const Tensor& t : x) {
    in.push_back(input("x", t.dtype(), t.shape()));
    bindings.emplace_back(in.back(), t);
  }
  const Expr y = f(in), cotangent = constant(d);
  std::vector<Expr> floats_in;
  for (const Expr& e : in) {
    if (is_float(e.dtype())) floats_in.push_back(e);
  }
  return evaluate(gradients(std::span(&y, 1), floats_in, std::span(&cotangent, 1)), bindings);
}

/// The text of the Error that `f` throws, or nothing.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.diagnostics().front().op + ": " + error.diagnostics().front().text;
  }
  return "";
}

}  // namespace fovea::test
