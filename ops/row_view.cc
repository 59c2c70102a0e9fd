#include "fovea/ops/row_view.h"

#include "fovea/tensor/format.h"

namespace fovea {

AxisMask axis_mask(std::string_view where, const Axes& axes, std::int64_t rank) {
  if (!axes.list()) return rank == kMostAxes ? ~AxisMask{0} : (AxisMask{1} << rank) - 1;
  AxisMask mask = 0;
  for (std::int64_t axis : *axes.list()) {
    const std::int64_t at = normalize_axis(where, axis, rank);
    if (contains(mask, at)) fail(where, "axis {} is named twice; each axis at most once", at);
    mask |= AxisMask{1} << at;
  }
  return mask;
}

RowView::RowView(const Shape& shape, const Strides& strides, AxisMask along) {
  for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t extent = shape[axis];
    const bool is_along = contains(along, axis);
    (is_along ? length_ : rows_) *= extent;
    if (extent == 1) continue;
    (is_along ? along_ : kept_).append({extent, strides[static_cast<std::size_t>(axis)]});
  }
}

void RowView::AxisList::append(Axis axis) {
  if (count > 0 && axes[count - 1].stride == axis.stride * axis.extent) {
    axes[count - 1] = {axes[count - 1].extent * axis.extent, axis.stride};
  } else {
    axes[count++] = axis;
  }
}

std::int64_t RowView::AxisList::offset(std::int64_t position) const {
  std::int64_t sum = 0;
  for (std::size_t i = count; i-- > 0;) {
    sum += position % axes[i].extent * axes[i].stride;
    position /= axes[i].extent;
  }
  return sum;
}

}  // namespace fovea
