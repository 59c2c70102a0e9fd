// Contiguous rows along the last axis, from tensors of any strides; for the sources of ops.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fovea/ops/row_view.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

template <class T>
class RowReader {
 public:
  explicit RowReader(const Tensor& x)
      : view_(x.shape(), x.strides(), AxisMask{1} << (x.rank() - 1)), data_(x.data<T>()) {}

  std::int64_t rows() const { return view_.rows(); }
  std::int64_t length() const { return view_.length(); }

  /// Row r where it is, or copied to `copy`.
  const T* row(std::int64_t r, T* copy) const {
    if (view_.dense()) return data_ + view_.offset(r);
    view_.gather(data_, r, 1, 0, length(), copy);
    return copy;
  }

  /// Calls body(row, slot) for all rows, in parallel tasks that the shape decides.
  template <class Body>
  void for_each(const Body& body) const {
    constexpr std::int64_t kElements = 16384;  // of a task
    const std::int64_t rows_of_task =
        std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, length()));
    parallel_for((rows() + rows_of_task - 1) / rows_of_task, [&](std::int64_t task, int slot) {
      const std::int64_t end = std::min(rows(), (task + 1) * rows_of_task);
      for (std::int64_t r = task * rows_of_task; r < end; ++r) body(r, slot);
    });
  }

 private:
  RowView view_;
  const T* data_;
};

/// The elements of a tensor of rank 1, where they are or copied to `copy`.
template <class T>
const T* dense_vector(const Tensor& x, T* copy) {
  return RowReader<T>(x).row(0, copy);
}

}  // namespace fovea
