// Values for inputs and params.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "fovea/graph/model/instance.h"
#include "fovea/tensor/random.h"

namespace fovea::model {

/// By `init`; a function of the key and the spec alone.
Tensor initial_value(const Init& init, const TensorSpec& spec, Key key);

/// The initial values of a model's params, made once and kept as long as a session holds them. Any
/// number of threads may use it.
class InitialValues {
 public:
  /// As `initial_value`, not to be written.
  Tensor get(const std::string& param, const Init& init, const TensorSpec& spec,
             std::uint64_t seed);

 private:
  using Key = std::tuple<std::string, std::uint64_t, DType, std::vector<std::int64_t>>;

  std::mutex mutex_;
  std::map<Key, std::weak_ptr<Tensor>> made_;
  std::size_t clean_at_ = 64;  // entries
};

/// What an input gets that nothing gives: floats normal, i64 zero, bool true.
Tensor drawn_value(const TensorSpec& spec, Key key);

/// The `value` of an input. Throws Error, placed, unless it has this shape.
Tensor stated_value(const Declaration& input, const TensorSpec& spec);
/// Whether an array of spec `given` can be used where `required` stands: shapes are equal, and so
/// are dtypes, but floats of another width are converted.
bool fits(const TensorSpec& given, const TensorSpec& required);
/// For a message, what may have happened to an array that does not fit; or empty.
std::string misfit_cause(const TensorSpec& given, const TensorSpec& required);
/// Throws Error, text alone, unless it fits.
void require_fit(const TensorSpec& given, const TensorSpec& required);
/// An array of a file: floats of another width are converted. Throws Error, text alone, for any
/// other difference.
Tensor fitted(const Tensor& array, const TensorSpec& spec);

/// Bytes that this process may use: of the machine, of its control group, or of its own limit.
std::uint64_t memory_limit();

/// The file that a model names for its weights. Throws Error, placed, unless it is inside the
/// model's folder, links resolved.
std::string weights_path(const Description& description);

}  // namespace fovea::model
