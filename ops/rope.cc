#include "fovea/ops/rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/walk.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

Expr with_last_axis(const Expr& x) {
  std::vector<Extent> extents(x.shape().begin(), x.shape().end());
  extents.emplace_back(1);
  return reshape(x, {.shape = std::move(extents)});
}

// What each pair turns by per position.
Tensor frequencies(double base, std::int64_t dim) {
  const Tensor table = Tensor::empty(f64, {dim / 2});
  auto* turn = table.mutable_data<double>();
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    turn[i] = std::pow(base, -2 * static_cast<double>(i) / static_cast<double>(dim));
  }
  return table;
}

void require_pairs(std::string_view where, const TensorSpec& x) {
  detail::infer_elementwise(where, Domain::floats, x);
  normalize_axis(where, -1, x.shape.rank());
  if (x.shape[-1] % 2 == 0) return;
  fail(where, "x {} has extent {} at its last axis; pairs need an even one", x.shape, x.shape[-1]);
}

Shape halved(const Shape& x) { return x.with(x.rank() - 1, x[-1] / 2); }

}  // namespace

Y<TensorSpec> Rope::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  require_pairs(name, in.x);
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
  if (!broadcasts_to(in.positions->shape, x.without(x.rank() - 1))) {
    fail(name, "positions {} do not broadcast to {}, x's shape without its last axis",
         in.positions->shape, x.without(x.rank() - 1));
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
  const Expr positions = in.positions ? *in.positions : iota({.extent = x.shape()[-2]});
  const Expr angles =
      with_last_axis(cast(positions, {.dtype = f64})) * constant(frequencies(base, x.shape()[-1]));
  const Expr sines = inverse ? -sin(angles) : sin(angles);
  return {rotate(x, cast(cos(angles), {.dtype = x.dtype()}), cast(sines, {.dtype = x.dtype()}),
                 {.interleaved = interleaved})};
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

Y<TensorSpec> Rotate::infer(const In<TensorSpec>& in) const {
  require_pairs(name, in.x);
  const auto require = [&](std::string_view slot, const TensorSpec& table) {
    if (table.dtype == in.x.dtype && broadcasts_to(table.shape, halved(in.x.shape))) return;
    fail(name, "{} are {} and x {}; {}, or what broadcasts to it, is required", slot,
         to_string(table), to_string(in.x), to_string(TensorSpec{in.x.dtype, halved(in.x.shape)}));
  };
  require("cosines", in.cosines);
  require("sines", in.sines);
  return {in.x};
}

namespace {

// The strides of a table, 0 where it is broadcast to x's shape with half the last axis.
struct TableStrides {
  TableStrides(const Tensor& table, const Shape& x) : rank(static_cast<std::size_t>(x.rank())) {
    const auto own = static_cast<std::size_t>(table.rank());
    for (std::size_t i = 1; i <= own; ++i) {
      const bool spread = table.shape()[-static_cast<std::int64_t>(i)] == 1;
      strides[rank - i] = spread ? 0 : table.strides()[own - i];
    }
  }
  std::span<const std::int64_t> all() const { return {strides.data(), rank}; }
  std::int64_t last() const { return strides[rank - 1]; }

  std::array<std::int64_t, kMostAxes> strides{};
  std::size_t rank;
};

// Elements `step` apart.
template <class T>
struct Line {
  T* data;
  std::int64_t step;

  Line from(std::int64_t i) const { return {data + i * step, step}; }
};

template <class T>
const T* gathered(const Line<const T>& line, std::int64_t n, T* copy) {
  if (line.step == 1) return line.data;
  for (std::int64_t i = 0; i < n; ++i) copy[i] = line.data[i * line.step];
  return copy;
}

// Results share no memory with operands. g++ makes vector instructions of a loop of known length.
template <class T>
void turn(std::int64_t n, const T* a, const T* b, const T* c, const T* s, T* ya, T* yb) {
  constexpr std::int64_t kBlock = 16;
  const auto some = [&](std::int64_t begin, std::int64_t count) {
#pragma GCC ivdep
    for (std::int64_t i = begin; i < begin + count; ++i) {
      ya[i] = a[i] * c[i] - b[i] * s[i];
      yb[i] = a[i] * s[i] + b[i] * c[i];
    }
  };
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) some(i, kBlock);
  some(i, n - i);
}

template <class T>
void rotate_line(std::int64_t n, Line<const T> a, Line<const T> b, Line<const T> c, Line<const T> s,
                 Line<T> ya, Line<T> yb) {
  if (a.step == 1 && c.step == 1 && s.step == 1 && ya.step == 1) {
    return turn<T>(n, a.data, b.data, c.data, s.data, ya.data, yb.data);
  }
  constexpr std::int64_t kBlock = 64;
  T copies[6][kBlock];
  for (std::int64_t i = 0; i < n; i += kBlock) {
    const std::int64_t count = std::min(kBlock, n - i);
    turn<T>(count, gathered(a.from(i), count, copies[0]), gathered(b.from(i), count, copies[1]),
            gathered(c.from(i), count, copies[2]), gathered(s.from(i), count, copies[3]), copies[4],
            copies[5]);
    for (std::int64_t k = 0; k < count; ++k) {
      ya.data[(i + k) * ya.step] = copies[4][k];
      yb.data[(i + k) * yb.step] = copies[5][k];
    }
  }
}

template <class T>
void rotate_rows(const Rotate& op, const Rotate::In<Tensor>& in, const Tensor& y) {
  constexpr std::int64_t kElements = 16384;  // of a task
  const Tensor& x = in.x;
  const TableStrides cosines(in.cosines, x.shape()), sines(in.sines, x.shape());
  const std::int64_t n = x.shape()[-1] / 2, step = x.strides().back();
  const std::int64_t apart = op.interleaved ? 1 : n, next = op.interleaved ? 2 : 1;
  const Walk<4> walk(x.shape(), {x.strides(), cosines.all(), sines.all(), y.strides()},
                     AxisMask{1} << (x.rank() - 1));
  const T *from = x.data<T>(), *c = in.cosines.data<T>(), *s = in.sines.data<T>();
  T* to = y.mutable_data<T>();
  const std::int64_t rows = std::max<std::int64_t>(1, kElements / (2 * n));
  parallel_for((walk.positions() + rows - 1) / rows, [&](std::int64_t task) {
    const std::int64_t end = std::min(walk.positions(), (task + 1) * rows);
    walk.visit(task * rows, end, [&](const auto& at, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) {
        const T* row = from + at[0] + i * walk.step(0);
        T* out = to + at[3] + i * walk.step(3);
        rotate_line<T>(n, {row, next * step}, {row + apart * step, next * step},
                       {c + at[1] + i * walk.step(1), cosines.last()},
                       {s + at[2] + i * walk.step(2), sines.last()}, {out, next},
                       {out + apart, next});
      }
    });
  });
}

