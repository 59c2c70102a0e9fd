// `.safetensors` files: named arrays behind a JSON header.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// A file whose header has been read and checked; elements are read when they are asked for. It
/// stays open as long as a copy of this lives. Reading from several threads is safe.
class SafetensorsFile {
 public:
  /// Throws Error for every defect of the header, and unless the tensors' bytes follow each other
  /// without gap or overlap to the file's last byte.
  explicit SafetensorsFile(const std::string& path);

  /// In the order of their bytes.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// As it would be loaded. Throws Error for a dtype that is not (U8 for instance: such tensors may
  /// be there as long as nobody wants them). The tensor must be there.
  TensorSpec spec(std::string_view name) const;
  /// Reads the elements, each byte once, into new memory.
  Tensor load(std::string_view name) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// Reads F32, F64, I64, I32 (widened to i64), BOOL, and F16 and BF16 (widened to f32); other dtypes
/// are refused by name. The header has at most 100 MB, names are unique, and the tensors' bytes
/// follow each other without gap or overlap to the file's last byte. `__metadata__` is checked and
/// ignored. Each byte is read once, into its tensor's own memory.
/// Source: https://github.com/huggingface/safetensors, "Format".
NamedTensors load_safetensors(const std::string& path);

/// Writes the wider dtypes first and each by name, behind a header padded to 8 bytes, so that every
/// tensor is aligned. Throws Error if the file cannot be written (then it is as it was), if a name
/// is no UTF-8, or if it is `__metadata__`.
/// `before_rename`: as for `save_tensors`.
void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const std::function<void()>& before_rename = {});

}  // namespace fovea
