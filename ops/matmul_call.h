// Matrix products with what a graph knows besides the operands. Internal.
#pragma once

#include <cstdint>

#include "fovea/ops/matmul.h"

namespace fovea::detail {

/// Called once for each block of the result when its elements are final and still in cache, several
/// threads at once, in any order; blocks are disjoint and cover the result. Rows are counted over
/// all leading axes. What it does to an element must not depend on how blocks are cut.
struct MatmulEpilogue {
  void (*run)(const void* self, std::int64_t row, std::int64_t rows, std::int64_t column,
              std::int64_t columns) = nullptr;
  const void* self = nullptr;
};

struct MatmulExtras {
  const void* packed_b = nullptr;  ///< b, which has rank 2, by `kernels::gemm_pack_b`
  MatmulEpilogue epilogue = {};
};

/// Matmul::forward with extras.
void matmul(Context& context, const Matmul& op, const Tensor& a, const Tensor& b, const Tensor& y,
            const MatmulExtras& extras);

}  // namespace fovea::detail
