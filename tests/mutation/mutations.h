// Gradient rules damaged on purpose, to find out what the gradient checker misses.
//
// A mutant is an op, one of its inputs, and a mutation: one way to be wrong that gradient rules
// really are wrong in. The list is the product of the three, whatever is caught or missed. On each
// of the op's samples the damaged rule takes the place of the op's own, and the checker has to say
// `fail`. Where a mutation leaves the gradient as it was (there is no mask, no second term, no last
// row) there is nothing to catch; this is measured on the gradients themselves, not by the checker.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/ops/registry.h"

namespace fovea::mutation {

/// What a gradient rule is given.
struct Call {
  const Op& op;
  std::span<const Expr> in, out, d;
};

/// One way to damage a rule.
struct Mutation {
  std::string name;
  /// The gradients with that of input `slot` damaged, given the right ones `dx`; `dx` where the
  /// mutation has nothing to damage.
  std::function<std::vector<Expr>(const Call& call, std::size_t slot, std::vector<Expr> dx)> damage;
  /// The op is applied to one value in `slot` and in another input of the same shape.
  bool shares_inputs = false;
};

struct Mutant {
  const OpType* op;
  std::size_t slot;
  Mutation mutation;

  /// `softmax.x: sign`.
  std::string text() const;
};
/// All mutants of all ops with a gradient, one for each input that is a float in some sample.
std::vector<Mutant> mutants(const Registry& registry);

/// What became of a mutant, over all samples of its op.
struct Outcome {
  int samples = 0;       ///< on which some element moved by more than 1e-6 of the largest
  int caught = 0;        ///< of these, on which the checker says `fail`
  std::string survivor;  ///< the first sample on which it does not, and what it says
};
Outcome try_mutant(const Mutant& mutant, std::uint64_t seed);

}  // namespace fovea::mutation
