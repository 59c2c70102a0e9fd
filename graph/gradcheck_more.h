// What the gradient checker looks at besides derivatives. Internal.
#pragma once

#include <string>
#include <vector>

#include "fovea/graph/gradcheck_prepared.h"

namespace fovea {

/// Whether some value of the graph is f32.
bool has_narrow(std::span<const Expr> outputs);

/// A row for each wrt: its gradient in the graph's own dtypes against the f64 gradient at the same
/// (rounded) inputs and cotangents. `narrow` is the problem in the graph's dtypes, `wide` in f64.
std::vector<GradientRow> check_narrow_gradients(const Problem& narrow, const Problem& wide,
                                                const GradcheckOptions& options);

/// Of a graph: gradients of the right shapes, the same bits in every run, for 1, 2 and 3 threads
/// and for inputs of other layouts, linear in the cotangent, exactly 0 for a cotangent of 0; inputs
/// unchanged. One text for each failure.
std::vector<std::string> check_graph_contracts(const Problem& problem, std::uint64_t seed);

}  // namespace fovea
