// Layer and RMS normalisation of contiguous rows.
#pragma once

#include <cstdint>

namespace fovea::kernels {

/// y = x̂ · weight + bias, x̂ = (x − mean x) / sqrt(var x + eps), or x / sqrt(mean x² + eps) when not
/// `centred`. A null weight is 1, a null bias 0; y may be x.
template <class T>
struct NormRow {
  std::int64_t length = 0;
  const T *x = nullptr, *weight = nullptr, *bias = nullptr;
  double eps = 0;
  bool centred = true;
  T* y = nullptr;
};

/// The gradients of a row; null ones are not computed. dweight and dbias are added to.
template <class T>
struct NormGradientRow {
  std::int64_t length = 0;
  const T *x = nullptr, *weight = nullptr, *dy = nullptr;
  double eps = 0;
  bool centred = true;
  T *dx = nullptr, *dweight = nullptr, *dbias = nullptr;
};

}  // namespace fovea::kernels
