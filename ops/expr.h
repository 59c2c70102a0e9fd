// Expressions: immutable graphs of ops, built by calling functions.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/tensor.h"

namespace fovea {

class Op;
class Node;

/// Where an expression was made: a line of C++, or a place in a model file.
class Location {
 public:
  Location() = default;
  Location(const std::source_location& source) : source_(source) {}
  explicit Location(std::string place);

  /// `layer.cc:42`, `model.json:14:5: /nodes/3`, or empty.
  std::string text() const;

 private:
  std::source_location source_;
  std::shared_ptr<const std::string> place_;
};

/// While it lives, expressions made on this thread are located there, whatever line makes them.
class LocationScope {
 public:
  explicit LocationScope(Location location);
  ~LocationScope();
  LocationScope(const LocationScope&) = delete;
  LocationScope& operator=(const LocationScope&) = delete;

  /// The innermost scope's location, or `fallback` outside any.
  static Location resolve(const Location& fallback);

 private:
  Location location_;
  const Location* outer_;
};

/// A cheap handle to one output of an immutable node. Shape and dtype are known and checked when it
/// is made. A default-constructed Expr is null: it stands for "none" and has neither.
class Expr {
 public:
  Expr() = default;
  Expr(std::shared_ptr<const Node> node, std::int64_t output = 0)
      : node_(std::move(node)), output_(output) {}

  explicit operator bool() const { return node_ != nullptr; }
  const TensorSpec& spec() const;
  const Shape& shape() const { return spec().shape; }
  DType dtype() const { return spec().dtype; }
  std::int64_t rank() const { return shape().rank(); }

  const Node& node() const { return *node_; }
  const std::shared_ptr<const Node>& node_pointer() const { return node_; }
  std::int64_t output() const { return output_; }

  /// Whether both are the same output of the same node (not: whether they are equal in value).
  friend bool same(const Expr& a, const Expr& b) {
    return a.node_ == b.node_ && a.output_ == b.output_;
  }

 private:
  std::shared_ptr<const Node> node_;
  std::int64_t output_ = 0;
};

/// An input, a constant, or an op applied to expressions. Immutable and shared; destroyed without
/// recursion.
class Node : public std::enable_shared_from_this<Node> {
 public:
  enum class Kind { input, constant, op };

  Node(std::string name, TensorSpec spec, Location location);
  Node(Tensor value, Location location);
  Node(std::shared_ptr<const Op> op, std::vector<Expr> inputs, std::vector<TensorSpec> outputs,
       Location location);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  Kind kind() const { return kind_; }
  /// Of an input.
  const std::string& name() const { return name_; }
  /// Of a constant.
  const Tensor& value() const { return value_; }
  /// Of an op.
  const Op& op() const { return *op_; }
  const std::shared_ptr<const Op>& op_pointer() const { return op_; }
  /// An optional input that was left out is a null Expr.
  std::span<const Expr> inputs() const { return inputs_; }
  std::span<const TensorSpec> outputs() const { return outputs_; }
  const Location& location() const { return location_; }

 private:
  Kind kind_;
  std::string name_;
  Tensor value_;
  std::shared_ptr<const Op> op_;
  std::vector<Expr> inputs_;
  std::vector<TensorSpec> outputs_;
  Location location_;
};

/// A value given when the graph runs. Each call makes a new input; names need not differ.
Expr input(std::string name, DType dtype, const Shape& shape,
           std::source_location at = std::source_location::current());

/// A value that is part of the graph. The tensor's memory is shared and must not change any more.
Expr constant(Tensor value, std::source_location at = std::source_location::current());
/// A scalar.
Expr constant(DType dtype, double value, std::source_location at = std::source_location::current());

/// Applies `op`. Throws Error, with the place, if the op refuses its inputs. A null Expr leaves an
/// optional input out.
std::vector<Expr> apply(std::shared_ptr<const Op> op, std::vector<Expr> inputs, const Location& at);

/// Every node that the outputs reach, each after its inputs; the same order on every run.
std::vector<const Node*> topological_order(std::span<const Expr> outputs);

/// An operand of `+ - * /`: an expression, or a number that takes the other operand's dtype.
class Operand {
 public:
  /// Throws Error if `expr` is null.
  Operand(const Expr& expr, std::source_location at = std::source_location::current());
  template <class Number>
  requires std::integral<Number> || std::floating_point<Number> Operand(
      Number value, std::source_location at = std::source_location::current())
      : value_(static_cast<double>(value)), location_(at) {}

  /// This operand beside `other`. Throws Error if both are numbers.
  Expr beside(const Operand& other) const;
  const Location& location() const { return location_; }

 private:
  Expr expr_;
  double value_ = 0;
  Location location_;
};

// Elementwise, with NumPy broadcasting; dtypes of both operands are equal.
Expr operator+(const Operand& a, const Operand& b);
Expr operator-(const Operand& a, const Operand& b);
Expr operator*(const Operand& a, const Operand& b);
Expr operator/(const Operand& a, const Operand& b);
Expr operator-(const Operand& a);

}  // namespace fovea
