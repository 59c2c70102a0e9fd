// What the checks of the laws share: a sample made into tensors and expressions, comparisons, and
// the place where findings go. Internal to the law runner.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fovea/graph/laws.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/op.h"

namespace fovea {

/// Receives what a check finds for one law.
class LawSink {
 public:
  LawSink(LawReport& report, int law, std::string op, std::string sample)
      : report_(report), law_(law), op_(std::move(op)), sample_(std::move(sample)) {}

  void ran() { ++report_.cases[static_cast<std::size_t>(law_ - 1)]; }
  void broken(std::string text) {
    report_.failures.push_back({law_, op_, sample_, std::move(text)});
  }

 private:
  LawReport& report_;
  int law_;
  std::string op_, sample_;
};

/// Thrown where a forward wrote to memory that is not its own. Nothing that such an op computes can
/// be believed, and running it elsewhere would damage what is there.
class Trespass : public std::runtime_error {
 public:
  Trespass(int law, const std::string& text) : std::runtime_error(text), law_(law) {}
  /// The number of the law that is broken.
  int law() const { return law_; }

 private:
  int law_;
};

/// What an op's forward gives for `values` (null for those left out) in fresh row-major memory
/// between guards, filled with a pattern (GuardedOutput) before; only output `only`, or all when
/// that is negative. Throws Trespass if it writes beyond an output or changes an input.
std::vector<Tensor> guarded_forward(const Op& op, const std::vector<Tensor>& values,
                                    int pattern = 0, std::int64_t only = -1);

/// One sample of an op, ready to be computed and differentiated.
class SampleRun {
 public:
  /// Throws Error if the op refuses the sample, Trespass as `guarded_forward` does.
  SampleRun(const OpType& type, const AnySample& sample, std::uint64_t seed, std::size_t index);

  const OpType& type() const { return type_; }
  const Op& op() const { return *op_; }
  std::uint64_t seed() const { return seed_; }

  /// The inputs' values with f64 or f32 as their float type; null for those left out.
  const std::vector<Tensor>& values(DType real) const { return real == f64 ? wide_ : narrow_; }
  std::vector<Tensor> forward(const std::vector<Tensor>& values) const {
    return guarded_forward(*op_, values);
  }
  const std::vector<Tensor>& results(DType real) const {
    return real == f64 ? wide_results_ : narrow_results_;
  }

  /// f64 inputs (null for those left out), the op applied to them, and their values.
  const std::vector<Expr>& in() const { return in_; }
  const std::vector<Expr>& out() const { return out_; }
  const std::vector<Binding>& bindings() const { return bindings_; }
  /// What is differentiated: the float inputs, and those float outputs (if any) that the op's own
  /// gradient rule covers together.
  const std::vector<Expr>& wrt() const { return wrt_; }
  const std::vector<Expr>& float_out() const { return float_out_; }
  /// Whether gradients are to be expected.
  bool differentiable() const;

  /// Inputs for a cotangent of each of these outputs, and random values for them: 0 where an output
  /// is not finite.
  const std::vector<Expr>& cotangents() const { return cotangents_; }
  std::vector<Binding> with_cotangents(std::uint64_t stream, double factor = 1) const;

  /// |Σ_i x_i ∂y/∂x_i| for each output element, largest over random signs of the x_i: how far a
  /// result moves, relative to a relative error of the inputs.
  const std::vector<std::vector<double>>& conditions() const;
  /// Differences that rounding in arithmetic of type `real` allows between two results of output
  /// `o`: 64 ε (|y| + condition) for each element.
  std::vector<double> rounding(std::size_t o, DType real) const;

 private:
  void choose_outputs();

  const OpType& type_;
  std::shared_ptr<const Op> op_;
  std::uint64_t seed_;
  std::vector<Tensor> wide_, narrow_, wide_results_, narrow_results_;
  std::vector<Expr> in_, out_, wrt_, float_out_, cotangents_;
  std::vector<Binding> bindings_;
  mutable std::vector<std::vector<double>> conditions_;
};

/// Memory for an output, filled with a pattern, between two guards that nobody may write: a page
/// and more, so that what an op writes too far does no harm.
class GuardedOutput {
 public:
  /// Patterns 0 and 1 differ in every element; 0 is NaN for floats.
  GuardedOutput(const TensorSpec& spec, int pattern);

  const Tensor& tensor() const { return tensor_; }
  bool overrun() const;

 private:
  std::byte* guard(int side) const;

  std::size_t bytes_, guard_;
  Tensor memory_, tensor_;
};
/// What differs in dtype, shape or bits, or nothing. NaNs are equal.
std::optional<std::string> difference(const Tensor& given, const Tensor& expected);
/// The same for lists of outputs; null ones must be null in both.
std::optional<std::string> difference(const std::vector<Tensor>& given,
                                      const std::vector<Tensor>& expected);
/// What differs by more than `bounds` (one for each element, or one for all). Values that are not
/// finite must be the same.
std::optional<std::string> difference(const Tensor& given, const Tensor& expected,
                                      const std::vector<double>& bounds);

// The laws, by number; each adds cases to the sink and reports what does not hold.
void check_filling(const SampleRun& run, LawSink& sink);          // 1
void check_rejects(const OpType& type, LawSink& sink);            // 2
void check_gradient_shapes(const SampleRun& run, LawSink& sink);  // 3
// 4, over all samples, and for each output alone
void check_numerically(const OpType& type, std::uint64_t seed, LawSink& sink);
void check_each_output(const SampleRun& run, LawSink& sink);
void check_linearity(const SampleRun& run, LawSink& sink);         // 5
void check_second_order(const SampleRun& run, LawSink& sink);      // 6
void check_views(const SampleRun& run, LawSink& sink);             // 7
void check_determinism(const SampleRun& run, LawSink& sink);       // 8
void check_narrow(const SampleRun& run, LawSink& sink);            // 9
void check_instruction_sets(const SampleRun& run, LawSink& sink);  // 10
void check_attributes(const SampleRun& run, LawSink& sink);        // 11
void check_shared_input(const SampleRun& run, LawSink& sink);      // 12
void check_equivalents(const SampleRun& run, LawSink& sink);       // 13
void check_documentation(const OpType& type, LawSink& sink);       // 14

}  // namespace fovea
