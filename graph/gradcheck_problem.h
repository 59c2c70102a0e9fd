// What the gradient checker is given, made ready. Internal to the gradient checker.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/oracles.h"

namespace fovea {

/// The graph in f64, with a fresh input in place of each wrt that is no input, and values for all.
/// Throws Error if values do not fit.
Problem make_problem(std::span<const Expr> outputs, std::span<const Expr> wrt,
                     const GradcheckOptions& options);

/// The same in the graph's own dtypes.
Problem make_narrow_problem(std::span<const Expr> outputs, std::span<const Expr> wrt,
                            const GradcheckOptions& options);

/// The same problem for the gradient: the outputs are the gradients by wrt of the outputs, for
/// random cotangents.
Problem differentiated(const Problem& problem, std::uint64_t seed);

/// The same graph a little beside: every finite element of every wrt moved, each by another amount,
/// about 2^-8 of its size; those near 0 absolutely, and away from it, so that domains are kept.
Problem beside(const Problem& problem);

/// The op and element of its result with a kink along `d` at bindings[k], where the one-sided
/// derivatives of the operands are alike. Nothing where none is found.
std::optional<Kink> find_kink(const Problem& problem, std::size_t k, const Direction& d);

}  // namespace fovea
