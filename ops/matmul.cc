#include "fovea/ops/matmul.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fovea/ops/define.h"
#include "fovea/ops/kernels/gemm.h"
#include "fovea/ops/matmul_call.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

// An operand as a stack of matrices: which axis is which; -1 for one that rank 1 lacks.
struct Matrix {
  std::int64_t leading;  // number of leading axes
  std::int64_t row, column;

  // Rank 1 is a row if `is_a`, else a column.
  Matrix(const Shape& shape, bool transposed, bool is_a) : leading(0), row(-1), column(-1) {
    const std::int64_t rank = shape.rank();
    if (rank == 1) {
      (is_a ? column : row) = 0;
      return;
    }
    leading = rank - 2;
    row = transposed ? rank - 1 : rank - 2;
    column = transposed ? rank - 2 : rank - 1;
  }
};

Extent extent_at(const Shape& shape, std::int64_t axis) {
  return axis < 0 ? Extent(1) : shape[axis];
}
std::int64_t stride_at(const Tensor& t, std::int64_t axis) {
  return axis < 0 ? 0 : t.strides()[static_cast<std::size_t>(axis)];
}

// A batch of products: offsets of a and b walk over the leading axes, c follows row-major.
template <class T>
class Batch {
 public:
  Batch(const Matmul& op, const Tensor& a, const Tensor& b, const Tensor& y) {
    const Matrix ma(a.shape(), op.transpose_a, true), mb(b.shape(), op.transpose_b, false);
    one_.m = extent_at(a.shape(), ma.row);
    one_.n = extent_at(b.shape(), mb.column);
    one_.k = extent_at(a.shape(), ma.column);
    one_.a = {a.data<T>(), stride_at(a, ma.row), stride_at(a, ma.column)};
    one_.b = {b.data<T>(), stride_at(b, mb.row), stride_at(b, mb.column)};
    one_.c = {y.mutable_data<T>(), one_.n, 1};
    const std::int64_t leading = std::max(ma.leading, mb.leading);
    for (std::int64_t i = leading; i > 0; --i) {
      const std::int64_t extent_a = i <= ma.leading ? a.shape()[ma.leading - i].value() : 1;
      const std::int64_t extent_b = i <= mb.leading ? b.shape()[mb.leading - i].value() : 1;
      append({std::max(extent_a, extent_b),
              extent_a == 1 ? 0 : a.strides()[static_cast<std::size_t>(ma.leading - i)],
              extent_b == 1 ? 0 : b.strides()[static_cast<std::size_t>(mb.leading - i)]});
    }
    // One b for all of a's matrices, whose rows lie evenly behind each other: one large product.
    if (one_.m == 1 && count_ == 1) one_.a.row = axes_[0].a;
    if (count_ == 1 && axes_[0].b == 0 && axes_[0].a == one_.m * one_.a.row) {
      one_.m *= axes_[0].extent;
      count_ = 0;
    }
  }

  void run(Context& context, const detail::MatmulExtras& extras) {
    const detail::MatmulEpilogue& epilogue = extras.epilogue;
    one_.packed_b = static_cast<const T*>(extras.packed_b);
    std::int64_t batches = 1;
    for (std::size_t i = 0; i < count_; ++i) batches *= axes_[i].extent;
    const int slots = num_threads();
    const std::size_t bytes = (kernels::gemm_scratch(one_, 1) + 63) / 64 * 64;
    std::byte* scratch = context.scratch(
        std::max(static_cast<std::size_t>(slots) * bytes, kernels::gemm_scratch(one_, slots)));
    // Small products run side by side, large ones one after the other on all threads.
    constexpr std::int64_t kSmall = 1 << 22;
    const bool small = one_.m * one_.n <= kSmall / std::max<std::int64_t>(1, one_.k);
    if (batches > 1 && small) {
      parallel_for(batches, [&](std::int64_t i, int slot) {
        product(i, epilogue, scratch + static_cast<std::size_t>(slot) * bytes, 1);
      });
    } else {
      for (std::int64_t i = 0; i < batches; ++i) product(i, epilogue, scratch, slots);
    }
  }

 private:
  struct Axis {
    std::int64_t extent, a, b;  // strides of a and b
  };

  void append(const Axis& axis) {
    if (axis.extent == 1) return;
    if (count_ > 0) {
      Axis& last = axes_[count_ - 1];
      if (last.a == axis.a * axis.extent && last.b == axis.b * axis.extent) {
        last = {last.extent * axis.extent, axis.a, axis.b};
        return;
      }
    }
    axes_[count_++] = axis;
  }

  void product(std::int64_t batch, const detail::MatmulEpilogue& epilogue, void* scratch,
               int slots) const {
    struct Below {  // rows are counted over all products
      const detail::MatmulEpilogue* epilogue;
      std::int64_t first;
    } const below{&epilogue, batch * one_.m};
    kernels::GemmProblem<T> problem = at(batch);
    if (epilogue.run) {
      problem.epilogue = {[](const void* self, std::int64_t row, std::int64_t rows,
                             std::int64_t column, std::int64_t columns) {
                            const auto& b = *static_cast<const Below*>(self);
                            b.epilogue->run(b.epilogue->self, b.first + row, rows, column, columns);
                          },
                          &below};
    }
    kernels::gemm(problem, scratch, slots);
  }

