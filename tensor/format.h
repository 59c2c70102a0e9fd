// Text, for the project's own sources only: public headers stay free of fmt.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <string_view>
#include <utility>

#include "fovea/tensor/dtype.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/shape.h"

template <>
struct fmt::formatter<fovea::Extent> : fmt::formatter<std::int64_t> {
  auto format(const fovea::Extent& extent, format_context& context) const {
    return fmt::formatter<std::int64_t>::format(extent.value(), context);
  }
};

template <>
struct fmt::formatter<fovea::Shape> : fmt::formatter<std::string> {
  auto format(const fovea::Shape& shape, format_context& context) const {
    return fmt::formatter<std::string>::format(to_string(shape), context);
  }
};

template <>
struct fmt::formatter<fovea::DType> : fmt::formatter<std::string_view> {
  auto format(fovea::DType dtype, format_context& context) const {
    return fmt::formatter<std::string_view>::format(name_of(dtype), context);
  }
};

namespace fovea {

using fmt::format;

/// Throws Error(where, text).
template <class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(where, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace fovea
