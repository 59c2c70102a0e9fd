// Loops over contiguous rows: softmax and sums.
#pragma once

#include <cstdint>

namespace fovea::kernels {

/// Rows of `length` contiguous elements, `x_stride` and `y_stride` elements apart; x and y may be
/// the same memory.
template <class T>
struct RowsProblem {
  std::int64_t rows = 0, length = 0;
  const T* x = nullptr;
  std::int64_t x_stride = 0;
  T* y = nullptr;
  std::int64_t y_stride = 0;
};

/// y = exp(x − max x) / Σ exp(x − max x). A row of all −inf gives 0; a row with NaN or +inf gives
/// NaN.
template <class T>
void softmax_rows(const RowsProblem<T>& problem);

/// y = x − max x − log Σ exp(x − max x). A row of all −inf gives −inf; a row with NaN or +inf gives
/// NaN.
template <class T>
void log_softmax_rows(const RowsProblem<T>& problem);

/// y[row * y_stride] = log Σ exp x. An empty row and a row of all −inf give −inf, one with +inf
/// gives +inf, one with NaN gives NaN.
template <class T>
void logsumexp_rows(const RowsProblem<T>& problem);

/// y[row * y_stride] = Σ x, accurate to a few units in the last place of Σ|x|; 0 for an empty row.
template <class T>
void sum_rows(const RowsProblem<T>& problem);

/// Σ x[i * stride], one thread; f32 is accumulated in f64.
double sum(const float* x, std::int64_t length, std::int64_t stride);
double sum(const double* x, std::int64_t length, std::int64_t stride);

}  // namespace fovea::kernels
