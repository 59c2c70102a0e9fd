// Files of named arrays, by their endings.
#pragma once

#include <functional>
#include <string>

#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// Reads `.npz`, `.safetensors` or `.json`. Plain JSON numbers take the dtype that `wanted` gives
/// for their array. Throws Error, whose place is the file, for any other ending, for whatever is no
/// regular file, and for every defect of the file; sizes are checked before memory is taken.
NamedTensors load_tensors(const std::string& path, const WantedDType& wanted = {});

/// Writes `.npz`, `.safetensors` or `.json`: to a temporary file in the same folder, which is
/// renamed when it is complete. On failure an Error says why, and a file that was there is
/// unchanged. `before_rename`, when given, is called when the file is complete; when it throws, the
/// file gets no name.
void save_tensors(const std::string& path, const NamedTensors& tensors,
                  const std::function<void()>& before_rename = {});

/// Throws Error unless `save_tensors` knows the ending of `path`.
void require_known_ending(const std::string& path);

}  // namespace fovea
