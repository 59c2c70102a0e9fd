// Compiled graphs: a plan of steps over one arena of memory, run as often as wanted.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fovea/ops/expr.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// Frozen weights in the layout that the kernels read, made once. Executables that are compiled
/// with one of these, or with copies of it, share what it holds; the last of them frees it.
class PackedWeights {
 public:
  PackedWeights();
  /// Of what is in use.
  std::size_t bytes() const;

  struct State;
  State& state() const { return *state_; }

 private:
  std::shared_ptr<State> state_;
};

/// Which passes `compile` makes. Results are the same without them, up to rounding where a composed
/// attention becomes the fused op and bit for bit elsewhere.
struct CompileOptions {
  bool fold_constants = true;    ///< compute once what depends on constants only
  bool merge_equal = true;       ///< equal ops on equal inputs become one
  bool fuse_attention = true;    ///< matmul, scale, mask, softmax, matmul become `attention`
  bool fuse_elementwise = true;  ///< elementwise chains make one pass over memory
  bool fuse_epilogues = true;    ///< what follows a matmul elementwise is done while it is in cache
  bool pack_frozen = true;       ///< frozen right operands of matmul are packed once
  bool overwrite = true;  ///< results may take the place of operands that nobody needs any more
  /// Inputs whose values are known and never change (weights); they are not inputs of the
  /// Executable.
  std::vector<std::pair<Expr, Tensor>> frozen = {};
  /// Where packed forms of frozen weights are kept.
  PackedWeights packed = {};
  /// What the packed forms that this Executable uses may take together, in bytes; weights beyond
  /// that are read as they are.
  std::size_t most_packed = static_cast<std::size_t>(-1);

  /// Every pass switched off.
  static CompileOptions plain();
};

/// A compiled graph. Immutable; copies share it; any number of threads may call one at once, each
/// call then takes a frame of memory of its own, which is kept for later calls. After its first
/// call with a frame, a call allocates nothing but the outputs that it returns, and nothing at all
/// when the caller passes memory for them.
class Executable {
 public:
  /// Tensors in the order given to `compile`; the results in theirs, in new memory. Throws Error
  /// unless shapes and dtypes are those of the inputs. Inputs that are not row-major are copied.
  std::vector<Tensor> operator()(std::span<const Tensor> inputs) const;
  std::vector<Tensor> operator()(std::initializer_list<Tensor> inputs) const {
    return (*this)(std::span(inputs.begin(), inputs.size()));
  }
  /// The same into the caller's tensors, which may be strided, and may share memory with inputs
  /// (these are read first) or with each other (the later one wins). When it throws, their contents
  /// are unspecified.
  void run(std::span<const Tensor> inputs, std::span<const Tensor> outputs) const;

  std::span<const TensorSpec> inputs() const;
  std::span<const TensorSpec> outputs() const;

  /// Bytes of one call: intermediate values, scratch and outputs, without inputs and constants.
  std::size_t peak_bytes() const;
  /// One line for each step (op, where it comes from, result, memory), and for each attention node
  /// which path it takes and why.
  std::string explain() const;

  struct Plan;
  explicit Executable(std::shared_ptr<const Plan> plan);

 private:
  std::shared_ptr<const Plan> plan_;
};

/// Throws Error if an input is not one made by `input()`, stands twice, or is missing though an
/// output needs it.
Executable compile(std::span<const Expr> inputs, std::span<const Expr> outputs,
                   const CompileOptions& options = {});
Executable compile(std::initializer_list<Expr> inputs, std::initializer_list<Expr> outputs,
                   const CompileOptions& options = {});

}  // namespace fovea
