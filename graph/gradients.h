// Reverse-mode differentiation: expressions in, expressions out.
#pragma once

#include <span>
#include <vector>

#include "fovea/ops/expr.h"

namespace fovea {

/// Σ_o cotangents[o]ᵀ · ∂outputs[o]/∂wrt[i] for each i, as expressions of wrt's shapes and dtypes.
/// Nothing is computed yet.
///
/// Without `cotangents` each output must have exactly one element, and its cotangent is 1. A null
/// cotangent leaves its output out. A `wrt` (any expression, not only inputs) that no output
/// depends on gets zeros. Integers, bools and ops without gradient stop the way back. Results can
/// be differentiated again. Throws Error if a cotangent's shape or dtype is not its output's, if an
/// output or `wrt` with a cotangent is not f32 or f64, or if an op on the way has no gradient.
std::vector<Expr> gradients(std::span<const Expr> outputs, std::span<const Expr> wrt,
                            std::span<const Expr> cotangents = {});
std::vector<Expr> gradients(const Expr& output, std::span<const Expr> wrt);
std::vector<Expr> gradients(const Expr& output, std::initializer_list<Expr> wrt);

}  // namespace fovea
