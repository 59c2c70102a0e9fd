// Tiles of elementwise rows made of vectorised functions; for the sources of ops.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/op.h"

namespace fovea::detail {

// The functions of the instruction set in use.
template <class T>
const kernels::Loops<T>& functions() {
  return kernels::loops<T>(kernels::kernels());
}

inline constexpr std::int64_t kMostMapped = 1024;

// Row has `template <class T> static void map(std::int64_t n, const T* x, T* y)` for up to
// kMostMapped elements; y may be x.
template <class Row, class T>
void run_map(const void*, std::int64_t n, const TileOperand* in, void* out) {
  const auto* x = static_cast<const T*>(in[0].data);
  auto* y = static_cast<T*>(out);
  if (in[0].single) {
    T value;
    Row::template map<T>(1, x, &value);
    std::fill_n(y, n, value);
    return;
  }
  for (std::int64_t i = 0; i < n; i += kMostMapped) {
    Row::template map<T>(std::min(kMostMapped, n - i), x + i, y + i);
  }
}

template <class Row>
TileKernel map_kernel(DType dtype) {
  if (dtype == f32) return {run_map<Row, float>};
  if (dtype == f64) return {run_map<Row, double>};
  return {};
}

}  // namespace fovea::detail
