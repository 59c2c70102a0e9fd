// Conversion of one element, for the project's own sources.
#pragma once

#include <concepts>
#include <cstdint>

namespace fovea {

/// `value` as a To: as C++ converts, but a float outside i64's range or NaN gives the i64 0.
template <class To, class From>
To convert(From value) {
  if constexpr (std::same_as<To, bool>) {
    return value != From(0);
  } else if constexpr (std::same_as<To, std::int64_t> && std::floating_point<From>) {
    // 2^63 is exact in both float types; the comparison is false for NaN.
    constexpr From kLimit = static_cast<From>(9223372036854775808.0);
    return value >= -kLimit && value < kLimit ? static_cast<To>(value) : To(0);
  } else {
    return static_cast<To>(value);
  }
}

}  // namespace fovea
