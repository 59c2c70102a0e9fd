// The part of the schema that comes from the registry. Internal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fovea/ops/registry.h"

namespace fovea::schema {

using Json = nlohmann::ordered_json;

/// A definition of this schema.
Json defined(std::string_view name);
/// `schema` with what it means to people, in place of a description that it has.
Json described(Json schema, std::string_view text);

/// Adds the definition `op_node`, and for each op its inputs and attributes.
void add_ops(const Registry& registry, Json& definitions);

}  // namespace fovea::schema
