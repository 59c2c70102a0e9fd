// The contract of an op, with types erased: what graphs, executors, loaders and checkers use.
//
// Nobody derives from Op by hand. An op is a plain struct (softmax.h has a complete one), and
// define.h makes the Op of it. The struct says
//
//   static constexpr std::string_view name, doc;
//       what models call it; what it computes, in one line
//
//   template <class T> using In, Out;
//       bundles (bundle.h): inputs and outputs, with a line about each where `doc` does not do
//
//   data members, static constexpr std::tuple attributes;
//       attributes (attributes.h), if any
//
//   Out<TensorSpec> infer(const In<TensorSpec>&) const;
//       shape rule, throws Error; without one, that of the decomposition
//
//   static std::vector<Sample<Op>> samples();
//   static std::vector<Reject<Op>> rejects();
//       at least two calls that must work and one that must be refused (sample.h)
//
// and how it is computed, one of
//
//   void forward(Context&, const In<Tensor>&, Out<Tensor>&) const;
//       writes every element of each output that is not null; inputs may be strided, outputs are
//       row-major
//
//   Tensor view(const Tensor& x) const;
//       the result as a view of the first input, or a null Tensor where the strides of x allow
//       none (x is made row-major then)
//
//   Out<Expr> decomposition(const In<Expr>&) const;
//       the same said with other ops; beside a forward it is the reference in tests
//
// and, where they apply,
//
//   In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
//       gradients of the inputs, null for none; entries of `d` without a cotangent are null.
//       Without it, gradients come from the decomposition
//
//   bool vjp_covers(const Out<Expr>& d) const;
//       whether vjp is the rule for these cotangents; for others gradients come from the
//       decomposition. Without it, vjp is the rule for all
//
//   Out<Expr> jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const;
//       tangents of the outputs; null entries of `t` are zero. Only for ops that are neither
//       linear nor elementwise and have no decomposition
//
//   std::size_t workspace(const In<TensorSpec>&) const;
//       bytes of scratch that forward will ask for
//
//   double flops(const In<TensorSpec>&) const;
//       floating-point operations of forward, for those who compare models: an addition and a
//       multiplication are two. Without it: those of the decomposition; else none for a view, one
//       for each element of the result of an elementwise op, one for each element of the largest
//       operand or result of any other
//
//   static constexpr bool broadcasts = true;
//       gradients are summed down to their inputs' shapes by the engine
//
//   static constexpr Linear linear = Linear::jointly;
//       or `each`: linear in each float input while the others are fixed
//
//   static constexpr bool overwrites = true;
//       forward may be given an output that is one of its inputs, of equal shape and dtype
//
//   static constexpr bool stops_gradient = true;
//       its outputs count as constants: neither gradients nor tangents pass, and gradient checks
//       hold them fixed
//
//   static constexpr std::string_view no_second_derivative = "why";
//
//   static constexpr std::array<std::string_view, n> reserved_inputs, reserved_attributes;
//       names that will mean something one day: the message for them says so
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/ops/attributes.h"
#include "fovea/ops/bundle.h"
#include "fovea/ops/expr.h"
#include "fovea/ops/sample.h"

namespace fovea {

enum class Linear { no, jointly, each };

/// What forward may use besides its inputs. One call at a time uses a context.
class Context {
 public:
  Context() = default;
  /// At least `bytes` bytes, 64-byte aligned, unspecified content, valid until the context's next
  /// use. Kept and reused: asking again for no more costs nothing.
  std::byte* scratch(std::size_t bytes);

 private:
  Tensor memory_;
};

/// One operand of an elementwise kernel: `n` elements, or one for all of them.
struct TileOperand {
  const void* data;
  bool single;  ///< every element is data[0]
};

/// An elementwise op on a run of `n` elements: out[i] = f(in[0][i], in[1][i], …). `out` may be one
/// of the operands.
struct TileKernel {
  void (*run)(const void* self, std::int64_t n, const TileOperand* in, void* out) = nullptr;
  const void* self = nullptr;  ///< the op's struct

