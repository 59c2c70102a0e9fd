// A model as a picture.
#pragma once

#include <string>

#include "fovea/graph/summary.h"

namespace fovea::cli {

/// For Graphviz: a box for each node, and for each block one box around what is in it, however
/// often it is repeated. Throws Error if there are too many to look at.
std::string as_dot(const Summary& summary);

/// What Graphviz's `dot` makes of that. Throws Error if it is not installed, or fails.
std::string as_svg(const std::string& dot);

}  // namespace fovea::cli
