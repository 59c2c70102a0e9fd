// Matrix products on pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fovea::kernels {

/// A matrix operand: element (i, j) is `data[i*row + j*column]`. Strides are in elements, any sign,
/// 0 too.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t row = 0, column = 0;

  operator MatrixView<const T>() const requires(!std::is_const_v<T>) { return {data, row, column}; }
};

/// Called once for each block of c when its elements are final and still in cache, on the thread
/// that made it (several threads at once, any order); blocks are disjoint and cover c, none is
/// empty. What it does to an element must not depend on how c is cut into blocks.
struct GemmEpilogue {
  void (*run)(const void* self, std::int64_t row, std::int64_t rows, std::int64_t column,
              std::int64_t columns) = nullptr;
  const void* self = nullptr;
};

/// c[m, n] = Σ_k a[m, k] · b[k, n], T float or double.
template <class T>
struct GemmProblem {
  std::int64_t m = 0, n = 0, k = 0;
  MatrixView<const T> a;        ///< m × k
  MatrixView<const T> b;        ///< k × n
  MatrixView<T> c;              ///< m × n; overlaps neither a nor b
  const T* packed_b = nullptr;  ///< by `gemm_pack_b` for the same n and k; b is then not read
  GemmEpilogue epilogue = {};
};

/// Bytes of scratch for the problem's extents and the loop slots `slots` (fovea::num_threads()).
template <class T>
std::size_t gemm_scratch(const GemmProblem<T>& problem, int slots);

/// Fills c; k = 0 gives zeros. NaN and infinity propagate as in the formula. `scratch` is aligned
/// to 64 bytes and has `gemm_scratch(problem, slots)` bytes. Runs in parallel over tiles of c
/// (inside a parallel loop: serially); results do not depend on the number of threads, on strides
/// or on packing.
template <class T>
void gemm(const GemmProblem<T>& problem, void* scratch, int slots);

/// Bytes of b when packed, whatever m: the same for every instruction set.
template <class T>
std::size_t gemm_packed_bytes(std::int64_t n, std::int64_t k);

/// Copies problem.b to `packed`, aligned to 64 bytes, for many products with the same b.
template <class T>
void gemm_pack_b(const GemmProblem<T>& problem, T* packed);

}  // namespace fovea::kernels
