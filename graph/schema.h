// The JSON Schema of model files.
#pragma once

#include <string>

#include "fovea/ops/registry.h"

namespace fovea {

/// JSON Schema, draft 2020-12, of the models whose ops are in `registry`: keys, ops with their
/// inputs and attributes, enums, defaults, and what each of them means. Every model that
/// `Model::parse` accepts is valid; what a schema cannot see (which names exist, shapes, cycles,
/// the value of expressions) only the loader refuses.
std::string model_schema(const Registry& registry);

}  // namespace fovea
