#include "fovea/graph/model/initial.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// The half width of a uniform distribution from the sizes (in, out) of a layer.
// Sources: Glorot and Bengio 2010, eq. 16; He et al. 2015, eq. 10 (gain √2).
double fan_bound(Init::Kind kind, const Shape& shape) {
  const double in = static_cast<double>(shape[-2].value());
  const double out = static_cast<double>(shape[-1].value());
  const double fan = kind == Init::Kind::xavier_uniform ? in + out : in;
  return fan > 0 ? std::sqrt(6 / fan) : 0;
}

// A limit of a control group, or none: the file may be missing or say "max".
std::uint64_t limit_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::uint64_t bytes = 0;
  return stream >> bytes ? bytes : std::numeric_limits<std::uint64_t>::max();
}

std::uint64_t control_group_limit() {
  std::uint64_t least = std::min(limit_in("/sys/fs/cgroup/memory.max"),
                                 limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t path = line.rfind(':');
    if (path == line.npos || line.find("..") != line.npos) continue;
    const std::string group = line.substr(path + 1);
    least = std::min(least, limit_in("/sys/fs/cgroup" + group + "/memory.max"));
    least = std::min(least, limit_in("/sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes"));
  }
  return least;
}

}  // namespace

Tensor initial_value(const Init& init, const TensorSpec& spec, Key key) {
  const auto& [dtype, shape] = spec;
  switch (init.kind) {
    case Init::Kind::zeros:
      return Tensor::zeros(dtype, shape);
    case Init::Kind::ones:
      return Tensor::full(dtype, shape, 1);
    case Init::Kind::constant:
      return Tensor::full(dtype, shape, init.first);
    case Init::Kind::normal:
      return random_normal(dtype, shape, init.first, init.second, key);
    case Init::Kind::uniform:
      return random_uniform(dtype, shape, init.first, init.second, key);
    case Init::Kind::integers:
      return random_integers(shape, init.low, init.high, key);
    case Init::Kind::bernoulli:
      return random_bernoulli(shape, init.first, key);
    case Init::Kind::xavier_uniform:
    case Init::Kind::kaiming_uniform:
      break;
  }
  const double bound = fan_bound(init.kind, shape);
  return random_uniform(dtype, shape, -bound, bound, key);
}

Tensor InitialValues::get(const std::string& param, const Init& init, const TensorSpec& spec,
                          std::uint64_t seed) {
  const Key key{param, seed, spec.dtype, {spec.shape.begin(), spec.shape.end()}};
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Tensor> value = made_[key].lock();
  if (!value) {
    value = std::make_shared<Tensor>(initial_value(init, spec, key_for(seed, param)));
    made_[key] = value;
  }
  if (made_.size() >= clean_at_) {
    std::erase_if(made_, [](const auto& entry) { return entry.second.expired(); });
    clean_at_ = std::max<std::size_t>(64, 2 * made_.size());
  }
  // Whoever has a view of these elements keeps `value` alive.
  const void* elements = value->raw();
  return Tensor::borrow(elements, spec.dtype, spec.shape, {}, value);
}

Tensor drawn_value(const TensorSpec& spec, Key key) {
  if (is_float(spec.dtype)) return random_normal(spec.dtype, spec.shape, 0, 1, key);
  return Tensor::full(spec.dtype, spec.shape, spec.dtype == boolean ? 1 : 0);
}

Tensor stated_value(const Declaration& input, const TensorSpec& spec) {
  const Tensor value = tensor_from_json(input.value, spec.dtype);
  const bool fits = value.numel() == 0 ? spec.shape.numel() == 0 : value.shape() == spec.shape;
  if (!fits) {
    throw Error({.place = input.value.place(),
                 .op = {},
                 .text = format("a value of shape {}; {} is required", value.shape(), spec.shape)});
  }
  return value.reshape(spec.shape);
}

bool fits(const TensorSpec& given, const TensorSpec& required) {
  const bool convertible = is_float(given.dtype) && is_float(required.dtype);
  return given.shape == required.shape && (given.dtype == required.dtype || convertible);
}

std::string misfit_cause(const TensorSpec& given, const TensorSpec& required) {
  const Shape &a = given.shape, &b = required.shape;
  if (a == b || a.numel() != b.numel() || a.numel() == 0) return {};
  if (a.rank() == 2 && b.rank() == 2 && a[0] == b[1]) return "; is it transposed?";
  if (std::ranges::is_permutation(a, b)) return "; are its axes in another order?";
  return format("; both have {} elements: does it want another shape?", a.numel());
}

void require_fit(const TensorSpec& given, const TensorSpec& required) {
  if (fits(given, required)) return;
  fail("", "the array is {}; {} is required{}", to_string(given), to_string(required),
       misfit_cause(given, required));
}

Tensor fitted(const Tensor& array, const TensorSpec& spec) {
  require_fit(spec_of(array), spec);
  return array.dtype() == spec.dtype ? array : array.astype(spec.dtype);
}

std::uint64_t memory_limit() {
  const auto pages = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES)));
  const auto page = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
  std::uint64_t least = control_group_limit();
  if (pages * page > 0) least = std::min(least, pages * page);
  rlimit own{};
  if (getrlimit(RLIMIT_AS, &own) == 0 && own.rlim_cur != RLIM_INFINITY) {
    least = std::min<std::uint64_t>(least, own.rlim_cur);
  }
  return least;
}

std::string weights_path(const Description& description) {
  namespace fs = std::filesystem;
  const Weights& weights = *description.weights;
  const auto refuse = [&](std::string_view why) {
    throw Error(
        {.place = weights.at.place(),
         .op = {},
         .text = format("weights {}: {}; a path relative to the model, inside its folder, "
                        "is required (only weights that are given in its place may be anywhere)",
                        fovea::quoted(weights.file), why)});
  };
  std::error_code failed;
  const fs::path given(weights.file);
  if (weights.file.find('\0') != std::string::npos) refuse("the path has a zero byte");
  if (given.is_absolute()) refuse("the path is absolute");
  const fs::path normal = given.lexically_normal();
  if (normal.begin() != normal.end() && *normal.begin() == "..") {
    refuse("it leads out of the model's folder");
  }
  const fs::path folder = fs::canonical(description.folder, failed);
  if (failed) refuse("the model's folder cannot be read");
  const fs::path file = fs::canonical(folder / given, failed);
  if (failed == std::errc::no_such_file_or_directory) refuse("there is no such file");
  if (failed) refuse(failed.message());
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  if (end != folder.end()) refuse("it leads out of the model's folder");
  return file.string();
}

}  // namespace fovea::model
