#include "fovea/tensor/dtype.h"

#include <array>

namespace fovea {

namespace {
constexpr std::array<std::string_view, 4> kNames{"f32", "f64", "i64", "bool"};
}

std::string_view name_of(DType dtype) { return kNames[static_cast<std::size_t>(dtype)]; }

std::optional<DType> dtype_named(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace fovea
