#include "fovea/ops/indexing.h"

#include <atomic>
#include <cstring>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indices.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/row_view.h"
#include "fovea/ops/walk.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace detail {

void require_indices(std::string_view where, const TensorSpec& indices) {
  if (indices.dtype != i64) fail(where, "indices are {}; i64 is required", indices.dtype);
}

std::string at_text(const Shape& shape, std::int64_t flat) {
  if (shape.rank() == 0) return {};
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()));
  for (std::size_t axis = index.size(); axis-- > 0;) {
    index[axis] = flat % shape[static_cast<std::int64_t>(axis)];
    flat /= shape[static_cast<std::int64_t>(axis)];
  }
  return format(" at [{}]", fmt::join(index, ", "));
}

void check_indices(const Tensor& indices, const IndexRange& range) {
  const Walk<1> walk(indices.shape(), {indices.strides()});
  const auto* index = indices.data<std::int64_t>();
  std::int64_t flat = 0;
  walk.visit(0, walk.positions(), [&](const auto& at, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i, ++flat) {
      const std::int64_t value = index[at[0] + i * walk.step(0)];
      if (position_of(value, range.extent) >= 0) continue;
      fail(range.op, "index {}{} of indices: {}; {}", value, at_text(indices.shape(), flat),
           range.what,
           range.extent == 0 ? std::string("no index is possible")
                             : format("{} to {} are required", -range.extent, range.extent - 1));
    }
  });
}

Expr positions_of(const Expr& indices, std::int64_t extent) {
  return where(less(indices, 0), indices + extent, indices);
}

}  // namespace detail

using detail::IndexRange;
using detail::position_of;

namespace {

constexpr std::int64_t kTaskElements = 16384;

IndexRange range_of(std::string_view op, const Tensor& x, std::int64_t axis) {
  const Extent& extent = x.shape()[axis];
  return {op, format("x {} has extent {} at axis {}", x.shape(), extent, axis), extent};
}

std::vector<Extent> extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

Expr zeros_like(const Expr& x) {
  return broadcast_to(constant(x.dtype(), 0), {.shape = extents_of(x.shape())});
}

AxisMask behind(std::int64_t axis, std::int64_t rank) {
  AxisMask mask = 0;
  for (std::int64_t i = axis + 1; i < rank; ++i) mask |= AxisMask{1} << i;
  return mask;
}

// x's shape with those of the indices in place of `axis`.
Shape taken_shape(const Shape& x, const Shape& indices, std::int64_t axis) {
  std::vector<Extent> extents;
  for (std::int64_t i = 0; i < axis; ++i) extents.push_back(x[i]);
  extents.insert(extents.end(), indices.begin(), indices.end());
  for (std::int64_t i = axis + 1; i < x.rank(); ++i) extents.push_back(x[i]);
  return Shape(std::move(extents));
}

// The same indices for every position of the other axes, as gather wants them: a view.
Expr spread_along(const Expr& indices, const Shape& x, std::int64_t axis) {
  const std::int64_t count = indices.shape().numel();
  std::vector<Extent> line(static_cast<std::size_t>(x.rank()), 1);
  line[static_cast<std::size_t>(axis)] = count;
  return broadcast_to(reshape(indices, {.shape = std::move(line)}),
                      {.shape = extents_of(x.with(axis, count))});
}

}  // namespace

Y<TensorSpec> Take::infer(const In<TensorSpec>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.shape.rank());
  detail::require_indices(name, in.indices);
  return {{in.x.dtype, taken_shape(in.x.shape, in.indices.shape, at)}};
}

std::size_t Take::workspace(const In<TensorSpec>& in) const {
  return static_cast<std::size_t>(in.indices.shape.numel()) * sizeof(std::int64_t);
}

void Take::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  const Tensor &x = in.x, &indices = in.indices;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  const std::int64_t extent = x.shape()[at], count = indices.numel();
  auto* positions = reinterpret_cast<std::int64_t*>(
      context.scratch(static_cast<std::size_t>(count) * sizeof(std::int64_t)));
  bool valid = true;
  const Walk<1> walk(indices.shape(), {indices.strides()});
  walk.visit(0, walk.positions(), [&](const auto& from, std::int64_t n) {
    const std::int64_t* index = indices.data<std::int64_t>() + from[0];
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t position = position_of(index[i * walk.step(0)], extent);
      valid &= position >= 0;
      *positions++ = position;
    }
  });
  positions -= count;
  if (!valid) detail::check_indices(indices, range_of(name, x, at));
  if (out.y.numel() == 0) return;
  // Rows of x: what stands behind `axis`.
  const RowView rows(x.shape(), x.strides(), behind(at, x.rank()));
  const std::int64_t length = rows.length(), taken = out.y.numel() / length;
  const std::int64_t task_rows = std::max<std::int64_t>(1, kTaskElements / length);
  visit_dtype(x.dtype(), [&]<class T>(std::type_identity<T>) {
    const T* from = x.data<T>();
    T* to = out.y.mutable_data<T>();
    parallel_for((taken + task_rows - 1) / task_rows, [&](std::int64_t task) {
      const std::int64_t end = std::min(taken, (task + 1) * task_rows);
      for (std::int64_t row = task * task_rows; row < end; ++row) {
        const std::int64_t source = row / count * extent + positions[row % count];
        if (rows.dense()) {
          std::memcpy(to + row * length, from + rows.offset(source),
                      static_cast<std::size_t>(length) * sizeof(T));
        } else {
          rows.gather(from, source, 1, 0, length, to + row * length);
        }
      }
    });
  });
}