  explicit operator bool() const { return run != nullptr; }
};

/// An input or output of an op.
struct Slot {
  std::string_view name;
  Arity arity = Arity::required;
  std::string_view doc = {};  ///< empty where the op's own doc says all
};

class OpType;

/// A call of an op's forward that an executor keeps: lists are unpacked once, and running it copies
/// no tensors. The op outlives it.
class Call {
 public:
  Call() = default;
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  virtual void run(Context& context) = 0;
  /// What it reads, then what it writes, in the op's order, for rebinding between runs; null where
  /// an optional input or an unwanted output is left out.
  virtual std::vector<Tensor*> tensors() = 0;
};

/// An op with its attributes: immutable, shared by the nodes that apply it. Inputs and outputs are
/// flat lists in the bundle's order; an optional input that is left out is null (empty).
class Op {
 public:
  using MaybeSpec = std::optional<TensorSpec>;

  virtual ~Op() = default;
  Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  virtual const OpType& type() const = 0;
  virtual AttributeMap attributes() const = 0;

  /// Throws Error if the op refuses these inputs.
  virtual std::vector<TensorSpec> infer(std::span<const MaybeSpec> in) const = 0;
  /// Null outputs are not computed.
  virtual void forward(Context& context, std::span<const Tensor> in,
                       std::span<Tensor> out) const = 0;
  /// `forward` on these tensors, to be run again and again.
  virtual std::unique_ptr<Call> prepare(std::span<const Tensor> in,
                                        std::span<const Tensor> out) const;
  virtual std::vector<Expr> vjp(std::span<const Expr> in, std::span<const Expr> out,
                                std::span<const Expr> d) const = 0;
  /// Whether `vjp` is the rule for these cotangents (null: none); else the decomposition's is used.
  virtual bool vjp_covers(std::span<const Expr> d) const = 0;
  virtual std::vector<Expr> jvp(std::span<const Expr> in, std::span<const Expr> out,
                                std::span<const Expr> tangents) const = 0;
  virtual std::vector<Expr> decomposition(std::span<const Expr> in) const = 0;
  virtual Tensor view(const Tensor& x) const = 0;
  virtual std::size_t workspace(std::span<const MaybeSpec> in) const = 0;
  /// Floating-point operations of forward.
  virtual double flops(std::span<const MaybeSpec> in) const = 0;
  /// For inputs of these dtypes; null if the op is not elementwise.
  virtual TileKernel tile_kernel(std::span<const DType> in) const = 0;
};

/// Throws Error unless as many inputs are given as the op has, the required ones among them.
void check_arity(const OpType& type, std::span<const Op::MaybeSpec> in);

/// A sample or reject with its types erased.
struct AnySample {
  std::shared_ptr<const Op> op;
  std::vector<Arg> in;
  std::string text;  ///< a sample's note, a reject's text
};

/// What all ops of one name share; made once by `op_type`, lives as long as the process.
class OpType {
 public:
  std::string_view name, doc;
  std::vector<Slot> inputs, outputs;
  std::vector<AttributeInfo> attributes;
  bool has_infer = false, has_forward = false, has_vjp = false, has_jvp = false;
  bool has_decomposition = false, has_view = false, elementwise = false;
  bool broadcasts = false, overwrites = false, stops_gradient = false;
  Linear linear = Linear::no;
  std::string_view no_second_derivative;
  std::span<const std::string_view> reserved_inputs, reserved_attributes;
  /// Throws Error with one Diagnostic for each wrong attribute, placed `/attrs/NAME`.
  std::function<std::shared_ptr<const Op>(const AttributeMap&)> make;
  std::function<std::vector<AnySample>()> samples, rejects;

  bool variadic() const { return !inputs.empty() && inputs.back().arity == Arity::variadic; }
  /// Whether the last output is any number of them; the attributes say how many.
  bool variadic_outputs() const {
    return !outputs.empty() && outputs.back().arity == Arity::variadic;
  }
};

// Both are defined where the op is, by `define.h`.
template <class A>
const OpType& op_type();
template <class A>
std::shared_ptr<const Op> make_op(const A& a);

/// Applies an op's struct to expressions.
template <class A>
typename A::template Out<Expr> apply(const A& a, const typename A::template In<Expr>& in,
                                     const Location& at) {
  return unflatten<A::template Out>(apply(make_op(a), flatten(in), at));
}

namespace eval {

/// Computes an op at once. `wanted[i]` false leaves output i null; empty means all.
std::vector<Tensor> apply(const Op& op, std::span<const Tensor> in, std::vector<bool> wanted = {});

template <class A>
typename A::template Out<Tensor> apply(const A& a, const typename A::template In<Tensor>& in,
                                       std::vector<bool> wanted = {}) {
  return unflatten<A::template Out>(apply(*make_op(a), flatten(in), std::move(wanted)));
}

}  // namespace eval

}  // namespace fovea
