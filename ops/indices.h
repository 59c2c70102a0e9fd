// Checking indices; for the sources of ops.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fovea/ops/expr.h"
#include "fovea/tensor/tensor.h"

namespace fovea::detail {

/// What the indices of an op may be: positions of an axis.
struct IndexRange {
  std::string_view op;
  std::string what;  ///< `x (5, 4) has extent 5 at axis 0`
  std::int64_t extent = 0;
};

/// Throws Error unless `indices` are i64.
void require_indices(std::string_view where, const TensorSpec& indices);

/// `index` counted from 0, or −1 when it is out of range.
inline std::int64_t position_of(std::int64_t index, std::int64_t extent) {
  const std::int64_t at = index < 0 ? index + extent : index;
  return at >= 0 && at < extent ? at : -1;
}

/// Throws Error for the first index that is out of range.
void check_indices(const Tensor& indices, const IndexRange& range);

/// ` at [1, 2]`, or nothing for a scalar: where the element `flat` of `shape` is.
std::string at_text(const Shape& shape, std::int64_t flat);

/// indices, negative ones counted from the end.
Expr positions_of(const Expr& indices, std::int64_t extent);

}  // namespace fovea::detail
