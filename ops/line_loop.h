// A kernel of rows.h over all lines of strided tensors; for the sources of ops.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/op.h"
#include "fovea/ops/row_view.h"
#include "fovea/tensor/parallel.h"

namespace fovea::detail {

/// Lines of x along some axes, and what is computed for each of them.
struct LineTensors {
  const Tensor& x;
  const Tensor& y;             ///< of x's shape, or of one element for each line
  const Tensor* dy = nullptr;  ///< of x's shape
};

/// Lines that are neither contiguous nor beside each other are copied, so many at a time.
inline std::int64_t lines_at_once(std::int64_t lines, std::int64_t length) {
  constexpr std::int64_t kElements = 16384, kLeast = 16;
  return std::clamp<std::int64_t>(kElements / std::max<std::int64_t>(1, length),
                                  std::min(kLeast, std::max<std::int64_t>(1, lines)),
                                  std::max<std::int64_t>(1, lines));
}

/// Columns of a task, where they are long.
inline constexpr std::int64_t kColumnsAtOnce = 64;

/// Whether columns of x, if it is row-major, are copied before several passes over them: the
/// columns of a task would push each other out of the cache, and a copy of them does not.
inline bool brings_near(const TensorSpec& x, AxisMask along) {
  constexpr std::int64_t kLeast = 1024, kMost = 16384, kWide = 4 * kColumnsAtOnce;
  const RowView view(x.shape, contiguous_strides(x.shape), along);
  return view.columns() && view.step() >= kWide && view.length() >= kLeast &&
         view.length() <= kMost;
}

/// Bytes of scratch for `operands` tensors that may have to be copied, x and dy.
inline std::size_t line_workspace(const TensorSpec& x, AxisMask along, int operands) {
  const RowView view(x.shape, contiguous_strides(x.shape), along);
  const std::int64_t lines =
      brings_near(x, along) ? std::max(kColumnsAtOnce, lines_at_once(view.rows(), view.length()))
                            : lines_at_once(view.rows(), view.length());
  const std::int64_t copy = lines * view.length();
  return static_cast<std::size_t>(num_threads() * operands * copy) * size_of(x.dtype);
}

template <class T>
class LineLoop {
 public:
  /// x has elements.
  LineLoop(const LineTensors& t, AxisMask along)
      : tensors_(t),
        x_(t.x.shape(), t.x.strides(), along),
        dy_(t.dy == nullptr ? x_ : RowView(t.dy->shape(), t.dy->strides(), along)),
        reduces_(t.y.numel() != t.x.numel() || x_.length() == 1),
        y_(reduces_ ? x_ : RowView(t.y.shape(), t.y.strides(), along)),
        near_(brings_near({t.x.dtype(), t.x.shape()}, along)) {}

  void run(Context& context, const kernels::LinesLoops<T>& loops) const {
    constexpr std::int64_t kElements = 16384;  // of a task
    const std::int64_t lines = x_.rows(), in_task = kElements / x_.length();
    if (x_.columns() && dy_.columns() && (reduces_ || y_.columns())) {
      const std::int64_t near = near_ ? kColumnsAtOnce * x_.length() : 0;
      auto* copies = reinterpret_cast<T*>(
          context.scratch(static_cast<std::size_t>(num_threads() * near) * sizeof(T)));
      return each_task(lines, std::max(kColumnsAtOnce, in_task),
                       [&](std::int64_t begin, std::int64_t end, int slot) {
                         each_run(begin, end, kernels::kMostColumns, loops.columns,
                                  near_ ? copies + slot * near : nullptr);
                       });
    }
    if (x_.dense() && dy_.dense() && (reduces_ || y_.dense())) {
      return each_task(lines, std::max<std::int64_t>(1, in_task),
                       [&](std::int64_t begin, std::int64_t end, int) {
                         each_run(begin, end, end - begin, loops.rows, nullptr);
                       });
    }
    const std::int64_t copied = lines_at_once(lines, x_.length()), elements = copied * x_.length();
    const int operands = tensors_.dy == nullptr ? 1 : 2;
    auto* copies = reinterpret_cast<T*>(
        context.scratch(static_cast<std::size_t>(num_threads() * operands * elements) * sizeof(T)));
    each_task(lines, copied, [&](std::int64_t begin, std::int64_t end, int slot) {
      run_copied(begin, end - begin, copies + slot * operands * elements, elements, loops.rows);
    });
  }

 private:
  template <class Body>
  static void each_task(std::int64_t lines, std::int64_t in_task, const Body& body) {
    fovea::parallel_for((lines + in_task - 1) / in_task, [&](std::int64_t task, int slot) {
      body(task * in_task, std::min(lines, (task + 1) * in_task), slot);
    });
  }

  // The lines in runs that are evenly spaced in all tensors, `most` at a time.
  void each_run(std::int64_t begin, std::int64_t end, std::int64_t most,
                kernels::LinesFunction<T> function, T* near) const {
    while (begin < end) {
      std::int64_t count = std::min({end - begin, most, x_.run(begin), dy_.run(begin)});
      if (!reduces_) count = std::min(count, y_.run(begin));
      const auto lines = [&]<class E>(E* data, const RowView& view) {
        return kernels::Lines<E>{data + view.offset(begin), view.row_stride(), view.step()};
      };
      T* y = tensors_.y.template mutable_data<T>();
      const Tensor& dy = tensors_.dy == nullptr ? tensors_.x : *tensors_.dy;
      function({count, x_.length(), lines(tensors_.x.template data<T>(), x_),
                reduces_ ? kernels::Lines<T>{y + begin, 1, 1} : lines(y, y_),
                lines(dy.template data<T>(), dy_), near});
      begin += count;
    }
  }

  void run_copied(std::int64_t begin, std::int64_t count, T* copy, std::int64_t elements,
                  kernels::LinesFunction<T> function) const {
    const std::int64_t n = x_.length();
    x_.gather(tensors_.x.template data<T>(), begin, count, 0, n, copy);
    if (tensors_.dy != nullptr) {
      dy_.gather(tensors_.dy->template data<T>(), begin, count, 0, n, copy + elements);
    }
    T* y = tensors_.y.template mutable_data<T>();
    const T* dy = tensors_.dy == nullptr ? copy : copy + elements;
    if (reduces_) return function({count, n, {copy, n, 1}, {y + begin, 1, 1}, {dy, n, 1}});
    function({count, n, {copy, n, 1}, {copy, n, 1}, {dy, n, 1}});
    y_.scatter(copy, begin, count, 0, n, y);
  }

  const LineTensors& tensors_;
  RowView x_, dy_;
  bool reduces_;  // a line of y is one element
  RowView y_;
  bool near_;
};

/// Runs the loops that select(kernels::Loops<T>) names, along the axes in `along`. x has elements.
template <class Select>
void run_lines(Context& context, const LineTensors& t, AxisMask along, const Select& select) {
  if (t.x.dtype() == f32) {
    return LineLoop<float>(t, along).run(context, select(kernels::kernels().f32));
  }
  LineLoop<double>(t, along).run(context, select(kernels::kernels().f64));
}

}  // namespace fovea::detail
