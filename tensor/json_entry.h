// One array in JSON, as it stands in `.json` files and among a model's constants.
#pragma once

#include <optional>

#include "fovea/tensor/json_document.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// A number, nested arrays, or `{"value", "dtype", "shape", "doc"}` of which only `value` is
/// needed. The dtype is the one it says, else `wanted`, else bool for true and false, and
/// `number_dtype`. Throws Error, placed at the value.
Tensor tensor_from_json_entry(const JsonValue& entry, std::optional<DType> wanted,
                              DType number_dtype);

}  // namespace fovea
