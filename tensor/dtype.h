// Element types.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

namespace fovea {

enum class DType : std::uint8_t { f32, f64, i64, boolean };

inline constexpr DType f32 = DType::f32;
inline constexpr DType f64 = DType::f64;
inline constexpr DType i64 = DType::i64;
inline constexpr DType boolean = DType::boolean;

/// `f32`, `f64`, `i64`, `bool`.
std::string_view name_of(DType dtype);
/// The inverse of `name_of`; nothing for any other text.
std::optional<DType> dtype_named(std::string_view name);

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) { return dtype == f32 ? 4 : dtype == boolean ? 1 : 8; }

/// f32 and f64: the types that have gradients.
constexpr bool is_float(DType dtype) { return dtype == f32 || dtype == f64; }

template <class T>
concept Element = std::same_as<T, float> || std::same_as<T, double> ||
    std::same_as<T, std::int64_t> || std::same_as<T, bool>;

template <Element T>
inline constexpr DType dtype_of = std::same_as<T, float>          ? f32
                                  : std::same_as<T, double>       ? f64
                                  : std::same_as<T, std::int64_t> ? i64
                                                                  : boolean;

/// Calls `f(std::type_identity<T>{})` with the C++ type of `dtype`.
template <class F>
decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(std::type_identity<float>{});
    case DType::f64:
      return f(std::type_identity<double>{});
    case DType::i64:
      return f(std::type_identity<std::int64_t>{});
    case DType::boolean:
      break;
  }
  return f(std::type_identity<bool>{});
}

}  // namespace fovea
