// What files of arrays hold.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "fovea/tensor/tensor.h"

namespace fovea {

using NamedTensors = std::map<std::string, Tensor, std::less<>>;

/// The dtype that an array's plain JSON numbers take, by the array's name; nothing where it does
/// not matter: then `true` and `false` make bool, and numbers f64. Other files say their dtypes.
using WantedDType = std::function<std::optional<DType>(std::string_view name)>;

}  // namespace fovea
