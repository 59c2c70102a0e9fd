// Element types of Python's arrays that Fovea converts, and their conversion.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "fovea/tensor/tensor.h"

namespace fovea::python {

enum class Element : std::uint8_t {
  f32,
  f64,
  f16,
  bf16,
  boolean,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64
};

/// NumPy's name: `float32`, `bfloat16`, `bool`.
std::string_view name_of(Element element);
std::size_t size_of(Element element);

constexpr bool is_integer(Element element) { return element >= Element::i8; }
constexpr bool is_half(Element element) {
  return element == Element::f16 || element == Element::bf16;
}
/// The dtype that is the same type, if there is one.
std::optional<DType> same_dtype(Element element);
inline Element element_of(DType dtype) {
  constexpr std::array kElements{Element::f32, Element::f64, Element::i64, Element::boolean};
  return kElements[static_cast<std::size_t>(dtype)];
}

/// IEEE half precision, and the upper half of f32; to the nearest, ties to even.
float from_f16(std::uint16_t bits);
std::uint16_t to_f16(float x);
inline float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t to_bf16(float x);

/// An array of any element type: strides are in bytes and may be anything, `data` need not be
/// aligned.
struct RawArray {
  const std::byte* data = nullptr;
  Element element = Element::f32;
  std::span<const std::int64_t> shape, strides;
};

/// A view of it, or nothing unless its elements are of a dtype that Fovea has, aligned, and whole
/// elements apart; a bool's bytes must be 0 or 1 to be read.
std::optional<Tensor> viewed(const RawArray& array, bool writable);
/// A new Tensor of `dtype` with its elements.
Tensor converted(const RawArray& array, DType dtype);
/// Writes the elements of an f32 or f64 tensor to an array of the same shape; halves are rounded.
void store(const Tensor& source, const RawArray& to);

}  // namespace fovea::python
