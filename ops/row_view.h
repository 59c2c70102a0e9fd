// A strided tensor seen as rows: the elements along some of its axes, one row for each position of
// the other axes. For the sources of ops; allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "fovea/ops/attributes.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

/// A set of axes; bit i stands for axis i.
using AxisMask = std::uint64_t;

/// The mask of `axes` (all without a list). Throws Error, naming `where`, if an axis is out of
/// range or named twice.
AxisMask axis_mask(std::string_view where, const Axes& axes, std::int64_t rank);
inline bool contains(AxisMask mask, std::int64_t axis) { return (mask >> axis & 1) != 0; }

class RowView {
 public:
  /// Rows run along the axes in `along`, the last of them fastest; rows follow each other in the
  /// row-major order of the other axes.
  RowView(const Shape& shape, const Strides& strides, AxisMask along);

  std::int64_t rows() const { return rows_; }
  std::int64_t length() const { return length_; }
  /// Whether every row is contiguous.
  bool dense() const { return along_.dense(); }
  /// Whether rows stand beside each other, element by element, some at least.
  bool columns() const {
    constexpr std::int64_t kSome = 8;
    return along_.count <= 1 && kept_.inner().stride == 1 && kept_.inner().extent >= kSome;
  }
  /// Elements between neighbours of a row that is dense, or of columns.
  std::int64_t step() const { return along_.inner().stride; }
  /// How many rows from `row` on are `row_stride()` elements apart.
  std::int64_t run(std::int64_t row) const {
    return kept_.inner().extent - row % kept_.inner().extent;
  }
  std::int64_t row_stride() const { return kept_.inner().stride; }
  /// Where a row begins, in elements.
  std::int64_t offset(std::int64_t row) const { return kept_.offset(row); }

  /// Copies elements [begin, begin + n) of the rows [first, first + count) of `x` to `to`, row
  /// after row.
  template <class T>
  void gather(const T* x, std::int64_t first, std::int64_t count, std::int64_t begin,
              std::int64_t n, T* to) const {
    visit(first, count, begin, n, [&](std::int64_t at, std::int64_t index) { to[index] = x[at]; });
  }
  /// The inverse: copies `from`, row after row, to those places of `y`.
  template <class T>
  void scatter(const T* from, std::int64_t first, std::int64_t count, std::int64_t begin,
               std::int64_t n, T* y) const {
    visit(first, count, begin, n,
          [&](std::int64_t at, std::int64_t index) { y[at] = from[index]; });
  }

 private:
  static constexpr std::int64_t kLineRows = 16;

  struct Axis {
    std::int64_t extent, stride;
  };
  // Axes that lie behind each other are one.
  struct AxisList {
    std::array<Axis, kMostAxes> axes;
    std::size_t count = 0;

    void append(Axis axis);
    bool dense() const { return count == 0 || (count == 1 && axes[0].stride == 1); }
    // Offset of a position in row-major order.
    std::int64_t offset(std::int64_t position) const;
    // Extent and stride of the fastest axis.
    Axis inner() const { return count == 0 ? Axis{1, 0} : axes[count - 1]; }
  };

  // Calls f(offset in the tensor, index in the rows' copy) for each element, in runs in which both
  // the row and the position advance by one stride; the smaller stride goes innermost.
  template <class F>
  void visit(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t n,
             const F& f) const {
    const Axis row = kept_.inner(), column = along_.inner();
    for (std::int64_t r = 0; r < count;) {
      const std::int64_t rows = std::min(count - r, row.extent - (first + r) % row.extent);
      const std::int64_t base = kept_.offset(first + r);
      for (std::int64_t c = 0; c < n;) {
        const std::int64_t columns = std::min(n - c, column.extent - (begin + c) % column.extent);
        const std::int64_t start = base + along_.offset(begin + c), index = r * n + c;
        if (rows > 1 && std::abs(row.stride) < std::abs(column.stride)) {
          // A few rows at a time, so that the lines of the copy stay in the cache.
          for (std::int64_t some = 0; some < rows; some += kLineRows) {
            const std::int64_t end = std::min(rows, some + kLineRows);
            for (std::int64_t j = 0; j < columns; ++j) {
              for (std::int64_t i = some; i < end; ++i) {
                f(start + i * row.stride + j * column.stride, index + i * n + j);
              }
            }
          }
        } else {
          for (std::int64_t i = 0; i < rows; ++i) {
            for (std::int64_t j = 0; j < columns; ++j) {
              f(start + i * row.stride + j * column.stride, index + i * n + j);
            }
          }
        }
        c += columns;
      }
      r += rows;
    }
  }

  AxisList kept_, along_;
  std::int64_t rows_ = 1, length_ = 1;
};

}  // namespace fovea
