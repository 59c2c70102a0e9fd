#include "fovea/tensor/files.h"

#include <string_view>
#include <utility>

#include "fovea/tensor/format.h"
#include "fovea/tensor/json_arrays.h"
#include "fovea/tensor/npz.h"
#include "fovea/tensor/safetensors.h"

namespace fovea {

namespace {

enum class Kind { npz, safetensors, json };

Kind kind_of(std::string_view path) {
  if (path.ends_with(".npz")) return Kind::npz;
  if (path.ends_with(".safetensors")) return Kind::safetensors;
  if (path.ends_with(".json")) return Kind::json;
  constexpr std::pair<std::string_view, std::string_view> kOthers[] = {
      {".npy", "; numpy.savez writes .npz"},
      {".pt", "; safetensors.torch.save_file writes .safetensors"},
      {".pth", "; safetensors.torch.save_file writes .safetensors"},
      {".bin", "; safetensors.torch.save_file writes .safetensors"}};
  std::string_view cause;
  for (const auto& [ending, text] : kOthers) {
    if (path.ends_with(ending)) cause = text;
  }
  fail(path, "an unknown ending; .npz, .safetensors or .json is required{}", cause);
}

}  // namespace

NamedTensors load_tensors(const std::string& path, const WantedDType& wanted) {
  switch (kind_of(path)) {
    case Kind::npz:
      return load_npz(path);
    case Kind::safetensors:
      return load_safetensors(path);
    case Kind::json:
      break;
  }
  return load_json_arrays(path, wanted);
}

void save_tensors(const std::string& path, const NamedTensors& tensors,
                  const std::function<void()>& before_rename) {
  switch (kind_of(path)) {
    case Kind::npz:
      return save_npz(path, tensors, before_rename);
    case Kind::safetensors:
      return save_safetensors(path, tensors, before_rename);
    case Kind::json:
      break;
  }
  save_json_arrays(path, tensors, before_rename);
}

void require_known_ending(const std::string& path) { kind_of(path); }

}  // namespace fovea
