// `.safetensors` files: named arrays behind a JSON header.
#pragma once

#include <string>

#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// Reads F32, F64, I64, I32 (widened to i64), BOOL, and F16 and BF16 (widened to f32); other dtypes
/// are refused by name. The header has at most 100 MB, names are unique, and the tensors' bytes
/// follow each other without gap or overlap to the file's last byte. `__metadata__` is checked and
/// ignored. Each byte is read once, into its tensor's own memory.
/// Source: https://github.com/huggingface/safetensors, "Format".
NamedTensors load_safetensors(const std::string& path);

/// Writes the wider dtypes first and each by name, behind a header padded to 8 bytes, so that every
/// tensor is aligned. Throws Error if the file cannot be written (then it is as it was), if a name
/// is no UTF-8, or if it is `__metadata__`.
void save_safetensors(const std::string& path, const NamedTensors& tensors);

}  // namespace fovea
