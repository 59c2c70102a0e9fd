// A graph's outputs multiplied by random cotangents, as a function of one input at a time. Internal
// to the gradient checker.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/graph/numeric.h"
#include "fovea/graph/rounding.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"

namespace fovea {

/// `[1, 2]`: where the element `flat` (row-major) of `shape` is.
std::string index_text(const Shape& shape, std::int64_t flat);

/// Equal numbers, or both NaN.
bool same_number(double a, double b);

/// Whether f32 has this number too.
bool is_f32_number(double x);

/// Largest finite |x|, or 0.
double largest(const Tensor& x);

/// A direction d in the space of one input's elements: one of them, or many.
class Direction {
 public:
  static Direction element(const Shape& shape, std::int64_t index);
  static Direction through_all(std::string label, std::vector<double> d);

  /// `[0, 3]`, or the label.
  const std::string& label() const { return label_; }
  bool single() const { return element_ >= 0; }
  /// Flat index; negative unless `single`.
  std::int64_t index() const { return element_; }
  /// ‖d‖₁ and ‖d‖₂.
  double norm1() const;
  double norm2() const;
  double dot(const Tensor& gradient) const;
  /// A bound of the error in `dot`, where `bars` bound those in the gradient's elements.
  double bar(const Tensor& gradient, const std::vector<double>& bars) const;
  /// As a tensor of this shape, in f64.
  Tensor dense(const Shape& shape) const;
  /// x + step · d; x is f64 and row-major. The step really taken is put into `step`.
  Tensor moved(const Tensor& x, double& step) const;

 private:
  std::string label_;
  std::int64_t element_ = -1;
  std::vector<double> all_;
};

/// L = Σ c·y over f64 outputs y, with normal random c. Where an output is not finite, c is 0.
class Loss {
 public:
  /// `bindings` give all inputs, in f64 where they are floats. Throws Error as `evaluate` does.
  Loss(std::vector<Expr> outputs, std::vector<Binding> bindings, std::uint64_t seed);

  const std::vector<Expr>& outputs() const { return outputs_; }
  const std::vector<Binding>& bindings() const { return bindings_; }
  /// One for each output.
  const std::vector<Tensor>& cotangents() const { return cotangents_; }
  /// Σ |c||y|.
  double magnitude() const { return magnitude_; }
  /// About Σ |c| times what was added up to y: larger than `magnitude` where y cancels.
  double terms() const { return terms_; }
  /// What rounding may decide otherwise (RoundingNotes), which makes wide error bars.
  const std::string& flipped() const { return flipped_; }
  /// Of values that are not finite.
  const std::vector<std::int64_t>& left_out() const { return left_out_; }
  std::int64_t elements() const;

  /// The outputs with bindings[k] moved. Null where the graph refuses the values.
  std::optional<std::vector<Tensor>> values(std::size_t k, const Tensor& moved) const;
  /// L at bindings[k] + step · d, minus L. Not usable where an output becomes finite or stops being
  /// so.
  Change change(std::size_t k, const Direction& d, double step) const;
  /// dL/d(step) at 0. The first step is `widening` times the usual one.
  Derivative derivative(std::size_t k, const Direction& d, double scale, double widening = 1) const;

 private:
  std::vector<Expr> outputs_;
  std::vector<Binding> bindings_;
  std::vector<Bounded> values_;
  std::vector<Tensor> cotangents_;
  std::vector<std::int64_t> left_out_;
  std::optional<Executable> executable_;
  double magnitude_ = 0, terms_ = 0;
  std::string flipped_;
};

}  // namespace fovea
