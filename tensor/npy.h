// NumPy's `.npy` files: one array.
#pragma once

#include <string>

#include "fovea/tensor/tensor.h"

namespace fovea {

/// Reads format versions 1 to 3, in C order, or in Fortran order as a transposed view. f4, f8, i8
/// and b1 are taken as they are, i4 is widened to i64 and f2 to f32; any other dtype and big-endian
/// numbers are refused, and so is a file that is not exactly as long as its header says.
/// Source: NumPy Enhancement Proposal 1.
Tensor load_npy(const std::string& path);

/// Writes version 1.0 in C order. Throws Error if the file cannot be written; then it is as it was.
void save_npy(const std::string& path, const Tensor& tensor);

}  // namespace fovea
