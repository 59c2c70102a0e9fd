// Passes over expressions that keep their values.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fovea/ops/expr.h"

namespace fovea {

/// Replaces ops that have only a decomposition by it.
std::vector<Expr> expand_decompositions(std::span<const Expr> exprs);

/// Computes what depends on constants only, unless the result is large, there are many of them, or
/// computing it fails (then it fails when run).
std::vector<Expr> fold_constants(std::span<const Expr> exprs);

/// Equal ops with equal attributes on the same inputs, and equal constants, become one.
std::vector<Expr> merge_equal(std::span<const Expr> exprs);

/// What `fuse_attention` says of a composition that it has recognised.
struct AttentionNote {
  Location location;
  std::string text;  ///< that it is fused, or why not
};

/// softmax(scale · q kᵀ [+ bias] [where visible]) v, composed of ops, becomes `attention`.
/// Intermediate values that somebody else uses, the `exprs` among them, keep it composed. `notes`,
/// when given, receives one for each composition recognised.
std::vector<Expr> fuse_attention(std::span<const Expr> exprs,
                                 std::vector<AttentionNote>* notes = nullptr);

}  // namespace fovea
