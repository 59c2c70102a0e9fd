// Small arrays in JSON.
#pragma once

#include <functional>
#include <string>

#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// Reads an object: name → a number, nested arrays, or `{"value", "dtype", "shape"}`, where `shape`
/// is needed only for arrays without elements, and `dtype` only where `wanted` is not meant. The
/// numbers that JSON lacks are "inf", "-inf" and "nan". i64 takes whole numbers only, bool only
/// `true` and `false`. Throws Error, with line and column, for ragged nesting, duplicate or unknown
/// keys, numbers that the dtype cannot hold, whatever is no JSON, and files beyond 128 MiB.
NamedTensors load_json_arrays(const std::string& path, const WantedDType& wanted = {});

/// Writes the long form, with the fewest digits that read back as the same numbers. Throws Error if
/// the file cannot be written (then it is as it was), if a name is no UTF-8, at a rank above 98,
/// and for more than 128 MiB of text.
/// `before_rename`: as for `save_tensors`.
void save_json_arrays(const std::string& path, const NamedTensors& tensors,
                      const std::function<void()>& before_rename = {});
/// What `save_json_arrays` writes, without the last line's end.
std::string json_arrays_text(const NamedTensors& tensors);

}  // namespace fovea
