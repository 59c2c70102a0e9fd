#include "fovea/ops/triangle.h"

#include <algorithm>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

TensorSpec infer_triangle(std::string_view where, const TensorSpec& x) {
  if (x.shape.rank() < 2) {
    fail(where, "x {} has no matrices; rank 2 or more is required", x.shape);
  }
  return x;
}

struct Places {
  Expr column, diagonal;  // of each element: j, and i + k
};

Places places_in(const Expr& x, std::int64_t k) {
  const Extent &rows = x.shape()[-2], &columns = x.shape()[-1];
  // Beyond the corners nothing changes; i + k must not overflow.
  const std::int64_t near = std::clamp(k, -rows.value(), columns.value());
  const Expr i = reshape(iota({.extent = rows}), {.shape = {rows, 1}});
  return {iota({.extent = columns}), i + near};
}

}  // namespace

Y<TensorSpec> Tril::infer(const In<TensorSpec>& in) const { return {infer_triangle(name, in.x)}; }

Tril::In<Expr> Tril::vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
  return {tril(d.y, *this)};
}

Y<Expr> Tril::decomposition(const In<Expr>& in) const {
  const auto [column, diagonal] = places_in(in.x, k);
  return {where(less_equal(column, diagonal), in.x, 0)};
}

Y<TensorSpec> Triu::infer(const In<TensorSpec>& in) const { return {infer_triangle(name, in.x)}; }

Triu::In<Expr> Triu::vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
  return {triu(d.y, *this)};
}

Y<Expr> Triu::decomposition(const In<Expr>& in) const {
  const auto [column, diagonal] = places_in(in.x, k);
  return {where(greater_equal(column, diagonal), in.x, 0)};
}

namespace {

template <class Op>
std::vector<Sample<Op>> triangle_samples() {
  return {{{}, {arg::normal({3, 4})}},
          {{.k = 1}, {arg::normal({2, 3, 3})}},
          {{.k = -2}, {arg::normal({4, 3})}},
          {{.k = std::numeric_limits<std::int64_t>::max()}, {arg::normal({2, 2})}, "far off"},
          {{.k = std::numeric_limits<std::int64_t>::min()}, {arg::normal({2, 2})}, "far off"},
          {{}, {arg::normal({3, 0})}, "nothing"},
          {{}, {arg::integers({3, 3}, -9, 9)}, "i64"},
          {{}, {arg::bernoulli({3, 3})}, "bool"}};
}

template <class Op>
std::vector<Reject<Op>> triangle_rejects() {
  return {{{}, {arg::normal({3})}, "x (3,) has no matrices; rank 2 or more is required"},
          {{}, {arg::normal({})}, "rank 2 or more is required"}};
}

}  // namespace

std::vector<Sample<Tril>> Tril::samples() { return triangle_samples<Tril>(); }
std::vector<Reject<Tril>> Tril::rejects() { return triangle_rejects<Tril>(); }
std::vector<Sample<Triu>> Triu::samples() { return triangle_samples<Triu>(); }
std::vector<Reject<Triu>> Triu::rejects() { return triangle_rejects<Triu>(); }

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Tril);
FOVEA_DEFINE_OP(fovea::Triu);