// Rows that were read several times get all their gradients.
Take::In<Expr> Take::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Expr indices = spread_along(in.indices, in.x.shape(), at);
  const Expr updates = reshape(d.y, {.shape = extents_of(indices.shape())});
  return {.x = scatter_add(zeros_like(in.x), indices, updates, {.axis = at}), .indices = {}};
}

Y<Expr> Take::decomposition(const In<Expr>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Expr y = gather(in.x, spread_along(in.indices, in.x.shape(), at), {.axis = at});
  return {reshape(y, {.shape = extents_of(taken_shape(in.x.shape(), in.indices.shape(), at))})};
}

namespace {

// Whether the shapes are equal except at `axis`.
bool fit(const Shape& a, const Shape& b, std::int64_t axis) {
  bool equal = a.rank() == b.rank();
  for (std::int64_t i = 0; equal && i < a.rank(); ++i) equal = i == axis || a[i] == b[i];
  return equal;
}

void require_fit(std::string_view where, const Shape& x, const Shape& indices, std::int64_t axis) {
  if (fit(x, indices, axis)) return;
  fail(where, "x {} and indices {}; equal ranks, and equal extents except at axis {}, are required",
       x, indices, axis);
}

// Stride along `axis`.
std::int64_t along(const Tensor& x, std::int64_t axis) {
  return x.strides()[static_cast<std::size_t>(axis)];
}

// Calls body(begin, end) for blocks of positions, each with `count` indices, in parallel. An
// element that several indices meet belongs to one position, so that they meet in order.
template <std::size_t N, class Body>
void for_each_block(const Walk<N>& walk, std::int64_t count, const Body& body) {
  const std::int64_t block =
      std::max<std::int64_t>(64, kTaskElements / std::max<std::int64_t>(1, count));
  parallel_for((walk.positions() + block - 1) / block, [&](std::int64_t task) {
    body(task * block, std::min(walk.positions(), (task + 1) * block));
  });
}

// hit[.., i, n, ..]: whether indices[.., i, ..] is n. The other operands get the same rank from
// `before`, which inserts an axis.
Expr before(const Expr& x, std::int64_t axis) {
  return reshape(x, {.shape = extents_of(x.shape().inserted(axis, 1))});
}
Expr hits(const Expr& indices, const Extent& extent, std::int64_t axis) {
  std::vector<Extent> line(static_cast<std::size_t>(indices.rank() + 1), 1);
  line[static_cast<std::size_t>(axis + 1)] = extent;
  const Expr numbers = reshape(iota({.extent = extent}), {.shape = std::move(line)});
  return equal(before(detail::positions_of(indices, extent), axis + 1), numbers);
}

}  // namespace

Y<TensorSpec> Gather::infer(const In<TensorSpec>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.shape.rank());
  detail::require_indices(name, in.indices);
  require_fit(name, in.x.shape, in.indices.shape, at);
  return {{in.x.dtype, in.x.shape.with(at, in.indices.shape[at])}};
}

void Gather::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  const Tensor &x = in.x, &indices = in.indices;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  const std::int64_t extent = x.shape()[at], count = indices.shape()[at];
  const Walk<3> walk(out.y.shape(), {x.strides(), indices.strides(), out.y.strides()},
                     AxisMask{1} << at);
  const std::int64_t x_along = along(x, at), index_along = along(indices, at),
                     y_along = along(out.y, at);
  const auto* index = indices.data<std::int64_t>();
  std::atomic<bool> valid = true;
  visit_dtype(x.dtype(), [&]<class T>(std::type_identity<T>) {
    const T* from = x.data<T>();
    T* to = out.y.mutable_data<T>();
    for_each_block(walk, count, [&](std::int64_t begin, std::int64_t end) {
      walk.visit(begin, end, [&](const auto& offset, std::int64_t n) {
        for (std::int64_t i = 0; i < count; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t value = index[offset[1] + i * index_along + j * walk.step(1)];
            const std::int64_t position = position_of(value, extent);
            if (position < 0) {
              valid.store(false, std::memory_order_relaxed);
              continue;
            }
            to[offset[2] + i * y_along + j * walk.step(2)] =
                from[offset[0] + position * x_along + j * walk.step(0)];
          }
        }
      });
    });
  });
  if (!valid) detail::check_indices(indices, range_of(name, x, at));
}

