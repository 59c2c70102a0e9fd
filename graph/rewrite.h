// Rewriting graphs.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "fovea/ops/expr.h"

namespace fovea {

/// `exprs` with every use of `from[i]` replaced by `to[i]`, which must have its shape and dtype.
/// Nodes that do not reach a replaced expression are shared, not copied.
std::vector<Expr> substitute(std::span<const Expr> exprs, std::span<const Expr> from,
                             std::span<const Expr> to);

/// The same graphs with f32 (f64) everywhere that f64 (f32) stood: inputs become new inputs of the
/// same name, constants and casts are converted. `inputs`, when given, receives (old input, new
/// input) for each input reached.
std::vector<Expr> as_dtype(std::span<const Expr> exprs, DType dtype,
                           std::vector<std::pair<Expr, Expr>>* inputs = nullptr);

/// A node on its turn: its inputs as they are now.
struct RewriteStep {
  const std::shared_ptr<const Node>& node;
  std::span<const Expr> inputs;
  /// What any expression before this node has become.
  const std::function<Expr(const Expr&)>& now;
};

/// The general form: goes through the graphs from the leaves. `make` gives the new values of a
/// node's outputs, or nothing to keep it (then it is rebuilt only if an input changed).
std::vector<Expr> rewrite(std::span<const Expr> exprs,
                          const std::function<std::vector<Expr>(const RewriteStep&)>& make);

}  // namespace fovea
