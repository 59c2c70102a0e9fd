// The bytes of a `.npy` file or member.
#pragma once

#include <string>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// Reads one array, which takes the source's every byte. `where` names it in messages.
Tensor read_npy(const std::string& where, ByteSource& source);

/// What stands before the elements in row-major order.
std::string npy_header(const Tensor& tensor);

}  // namespace fovea
