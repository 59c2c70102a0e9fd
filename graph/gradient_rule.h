// Ops with another gradient rule than their own: for tests that damage rules, and for the checker,
// which compares an op's rule with the gradient of its decomposition.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Gradients of an op's inputs (null: none) from its inputs, outputs and the outputs' cotangents
/// (null: none). Called once for each node that is differentiated, as an op's own `vjp` is.
using GradientRule = std::function<std::vector<Expr>(
    const Op& op, std::span<const Expr> in, std::span<const Expr> out, std::span<const Expr> d)>;

/// What the engine would use: the op's own `vjp`, or where that is not the rule for these
/// cotangents the gradient of its decomposition. Throws Error if it has neither.
std::vector<Expr> own_gradient(const Op& op, std::span<const Expr> in, std::span<const Expr> out,
                               std::span<const Expr> d);

/// `op` with `rule` in place of its gradient rule, for all cotangents. Values, forward mode,
/// decomposition, attributes, samples and the name are the op's own; passes that look for the op's
/// type do not know it.
///
///     // A rule that is wrong by 0.1 %:
///     with_gradient(op, [](const Op& op, auto in, auto out, auto d) {
///       std::vector<Expr> dx = own_gradient(op, in, out, d);
///       for (Expr& g : dx) if (g) g = 1.001 * g;
///       return dx;
///     });
std::shared_ptr<const Op> with_gradient(std::shared_ptr<const Op> op, GradientRule rule);

/// `op` as if it had no gradient rule of its own: gradients come from its decomposition, which it
/// must have.
std::shared_ptr<const Op> by_decomposition(std::shared_ptr<const Op> op);

}  // namespace fovea
