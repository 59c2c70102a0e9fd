// Samples and rejects: the calls on which every op is tested.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fovea/tensor/tensor.h"

namespace fovea {

struct Key;  // tensor/random.h

/// How an input of a sample is made. Null (`if (arg)` is false) stands for an optional input that
/// is left out.
///
/// A float input follows the run: laws draw the same values as f64 and as f32.
struct Arg {
  enum class Kind { none, normal, uniform, spread, integers, bernoulli, values };

  Kind kind = Kind::none;
  Shape shape = {};
  DType dtype = f64;  ///< f64 means: the float type of the run
  double low = 0, high = 1;
  std::vector<double> numbers = {};

  explicit operator bool() const { return kind != Kind::none; }
};

namespace arg {

/// Standard normal floats.
inline Arg normal(const Shape& shape) { return {.kind = Arg::Kind::normal, .shape = shape}; }
/// Floats in [low, high): for functions with a limited domain.
inline Arg uniform(const Shape& shape, double low, double high) {
  return {.kind = Arg::Kind::uniform, .shape = shape, .low = low, .high = high};
}
/// Floats in random order that differ from each other and from 0 by 0.25 and more: for functions
/// with kinks and ties.
inline Arg spread(const Shape& shape) { return {.kind = Arg::Kind::spread, .shape = shape}; }
/// i64 in [low, high).
inline Arg integers(const Shape& shape, std::int64_t low, std::int64_t high) {
  return {.kind = Arg::Kind::integers,
          .shape = shape,
          .dtype = i64,
          .low = static_cast<double>(low),
          .high = static_cast<double>(high)};
}
/// bool, true with probability `p`.
inline Arg bernoulli(const Shape& shape, double p = 0.5) {
  return {.kind = Arg::Kind::bernoulli, .shape = shape, .dtype = boolean, .high = p};
}
/// Exactly these, row-major.
inline Arg values(std::vector<double> numbers, const Shape& shape, DType dtype = f64) {
  return {.kind = Arg::Kind::values, .shape = shape, .dtype = dtype, .numbers = std::move(numbers)};
}

}  // namespace arg

/// The tensor that `arg` describes, with `real` (f32 or f64) as its float type; the same values for
/// both, rounded.
Tensor make_tensor(const Arg& arg, DType real, Key key);

/// A call on which every law holds: attributes, inputs, and what it is about.
template <class Op>
struct Sample {
  // Constructors, not default initialisers: those crash g++ 12 here.
  Sample(Op o, typename Op::template In<Arg> i, std::string n = std::string())
      : op(std::move(o)), in(std::move(i)), note(std::move(n)) {}

  Op op;
  typename Op::template In<Arg> in;
  std::string note;
};

/// A call that must be refused, and a part of the text of the refusal.
template <class Op>
struct Reject {
  Reject(Op o, typename Op::template In<Arg> i, std::string t)
      : op(std::move(o)), in(std::move(i)), text(std::move(t)) {}

  Op op;
  typename Op::template In<Arg> in;
  std::string text;
};

}  // namespace fovea
