// Whether an op's samples exercise its gradient.
#pragma once

#include <string>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea::mutation {

/// What no sample of `type` exercises with a gradient that is not zero: the op itself, a
/// differentiable input, a value of an enum or bool attribute, a numeric attribute (or a list)
/// other than its default. Empty for ops that have no gradient.
std::vector<std::string> not_covered(const OpType& type);

}  // namespace fovea::mutation
