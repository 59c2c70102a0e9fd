// What ops that reduce along axes share; for the sources of ops.
#pragma once

#include <string_view>

#include "fovea/ops/attributes.h"
#include "fovea/ops/expr.h"

namespace fovea::detail {

/// x's shape without the axes reduced, or with 1 in their place. Throws Error, naming `where`, for
/// a wrong axis.
Shape reduced_shape(std::string_view where, const Shape& x, const Axes& axes, bool keep_dims);

/// How many elements each element of the reduced shape comes from.
std::int64_t reduced_count(const Shape& x, const Axes& axes);

/// y, of x's reduced shape, with the reduced axes kept as 1: it broadcasts against x.
Expr unreduce(const Expr& y, const Expr& x, const Axes& axes, bool keep_dims);

/// y repeated to x's shape.
Expr spread(const Expr& y, const Expr& x, const Axes& axes, bool keep_dims);

/// The transpose of broadcasting: x summed over the axes along which `shape` was repeated.
Expr sum_to(const Expr& x, const Shape& shape);

}  // namespace fovea::detail
