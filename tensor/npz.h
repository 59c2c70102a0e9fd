// NumPy's `.npz` files: zip archives of `.npy` members.
#pragma once

#include <functional>
#include <string>

#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// Reads what `numpy.savez` and `numpy.savez_compressed` write: members `NAME.npy`, stored or
/// deflated, each as `load_npy` takes it. Refused: other members and compressions, encryption,
/// duplicate names, wrong checksums, members that are not exactly as long as their headers say, and
/// whatever makes the archive inconsistent.
NamedTensors load_npz(const std::string& path);

/// Writes stored members; equal tensors give equal bytes. Throws Error if the file cannot be
/// written (then it is as it was) or a name is empty or no UTF-8.
/// `before_rename`: as for `save_tensors`.
void save_npz(const std::string& path, const NamedTensors& tensors,
              const std::function<void()>& before_rename = {});

}  // namespace fovea