  kernels::GemmProblem<T> at(std::int64_t batch) const {
    kernels::GemmProblem<T> problem = one_;
    problem.c.data += batch * one_.m * one_.n;
    for (std::size_t i = count_; i-- > 0;) {
      const std::int64_t position = batch % axes_[i].extent;
      problem.a.data += position * axes_[i].a;
      problem.b.data += position * axes_[i].b;
      batch /= axes_[i].extent;
    }
    return problem;
  }

  kernels::GemmProblem<T> one_;
  std::array<Axis, Matmul::kMostLeadingAxes> axes_;
  std::size_t count_ = 0;
};

template <class T>
std::size_t scratch_bytes(std::int64_t m, std::int64_t n, std::int64_t k) {
  kernels::GemmProblem<T> problem;
  problem.m = m;
  problem.n = n;
  problem.k = k;
  const int slots = num_threads();
  return std::max(
      kernels::gemm_scratch(problem, slots),
      static_cast<std::size_t>(slots) * ((kernels::gemm_scratch(problem, 1) + 63) / 64 * 64));
}

std::vector<Extent> extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

// (..., m, k) as (everything before k, k).
Expr folded(const Expr& x) {
  std::int64_t rows = 1;
  for (std::int64_t axis = 0; axis + 1 < x.rank(); ++axis) rows *= x.shape()[axis];
  return reshape(x, {.shape = {rows, x.shape()[-1]}});
}

}  // namespace

Y<TensorSpec> Matmul::infer(const In<TensorSpec>& in) const {
  const Shape &a = in.a.shape, &b = in.b.shape;
  if (in.a.dtype != in.b.dtype || !is_float(in.a.dtype)) {
    fail(name, "a is {} and b is {}; both f32 or both f64 is required", in.a.dtype, in.b.dtype);
  }
  if (a.rank() == 0 || b.rank() == 0) {
    fail(name, "a {} and b {}; a scalar is no matrix, use mul", a, b);
  }
  const Matrix ma(a, transpose_a, true), mb(b, transpose_b, false);
  const std::int64_t leading = std::max(ma.leading, mb.leading);
  if (leading > kMostLeadingAxes) {
    fail(name, "{} leading axes; at most {} are possible", leading, kMostLeadingAxes);
  }
  if (extent_at(a, ma.column) != extent_at(b, mb.row)) {
    fail(name, "a {} and b {}: inner extents {} and {} differ", a, b, extent_at(a, ma.column),
         extent_at(b, mb.row));
  }
  std::vector<Extent> extents;
  for (std::int64_t i = leading; i > 0; --i) {
    const Extent x = i <= ma.leading ? a[ma.leading - i] : Extent(1);
    const Extent y = i <= mb.leading ? b[mb.leading - i] : Extent(1);
    if (x != y && x != 1 && y != 1) {
      fail(name, "a {} and b {}: leading extents {} and {} differ; equal or 1 is required", a, b, x,
           y);
    }
    extents.push_back((x != y ? x == 1 : x.name().empty()) ? y : x);
  }
  if (ma.row >= 0) extents.push_back(a[ma.row]);
  if (mb.column >= 0) extents.push_back(b[mb.column]);
  return {{in.a.dtype, Shape(std::move(extents))}};
}

std::size_t Matmul::workspace(const In<TensorSpec>& in) const {
  const Matrix ma(in.a.shape, transpose_a, true), mb(in.b.shape, transpose_b, false);
  std::int64_t m = extent_at(in.a.shape, ma.row);
  const std::int64_t n = extent_at(in.b.shape, mb.column), k = extent_at(in.a.shape, ma.column);
  const auto bytes = [&](std::int64_t rows) {
    return in.a.dtype == f32 ? scratch_bytes<float>(rows, n, k) : scratch_bytes<double>(rows, n, k);
  };
  const std::size_t alone = bytes(m);
  for (std::int64_t i = 0; i < ma.leading; ++i) m *= in.a.shape[i];
  return std::max(alone, bytes(m));
}

double Matmul::flops(const In<TensorSpec>& in) const {
  const Matrix a(in.a.shape, transpose_a, true);
  return 2.0 * static_cast<double>(infer(in).y.shape.numel()) *
         static_cast<double>(extent_at(in.a.shape, a.column));
}

void Matmul::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  detail::matmul(context, *this, in.a, in.b, out.y, {});
}

