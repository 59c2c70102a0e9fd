// Forward-mode differentiation: expressions in, expressions out. It shares no rule with
// `gradients`, so that the two can check each other.
#pragma once

#include <span>
#include <vector>

#include "fovea/ops/expr.h"

namespace fovea {

/// Σ_k ∂outputs[i]/∂wrt[k] · tangents[k] for each i, as expressions of the outputs' shapes and
/// dtypes. Nothing is computed yet.
///
/// A null tangent is zero, in `tangents` and in the result: an output that no tangent reaches gets
/// null. A `wrt` may be any expression; one that depends on another gets its own tangent and what
/// reaches it. Integers and bools stop tangents.
///
/// Ops marked `linear` apply themselves to the tangents; rows of elementwise ops evaluate their
/// formula on dual numbers; a hand-written `jvp` is used where an op has one; every other op goes
/// through its decomposition. No `vjp` is called. Differentiate gradients forward, not forward mode
/// in reverse: tangents of elementwise rows have no gradient rule of their own. Throws Error if
/// there are not as many tangents as `wrt`, if a `wrt` is not f32 or f64, if a tangent's shape or
/// dtype is not its `wrt`'s, or if an op on the way has no forward mode.
std::vector<Expr> jvp(std::span<const Expr> outputs, std::span<const Expr> wrt,
                      std::span<const Expr> tangents);

class OpType;

/// Whether `jvp` can pass through ops of this type (not: through those of its decomposition).
bool has_forward_mode(const OpType& type);

}  // namespace fovea