// The pairs' first and second elements.
struct Halves {
  Halves(const Expr& x, bool interleaved) {
    const std::int64_t n = x.shape()[-1] / 2;
    const auto half = [&](std::int64_t i) {
      return interleaved ? slice(x, {.axis = -1, .start = i, .step = 2})
                         : slice(x, {.axis = -1, .start = i * n, .end = (i + 1) * n});
    };
    a = half(0);
    b = half(1);
  }
  Expr a, b;
};

}  // namespace

void Rotate::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  if (in.x.dtype() == f32) return rotate_rows<float>(*this, in, out.y);
  rotate_rows<double>(*this, in, out.y);
}

// The transpose of a rotation turns back. The engine sums the tables' gradients down.
Rotate::In<Expr> Rotate::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const Halves x(in.x, interleaved), dy(d.y, interleaved);
  return {.x = rotate(d.y, in.cosines, -in.sines, *this),
          .cosines = dy.a * x.a + dy.b * x.b,
          .sines = dy.b * x.a - dy.a * x.b};
}

Y<Expr> Rotate::decomposition(const In<Expr>& in) const {
  const Halves x(in.x, interleaved);
  const Expr a = x.a * in.cosines - x.b * in.sines, b = x.a * in.sines + x.b * in.cosines;
  if (!interleaved) return {concat({a, b}, {.axis = -1})};
  const Expr pairs = concat({with_last_axis(a), with_last_axis(b)}, {.axis = -1});
  return {reshape(pairs, {.shape = {in.x.shape().begin(), in.x.shape().end()}})};
}

std::vector<Sample<Rotate>> Rotate::samples() {
  return {{{}, {arg::normal({2, 3, 4}), arg::normal({3, 2}), arg::normal({3, 2})}},
          {{.interleaved = true},
           {arg::normal({2, 3, 4}), arg::normal({2, 1, 2}), arg::normal({1})},
           "tables that broadcast"},
          {{}, {arg::normal({2, 150}), arg::normal({2, 75}), arg::normal({75})}, "long rows"},
          {{.interleaved = true}, {arg::normal({150}), arg::normal({75}), arg::normal({})}},
          {{}, {arg::normal({0, 4}), arg::normal({2}), arg::normal({2})}, "no rows"},
          {{}, {arg::normal({3, 0}), arg::normal({0}), arg::normal({})}, "no pairs"}};
}

std::vector<Reject<Rotate>> Rotate::rejects() {
  const Arg x = arg::normal({2, 4}), table = arg::normal({2});
  return {{{}, {arg::normal({3}), table, table}, "x (3,) has extent 3 at its last axis"},
          {{}, {x, arg::normal({4}), table}, "cosines are f64 (4,) and x f64 (2, 4); f64 (2, 2)"},
          {{}, {x, table, arg::normal({3, 2, 2})}, "sines are f64 (3, 2, 2)"},
          {{}, {x, table, arg::integers({2}, 0, 2)}, "sines are i64 (2,)"},
          {{}, {arg::integers({2}, 0, 2), table, table}, "f32 or f64 is required"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Rope);
FOVEA_DEFINE_OP(fovea::Rotate);
