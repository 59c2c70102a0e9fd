// Where params get their values from.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fovea/tensor/named_tensors.h"
#include "fovea/tensor/safetensors.h"

namespace fovea::model {

/// Named arrays: in memory, or in a `.safetensors` file, whose elements are read when they are
/// first asked for. A model's copies and sessions share one; any number of threads may use it.
class WeightSource {
 public:
  /// `name` is the file's, for messages.
  explicit WeightSource(NamedTensors arrays, std::string name = "weights")
      : arrays_(std::move(arrays)), name_(std::move(name)) {}
  WeightSource(SafetensorsFile file, std::string name)
      : arrays_(std::move(file)), name_(std::move(name)) {}
  /// Opens a `.safetensors` file, or reads one of another kind; plain numbers of a `.json` file
  /// take the dtypes that `wanted` gives. Messages call it `name`, or by its path.
  static std::shared_ptr<const WeightSource> open(const std::string& path,
                                                  const WantedDType& wanted = {},
                                                  const std::string& name = {});

  const std::string& name() const { return name_; }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Of an array that is there. Throws Error if it has a dtype that cannot be loaded.
  TensorSpec spec(std::string_view name) const;
  /// An array that is there, as a param of this spec; floats of another width are converted, once.
  /// Throws Error, text alone, for any other difference.
  Tensor tensor(std::string_view name, const TensorSpec& spec) const;

 private:
  std::variant<NamedTensors, SafetensorsFile> arrays_;
  std::string name_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<std::string, DType>, Tensor> used_;
};

}  // namespace fovea::model