Gather::In<Expr> Gather::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {.x = scatter_add(zeros_like(in.x), in.indices, d.y, {.axis = axis}), .indices = {}};
}

// One term for each position that an index might name.
Y<Expr> Gather::decomposition(const In<Expr>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Expr hit = hits(in.indices, in.x.shape()[at], at);
  if (in.x.dtype() != boolean) return {sum(where(hit, before(in.x, at), 0), {.axes = at + 1})};
  const Expr x = cast(in.x, {.dtype = i64});
  return {cast(sum(where(hit, before(x, at), 0), {.axes = at + 1}), {.dtype = boolean})};
}

Y<TensorSpec> ScatterAdd::infer(const In<TensorSpec>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.shape.rank());
  detail::require_indices(name, in.indices);
  detail::infer_elementwise(name, Domain::numbers, in.x);
  if (in.updates.dtype != in.x.dtype) {
    fail(name, "x is {} and updates are {}; equal dtypes are required", in.x.dtype,
         in.updates.dtype);
  }
  require_fit(name, in.x.shape, in.indices.shape, at);
  if (in.updates.shape != in.indices.shape) {
    fail(name, "updates {} and indices {}; equal shapes are required", in.updates.shape,
         in.indices.shape);
  }
  return {in.x};
}

namespace {

// Whether every index was in range.
template <class T>
bool add_updates(const Tensor& y, const Tensor& indices, const Tensor& updates, std::int64_t at) {
  // i64 wraps around.
  using Number = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;
  const std::int64_t extent = y.shape()[at], count = indices.shape()[at];
  const Walk<3> walk(indices.shape(), {y.strides(), indices.strides(), updates.strides()},
                     AxisMask{1} << at);
  const std::int64_t y_along = along(y, at), index_along = along(indices, at),
                     update_along = along(updates, at);
  const auto* index = indices.data<std::int64_t>();
  const T* from = updates.data<T>();
  T* to = y.mutable_data<T>();
  std::atomic<bool> valid = true;
  const auto add = [](T& sum, T term) {
    sum = static_cast<T>(static_cast<Number>(sum) + static_cast<Number>(term));
  };
  for_each_block(walk, count, [&](std::int64_t begin, std::int64_t end) {
    walk.visit(begin, end, [&](const auto& offset, std::int64_t n) {
      const std::int64_t y_step = walk.step(0), index_step = walk.step(1),
                         update_step = walk.step(2);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t* which = index + offset[1] + i * index_along;
        const T* update = from + offset[2] + i * update_along;
        T* sum = to + offset[0];
        // One index for the whole run, as for the gradient of a table's rows.
        const std::int64_t same = index_step == 0 ? n : 1;
        for (std::int64_t j = 0; j < n; j += same) {
          const std::int64_t position = position_of(which[j * index_step], extent);
          if (position < 0) {
            valid.store(false, std::memory_order_relaxed);
            continue;
          }
          T* row = sum + position * y_along;
          if (same > 1 && y_step == 1 && update_step == 1) {
            for (std::int64_t k = 0; k < n; ++k) add(row[k], update[k]);
          } else {
            for (std::int64_t k = j; k < j + same; ++k) {
              add(row[k * y_step], update[k * update_step]);
            }
          }
        }
      }
    });
  });
  return valid;
}

}  // namespace

void ScatterAdd::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  out.y.copy_from(in.x);
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const bool valid = in.x.dtype() == f32 ? add_updates<float>(out.y, in.indices, in.updates, at)
                     : in.x.dtype() == f64
                         ? add_updates<double>(out.y, in.indices, in.updates, at)
                         : add_updates<std::int64_t>(out.y, in.indices, in.updates, at);
  if (!valid) detail::check_indices(in.indices, range_of(name, in.x, at));
}

ScatterAdd::In<Expr> ScatterAdd::vjp(const In<Expr>& in, const Out<Expr>&,
                                     const Out<Expr>& d) const {
  return {.x = d.y, .indices = {}, .updates = gather(d.y, in.indices, {.axis = axis})};
}

// hits[.., i, n, ..] of the updates[.., i, ..], summed over i.
Y<Expr> ScatterAdd::decomposition(const In<Expr>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Expr hit = hits(in.indices, in.x.shape()[at], at);
  return {in.x + sum(where(hit, before(in.updates, at + 1), 0), {.axes = at})};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Take);
FOVEA_DEFINE_OP(fovea::Gather);
FOVEA_DEFINE_OP(fovea::ScatterAdd);
