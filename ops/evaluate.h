// The plain way to compute a graph: node after node, no plan. The executor of graph/ is tested
// against it.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "fovea/ops/expr.h"

namespace fovea {

/// What an input expression (or any other) stands for.
using Binding = std::pair<Expr, Tensor>;

/// The values of `outputs`. Throws Error if an input that they need is not bound, or bound to
/// another shape or dtype.
std::vector<Tensor> evaluate(std::span<const Expr> outputs, std::span<const Binding> bindings);

}  // namespace fovea
