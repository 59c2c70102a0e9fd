#include "fovea/tensor/files.h"

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
  fail(path, "an unknown ending; .npz, .safetensors or .json is required");
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

void save_tensors(const std::string& path, const NamedTensors& tensors) {
  switch (kind_of(path)) {
    case Kind::npz:
      return save_npz(path, tensors);
    case Kind::safetensors:
      return save_safetensors(path, tensors);
    case Kind::json:
      break;
  }
  save_json_arrays(path, tensors);
}

void require_known_ending(const std::string& path) { kind_of(path); }

}  // namespace fovea