void detail::matmul(Context& context, const Matmul& op, const Tensor& a, const Tensor& b,
                    const Tensor& y, const MatmulExtras& extras) {
  if (y.numel() == 0) return;
  if (a.numel() == 0) {  // sums of nothing, at no address
    std::memset(y.mutable_raw(), 0, y.nbytes());
    const std::int64_t columns = b.rank() == 1 ? 1 : y.shape()[-1].value();
    if (extras.epilogue.run) {
      extras.epilogue.run(extras.epilogue.self, 0, y.numel() / columns, 0, columns);
    }
  } else if (a.dtype() == f32) {
    Batch<float>(op, a, b, y).run(context, extras);
  } else {
    Batch<double>(op, a, b, y).run(context, extras);
  }
}

// With A = a, B = b (transposed where the flags say so): dA = dY Bᵀ and dB = Aᵀ dY, transposed
// back.
Matmul::In<Expr> Matmul::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const Expr a = in.a.rank() > 1 ? in.a : reshape(in.a, {.shape = {1, in.a.shape()[0]}});
  const Expr b = in.b.rank() > 1 ? in.b : reshape(in.b, {.shape = {in.b.shape()[0], 1}});
  const bool ta = transpose_a && in.a.rank() > 1, tb = transpose_b && in.b.rank() > 1;
  std::vector<Extent> extents = extents_of(d.y.shape());
  if (in.a.rank() == 1) extents.insert(extents.end() - (in.b.rank() > 1 ? 1 : 0), 1);
  if (in.b.rank() == 1) extents.emplace_back(1);
  const bool same_rank = extents.size() == static_cast<std::size_t>(d.y.rank());
  const Expr dy = same_rank ? d.y : reshape(d.y, {.shape = extents});

  const Expr da = ta ? matmul(b, dy, {.transpose_a = tb, .transpose_b = true})
                     : matmul(dy, b, {.transpose_b = !tb});
  // One b for many a: their rows are one matrix, and no gradient per matrix need be summed.
  const bool fold = b.rank() == 2 && a.rank() > 2 && !ta;
  const Expr rows = fold ? folded(a) : a, d_rows = fold ? folded(dy) : dy;
  Expr db = tb ? matmul(d_rows, rows, {.transpose_a = true, .transpose_b = ta})
               : matmul(rows, d_rows, {.transpose_a = !ta});
  if (in.b.rank() == 1) {
    std::vector<Extent> column = extents_of(db.shape());
    column.pop_back();
    db = reshape(db, {.shape = std::move(column)});
  }
  return {da, db};
}

std::vector<Sample<Matmul>> Matmul::samples() {
  const Matmul ta{.transpose_a = true}, tb{.transpose_b = true},
      both{.transpose_a = true, .transpose_b = true};
  return {{{}, {arg::normal({2, 3}), arg::normal({3, 4})}},
          {ta, {arg::normal({3, 2}), arg::normal({3, 4})}},
          {tb, {arg::normal({2, 3}), arg::normal({4, 3})}},
          {both, {arg::normal({2, 3, 2}), arg::normal({2, 4, 3})}},
          {{}, {arg::normal({2, 3, 4}), arg::normal({4, 2})}, "one b for all"},
          {tb, {arg::normal({2, 3, 4}), arg::normal({2, 4})}, "one b for all"},
          {ta, {arg::normal({4, 3}), arg::normal({2, 4, 2})}, "one a for all"},
          {{}, {arg::normal({3, 1, 2, 2}), arg::normal({2, 2, 3})}, "leading extents broadcast"},
          {{}, {arg::normal({3}), arg::normal({3})}, "a row and a column"},
          {{}, {arg::normal({3}), arg::normal({2, 3, 2})}, "a row"},
          {both, {arg::normal({2, 3, 2}), arg::normal({3})}, "a column"},
          {{}, {arg::normal({2, 0}), arg::normal({0, 3})}, "sums of nothing"},
          {{}, {arg::normal({2, 2, 0}), arg::normal({2, 0, 3})}, "sums of nothing"},
          {{}, {arg::normal({3, 1, 2}), arg::normal({2, 3})}, "one row each"},
          {{}, {arg::normal({0, 2, 3}), arg::normal({3, 2})}, "nothing"},
          {{}, {arg::normal({1, 1}), arg::normal({1, 1})}}};
}

std::vector<Reject<Matmul>> Matmul::rejects() {
  return {{{}, {arg::normal({2, 3}), arg::normal({4, 3})}, "inner extents 3 and 4 differ"},
          {{.transpose_a = true},
           {arg::normal({2, 3}), arg::normal({3, 4})},
           "inner extents 2 and 3 differ"},
          {{}, {arg::normal({3}), arg::normal({4})}, "inner extents 3 and 4 differ"},
          {{},
           {arg::normal({2, 3, 4}), arg::normal({3, 4, 5})},
           "leading extents 2 and 3 differ; equal or 1 is required"},
          {{}, {arg::normal({}), arg::normal({2})}, "a scalar is no matrix"},
          {{}, {arg::integers({2, 2}, 0, 9), arg::integers({2, 2}, 0, 9)}, "both f32 or both f64"},
          {{}, {arg::normal({2, 2}), arg::integers({2, 2}, 0, 9)}, "both f32 or both f64"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Matmul);
