// Loops along one axis: softmax and its relatives, sums, extremes. An axis that is contiguous is
// walked in rows, vectors along it; any other in columns, vectors across it, where its neighbours
// are contiguous. Both give the same bits.
#pragma once

#include <cstdint>

namespace fovea::kernels {

/// Lines of elements `step` apart, which begin `stride` apart.
template <class T>
struct Lines {
  T* data = nullptr;
  std::int64_t stride = 0, step = 1;

  T* line(std::int64_t i) const { return data + i * stride; }
};

/// `lines` lines of `length` elements. In rows, all steps are 1; in columns, all strides, and there
/// are at most kMostColumns. y may be the memory of x or dy.
template <class T>
struct LinesProblem {
  std::int64_t lines = 0, length = 0;
  Lines<const T> x;
  Lines<T> y;
  Lines<const T> dy = {};  ///< for gradients, where x is the result of forward
  /// Null, or lines × length elements: where columns are so long that they would push themselves
  /// out of the cache between one pass and the next, x is brought here first.
  T* near = nullptr;
};

inline constexpr std::int64_t kMostColumns = 256;

template <class T>
using LinesFunction = void (*)(const LinesProblem<T>&);

template <class T>
struct LinesLoops {
  LinesFunction<T> rows = nullptr, columns = nullptr;
};

/// Elements that a reduction takes at a time; its caller puts the pieces together.
inline constexpr std::int64_t kPiece = 4096;

/// One number for each of `columns` neighbouring columns of n elements, `step` apart; n is 1 to
/// kPiece, columns at most kMostColumns.
template <class T, class Result>
using ReduceColumns = void (*)(const T* x, std::int64_t step, std::int64_t n, std::int64_t columns,
                               Result* results);

/// The largest or the smallest of n elements, 1 or more; NaN if one is NaN.
template <class T>
struct ExtremeLoops {
  T (*row)(const T* x, std::int64_t n) = nullptr;
  ReduceColumns<T, T> columns = nullptr;
};

/// Σ x[i * stride], one thread; f32 is accumulated in f64.
double sum(const float* x, std::int64_t length, std::int64_t stride);
double sum(const double* x, std::int64_t length, std::int64_t stride);

}  // namespace fovea::kernels
