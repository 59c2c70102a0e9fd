#include "fovea/ops/rope.h"

#include <cmath>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

Expr with_last_axis(const Expr& x) {
  std::vector<Extent> extents(x.shape().begin(), x.shape().end());
  extents.emplace_back(1);
  return reshape(x, {.shape = std::move(extents)});
}

// What each pair turns by per position, negative for the inverse.
Tensor frequencies(const Rope& op, std::int64_t dim) {
  const Tensor table = Tensor::empty(f64, {dim / 2});
  auto* turn = table.mutable_data<double>();
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    turn[i] = std::pow(op.base, -2 * static_cast<double>(i) / static_cast<double>(dim));
    if (op.inverse) turn[i] = -turn[i];
  }
  return table;
}

}  // namespace

Y<TensorSpec> Rope::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  detail::infer_elementwise(name, Domain::floats, in.x);
  const std::int64_t last = normalize_axis(name, -1, x.rank());
  if (x[last] % 2 != 0) {
    fail(name, "x {} has extent {} at its last axis; pairs need an even one", x, x[last]);
  }
  if (!(base > 0) || std::isinf(base)) {
    fail(name, "base {}; a finite number greater than 0 is required", base);
  }
  if (!in.positions) {
    if (x.rank() < 2) {
      fail(name, "x {} has no axis of positions; rank 2 or more, or positions, are required", x);
    }
    return {in.x};
  }
  if (in.positions->dtype != i64) {
    fail(name, "positions are {}; i64 is required", in.positions->dtype);
  }
  if (!broadcasts_to(in.positions->shape, x.without(last))) {
    fail(name, "positions {} do not broadcast to {}, x's shape without its last axis",
         in.positions->shape, x.without(last));
  }
  return {in.x};
}

// The transpose of a rotation is its inverse.
Rope::In<Expr> Rope::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  Rope back = *this;
  back.inverse = !inverse;
  return {.x = apply(back, {d.y, in.positions}, Location()).y};
}

Y<Expr> Rope::decomposition(const In<Expr>& in) const {
  const Expr& x = in.x;
  const std::int64_t dim = x.shape()[-1];
  const Expr positions = in.positions ? *in.positions : iota({.extent = x.shape()[-2]});
  const Expr angles =
      with_last_axis(cast(positions, {.dtype = f64})) * constant(frequencies(*this, dim));
  const Expr c = cast(cos(angles), {.dtype = x.dtype()}),
             s = cast(sin(angles), {.dtype = x.dtype()});
  const auto half = [&](std::int64_t i) {
    return interleaved ? slice(x, {.axis = -1, .start = i, .step = 2})
                       : slice(x, {.axis = -1, .start = i * (dim / 2), .end = (i + 1) * (dim / 2)});
  };
  const Expr a = half(0), b = half(1);
  const Expr turned_a = a * c - b * s, turned_b = a * s + b * c;
  if (!interleaved) return {concat({turned_a, turned_b}, {.axis = -1})};
  const Expr pairs = concat({with_last_axis(turned_a), with_last_axis(turned_b)}, {.axis = -1});
  return {reshape(pairs, {.shape = {x.shape().begin(), x.shape().end()}})};
}

std::vector<Sample<Rope>> Rope::samples() {
  const Arg far = arg::integers({3}, 1000, 2000);
  return {{{}, {arg::normal({2, 3, 4}), {}}},
          {{.interleaved = true}, {arg::normal({2, 3, 4}), {}}, "neighbours are pairs"},
          {{.base = 100, .inverse = true}, {arg::normal({5, 6}), {}}, "the other way"},
          {{.base = 0.5, .interleaved = true, .inverse = true}, {arg::normal({3, 2}), {}}},
          {{}, {arg::normal({2, 3, 4}), far}, "positions that all share"},
          {{}, {arg::normal({2, 2, 3, 4}), arg::integers({2, 1, 3}, -9, 9)}, "of each batch item"},
          {{}, {arg::normal({2, 3, 4}), arg::integers({2, 1}, 0, 9)}, "heads before the dim"},
          {{}, {arg::normal({4}), arg::values({7}, {}, i64)}, "one position"},
          {{}, {arg::normal({0, 4}), {}}, "no positions"},
          {{.interleaved = true}, {arg::normal({3, 0}), {}}, "no pairs"}};
}

std::vector<Reject<Rope>> Rope::rejects() {
  return {{{},
           {arg::normal({2, 3}), {}},
           "x (2, 3) has extent 3 at its last axis; pairs need an even one"},
          {{.base = 0}, {arg::normal({2, 4}), {}}, "base 0"},
          {{}, {arg::normal({4}), {}}, "rank 2 or more, or positions, are required"},
          {{}, {arg::normal({2, 4}), arg::normal({2})}, "positions are f64; i64 is required"},
          {{},
           {arg::normal({2, 4}), arg::integers({3}, 0, 9)},
           "positions (3,) do not broadcast to (2,)"},
          {{}, {arg::integers({2, 4}, 0, 9), {}}, "f32 or f64 is required"},
          {{}, {arg::normal({}), {}}, "a scalar has no axes"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Rope);
