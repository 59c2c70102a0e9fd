#pragma once

#include <string_view>

namespace fovea {

/// Major, minor and patch. Before 1.0 a minor version may break what the one before had.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace fovea
