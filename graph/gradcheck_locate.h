// Which op of a graph is to blame. Internal to the gradient checker.
#pragma once

#include <optional>

#include "fovea/graph/gradcheck_prepared.h"

namespace fovea {

/// The first op, inputs before their users, whose own gradient is refuted at the values that it has
/// in the graph, for random cotangents of its results. Where its gradient comes from a
/// decomposition, the op of that. Nothing if none is refuted alone.
std::optional<Culprit> locate(const Problem& problem, const GradcheckOptions& options);

/// What a failing row of an op alone, with these inputs (null for those left out), looks like;
/// empty if nothing is known. `first_order`: the row is that of the op's own gradient.
std::string suspicion(const Op& op, std::span<const Tensor> values, const GradientRow& row,
                      bool first_order);

/// The problem of one op of a graph alone: fresh inputs with `values`, the outputs that are used.
/// `slots` receives the number of the input that each wrt is.
Problem problem_of_op(const std::shared_ptr<const Op>& op, std::span<const Tensor> values,
                      std::span<const std::int64_t> outputs, std::vector<std::size_t>& slots);

}  // namespace fovea
