// Frozen weights in the layout that the kernels read. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "fovea/graph/executable.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

namespace plan {

/// The right operand of products, packed.
struct PackedMatrix {
  Tensor source;  // kept, so that its address means this matrix as long as this lives
  Tensor memory;
};

}  // namespace plan

struct PackedWeights::State {
  // Address, dtype, extents (k, n), strides of both axes.
  using Key =
      std::tuple<const void*, DType, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

  std::mutex mutex;
  std::map<Key, std::weak_ptr<const plan::PackedMatrix>> known;

  /// Of the packed form of `b`, which is as for `get`.
  static std::size_t bytes_for(const Tensor& b, bool transposed);
  /// `b` (k, n), or (n, k) if `transposed`; its elements do not change as long as anybody uses it.
  std::shared_ptr<const plan::PackedMatrix> get(const Tensor& b, bool transposed);
};

}  // namespace fovea
