#include "fovea/ops/kernels/rows.h"

#include "fovea/ops/kernels/kernels.h"

namespace fovea::kernels {

double sum(const float* x, std::int64_t length, std::int64_t stride) {
  return kernels().f32.sum(x, length, stride);
}

double sum(const double* x, std::int64_t length, std::int64_t stride) {
  return kernels().f64.sum(x, length, stride);
}

}  // namespace fovea::kernels
