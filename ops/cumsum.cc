#include "fovea/ops/cumsum.h"

#include <algorithm>
#include <array>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/walk.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

// Rows that run side by side: their sums do not wait for each other, and share cache lines where
// `axis` is not the last.
constexpr std::int64_t kRows = 64;

template <class T>
struct Running {
  using Sum = double;
};
template <>
struct Running<std::int64_t> {
  using Sum = std::uint64_t;
};

template <class T>
void run(const Cumsum& op, const Tensor& x, const Tensor& y) {
  using Sum = typename Running<T>::Sum;
  const std::int64_t at = normalize_axis(op.name, op.axis, x.rank());
  const auto index = static_cast<std::size_t>(at);
  const std::int64_t n = x.shape()[at];
  const std::int64_t direction = op.reverse ? -1 : 1, first = op.reverse ? n - 1 : 0;
  const std::int64_t x_along = x.strides()[index], y_along = y.strides()[index];
  const Walk<2> walk(x.shape(), {x.strides(), y.strides()}, AxisMask{1} << at);
  const T* from = x.data<T>() + first * x_along;
  T* to = y.mutable_data<T>() + first * y_along;
  parallel_for((walk.positions() + kRows - 1) / kRows, [&](std::int64_t task) {
    const std::int64_t end = std::min(walk.positions(), (task + 1) * kRows);
    walk.visit(task * kRows, end, [&](const auto& offset, std::int64_t rows) {
      std::array<Sum, kRows> sums{};
      for (std::int64_t i = 0; i < n; ++i) {
        const T* in = from + offset[0] + direction * i * x_along;
        T* out = to + offset[1] + direction * i * y_along;
        for (std::int64_t row = 0; row < rows; ++row) {
          Sum& sum = sums[static_cast<std::size_t>(row)];
          const auto term = static_cast<Sum>(in[row * walk.step(0)]);
          out[row * walk.step(1)] = static_cast<T>(op.exclusive ? sum : sum + term);
          sum += term;
        }
      }
    });
  });
}

}  // namespace

Y<TensorSpec> Cumsum::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::numbers, in.x);
  normalize_axis(name, axis, in.x.shape.rank());
  return {in.x};
}

void Cumsum::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  if (in.x.dtype() == f32) return run<float>(*this, in.x, out.y);
  if (in.x.dtype() == f64) return run<double>(*this, in.x, out.y);
  run<std::int64_t>(*this, in.x, out.y);
}

// x[i] is in all sums from i on, which are those of the other direction.
Cumsum::In<Expr> Cumsum::vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
  return {cumsum(d.y, {.axis = axis, .exclusive = exclusive, .reverse = !reverse})};
}

// y[i] = Σ_j x[j] where j is one of the terms of y[i].
Y<Expr> Cumsum::decomposition(const In<Expr>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  const Extent n = in.x.shape()[at];
  const auto place = [&](std::int64_t behind) {
    std::vector<Extent> line(static_cast<std::size_t>(in.x.rank() + 1), 1);
    line[static_cast<std::size_t>(at + behind)] = n;
    return reshape(iota({.extent = n}), {.shape = std::move(line)});
  };
  const Expr i = place(0), j = place(1);
  const Expr is_term = reverse ? (exclusive ? greater(j, i) : greater_equal(j, i))
                               : (exclusive ? less(j, i) : less_equal(j, i));
  const Shape apart = in.x.shape().inserted(at, 1);
  const Expr terms = where(is_term, reshape(in.x, {.shape = {apart.begin(), apart.end()}}), 0);
  return {sum(terms, {.axes = at + 1})};
}

std::vector<Sample<Cumsum>> Cumsum::samples() {
  return {{{}, {arg::normal({2, 3})}},
          {{.axis = 0}, {arg::normal({4, 3})}},
          {{.axis = 1, .exclusive = true}, {arg::normal({2, 3, 2})}},
          {{.reverse = true}, {arg::normal({70, 4})}, "many rows"},
          {{.axis = -2, .exclusive = true, .reverse = true}, {arg::normal({3, 2})}},
          {{}, {arg::normal({1})}, "one element"},
          {{.axis = 0}, {arg::normal({0, 3})}, "nothing"},
          {{}, {arg::integers({2, 4}, -9, 9)}, "i64"}};
}

std::vector<Reject<Cumsum>> Cumsum::rejects() {
  return {{{.axis = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{}, {arg::normal({})}, "a scalar has no axes"},
          {{}, {arg::bernoulli({2})}, "bool"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Cumsum);
