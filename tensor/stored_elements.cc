#include "fovea/tensor/stored_elements.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "fovea/tensor/format.h"

namespace fovea {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

namespace {

float from_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
}

float from_bfloat(std::uint16_t half) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

// Reads elements of type From in pieces and writes convert(element).
template <class From, class To, class Convert>
void widen(ByteSource& source, std::int64_t count, To* out, const Convert& convert) {
  std::array<From, 8192> piece;
  while (count > 0) {
    const auto n = std::min<std::int64_t>(count, piece.size());
    source.read(piece.data(), static_cast<std::size_t>(n) * sizeof(From));
    out = std::transform(piece.begin(), piece.begin() + n, out, convert);
    count -= n;
  }
}

}  // namespace

std::size_t size_of(Stored type) {
  switch (type) {
    case Stored::f64:
    case Stored::i64:
      return 8;
    case Stored::f32:
    case Stored::i32:
      return 4;
    case Stored::f16:
    case Stored::bf16:
      return 2;
    case Stored::boolean:
      break;
  }
  return 1;
}

DType loaded_as(Stored type) {
  switch (type) {
    case Stored::f64:
      return f64;
    case Stored::i64:
    case Stored::i32:
      return i64;
    case Stored::boolean:
      return boolean;
    case Stored::f32:
    case Stored::f16:
    case Stored::bf16:
      break;
  }
  return f32;
}

Tensor read_elements(const std::string& where, ByteSource& source, Stored type,
                     const Shape& shape) {
  Tensor tensor = Tensor::empty(loaded_as(type), shape);
  if (type == Stored::i32) {
    widen<std::int32_t>(source, tensor.numel(), tensor.mutable_data<std::int64_t>(),
                        [](std::int32_t x) { return std::int64_t{x}; });
  } else if (type == Stored::f16) {
    widen<std::uint16_t>(source, tensor.numel(), tensor.mutable_data<float>(), from_half);
  } else if (type == Stored::bf16) {
    widen<std::uint16_t>(source, tensor.numel(), tensor.mutable_data<float>(), from_bfloat);
  } else {
    source.read(tensor.mutable_raw(), tensor.nbytes());
  }
  if (type == Stored::boolean) {
    const auto* bytes = static_cast<const unsigned char*>(tensor.raw());
    const auto* end = bytes + tensor.nbytes();
    const auto* bad = std::find_if(bytes, end, [](unsigned char byte) { return byte > 1; });
    if (bad != end) fail(where, "the bool element {} is the byte {}; 0 or 1", bad - bytes, *bad);
  }
  return tensor;
}

}  // namespace fovea
