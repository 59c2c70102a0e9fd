// Checks of one op, its own gradient rule or another.
#pragma once

#include <memory>
#include <vector>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradient_rule.h"

namespace fovea {

/// The samples of an op, ready to be checked as often as wanted. What the oracles say about them
/// does not depend on the gradient rule and is computed once, so that a rule costs little more than
/// its own gradients.
///
///     OpCheck check(op_type<Softmax>(), {.seed = 3});
///     check.run().passed();                              // the op's own rule
///     for (const GradientRow& row : check.run(damaged).rows) …   // a row for each input slot
class OpCheck {
 public:
  /// Throws nothing: what is wrong with a sample is reported by `run`.
  explicit OpCheck(const OpType& type, GradcheckOptions options = {});
  ~OpCheck();
  OpCheck(OpCheck&&) noexcept;

  /// One row for each input slot that some sample gives a float, over all samples; see check_op.
  /// `rule`, when given, takes the place of the op's own; it needs `order` 1, or throws Error.
  GradientReport run(const GradientRule& rule = {});

  struct Prepared;

 private:
  const OpType* type_;
  GradcheckOptions options_;
  std::vector<std::unique_ptr<Prepared>> samples_;
};

/// The same at once.
GradientReport check_op(const OpType& type, const GradientRule& rule,
                        const GradcheckOptions& options = {});

}  // namespace fovea
