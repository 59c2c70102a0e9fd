#include "fovea/graph/model/weights.h"

#include "fovea/graph/model/initial.h"
#include "fovea/tensor/files.h"

namespace fovea::model {

std::shared_ptr<const WeightSource> WeightSource::open(const std::string& path,
                                                       const WantedDType& wanted,
                                                       const std::string& name) {
  const std::string shown = name.empty() ? path : name;
  try {
    if (path.ends_with(".safetensors")) {
      return std::make_shared<const WeightSource>(SafetensorsFile(path), shown);
    }
    return std::make_shared<const WeightSource>(load_tensors(path, wanted), shown);
  } catch (const Error& error) {
    std::vector<Diagnostic> diagnostics = error.diagnostics();
    for (Diagnostic& one : diagnostics) {
      if (one.place.starts_with(path)) one.place.replace(0, path.size(), shown);
      if (one.op == path) one.op = shown;
    }
    throw Error(std::move(diagnostics));
  }
}

std::vector<std::string> WeightSource::names() const {
  if (const auto* file = std::get_if<SafetensorsFile>(&arrays_)) return file->names();
  std::vector<std::string> names;
  for (const auto& [name, array] : std::get<NamedTensors>(arrays_)) names.push_back(name);
  return names;
}

bool WeightSource::contains(std::string_view name) const {
  if (const auto* file = std::get_if<SafetensorsFile>(&arrays_)) return file->contains(name);
  return std::get<NamedTensors>(arrays_).contains(name);
}

TensorSpec WeightSource::spec(std::string_view name) const {
  if (const auto* file = std::get_if<SafetensorsFile>(&arrays_)) return file->spec(name);
  return spec_of(std::get<NamedTensors>(arrays_).find(name)->second);
}

Tensor WeightSource::tensor(std::string_view name, const TensorSpec& spec) const {
  require_fit(this->spec(name), spec);
  const std::lock_guard lock(mutex_);
  Tensor& used = used_[{std::string(name), spec.dtype}];
  if (used) return used;
  if (const auto* file = std::get_if<SafetensorsFile>(&arrays_)) {
    return used = fitted(file->load(name), spec).read_only();
  }
  return used = fitted(std::get<NamedTensors>(arrays_).find(name)->second, spec).read_only();
}

}  // namespace fovea::model
