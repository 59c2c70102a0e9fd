// The ops of indexing.h that make numbers: one_hot, argmax, iota.
#include <algorithm>
#include <atomic>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/indices.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reduce.h"
#include "fovea/ops/row_view.h"
#include "fovea/ops/walk.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

using detail::position_of;

Y<TensorSpec> OneHot::infer(const In<TensorSpec>& in) const {
  detail::require_indices(name, in.indices);
  if (classes < 0) fail(name, "classes {}; an extent is 0 or more", classes);
  return {{dtype, in.indices.shape.inserted(in.indices.shape.rank(), classes)}};
}

void OneHot::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  const Walk<1> walk(in.indices.shape(), {in.indices.strides()});
  const auto* index = in.indices.data<std::int64_t>();
  bool valid = true;
  visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
    T* row = out.y.mutable_data<T>();
    std::fill_n(row, out.y.numel(), T(0));
    walk.visit(0, walk.positions(), [&](const auto& at, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i, row += classes) {
        const std::int64_t position = position_of(index[at[0] + i * walk.step(0)], classes);
        valid &= position >= 0;
        if (position >= 0) row[position] = T(1);
      }
    });
  });
  if (!valid)
    detail::check_indices(in.indices, {name, format("there are {} classes", classes), classes});
}

Y<Expr> OneHot::decomposition(const In<Expr>& in) const {
  std::vector<Extent> extents(in.indices.shape().begin(), in.indices.shape().end());
  extents.emplace_back(1);
  const Expr positions = reshape(detail::positions_of(in.indices, classes), {.shape = extents});
  return {cast(equal(positions, iota({.extent = classes})), {.dtype = dtype})};
}

Y<TensorSpec> Argmax::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  if (x[at] == 0) {
    fail(name, "x {} is empty along axis {}; at least one element is required", x, at);
  }
  return {{i64, detail::reduced_shape(name, x, at, keep_dims)}};
}

void Argmax::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  const Tensor& x = in.x;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  const std::int64_t length = x.shape()[at], step = x.strides()[static_cast<std::size_t>(at)];
  const RowView rows(x.shape(), x.strides(), AxisMask{1} << at);
  auto* y = out.y.mutable_data<std::int64_t>();
  const std::int64_t task_rows = std::max<std::int64_t>(1, 16384 / length);
  visit_dtype(x.dtype(), [&]<class T>(std::type_identity<T>) {
    const T* from = x.data<T>();
    parallel_for((rows.rows() + task_rows - 1) / task_rows, [&](std::int64_t task) {
      const std::int64_t end = std::min(rows.rows(), (task + 1) * task_rows);
      for (std::int64_t row = task * task_rows; row < end; ++row) {
        const T* value = from + rows.offset(row);
        std::int64_t best = 0;
        T most = value[0];
        for (std::int64_t i = 1; i < length && most == most; ++i) {
          const T next = value[i * step];
          if (next > most || next != next) {
            best = i;
            most = next;
          }
        }
        y[row] = best;
      }
    });
  });
}

Y<TensorSpec> Iota::infer(const In<TensorSpec>&) const {
  if (extent < 0) fail(name, "extent {}; an extent is 0 or more", extent);
  if (dtype == boolean) fail(name, "dtype bool; i64, f32 or f64 is required");
  return {{dtype, Shape({extent})}};
}

void Iota::forward(Context&, const In<Tensor>&, Out<Tensor>& out) const {
  visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
    T* y = out.y.mutable_data<T>();
    for (std::int64_t i = 0; i < extent; ++i) y[i] = static_cast<T>(i);
  });
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::OneHot);
FOVEA_DEFINE_OP(fovea::Argmax);
FOVEA_DEFINE_OP(fovea::Iota);
