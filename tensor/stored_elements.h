// Elements as files hold them, and the dtypes that they are loaded as.
#pragma once

#include <cstddef>
#include <string>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

enum class Stored : std::uint8_t { f32, f64, i64, boolean, i32, f16, bf16 };

/// Bytes of one element in the file.
std::size_t size_of(Stored type);
/// f16 and bf16 are widened to f32, i32 to i64.
DType loaded_as(Stored type);

/// Reads little-endian elements in row-major order. Error naming `where` for a bool that is neither
/// 0 nor 1. The caller has compared the shape with the bytes that there are.
Tensor read_elements(const std::string& where, ByteSource& source, Stored type, const Shape& shape);

}  // namespace fovea
