#include "fovea/ops/masked_matmul.h"

#include <algorithm>
#include <cmath>

#include "fovea/ops/define.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

// y[m, n] += a[m, k] b[k, n] for the b that are not finite and the (m, k) that are not hidden.
template <class T>
void add_non_finite(const Tensor& a, const Tensor& b, const Tensor& mask, const Tensor& y) {
  const std::int64_t rows = y.shape()[-2], columns = y.shape()[-1], inner = b.shape()[-2];
  const std::int64_t matrices = rows * columns == 0 ? 0 : y.numel() / (rows * columns);
  const T* b_at = b.data<T>();
  const T* a_at = a.data<T>();
  const bool* mask_at = mask.data<bool>();
  T* y_at = y.mutable_data<T>();
  for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
    for (std::int64_t k = 0; k < inner; ++k) {
      for (std::int64_t n = 0; n < columns; ++n) {
        const T factor = b_at[k * columns + n];
        if (std::isfinite(factor)) continue;
        for (std::int64_t m = 0; m < rows; ++m) {
          if (mask_at[m * inner + k]) y_at[m * columns + n] += a_at[m * inner + k] * factor;
        }
      }
    }
    a_at += rows * inner, mask_at += rows * inner;
    b_at += inner * columns, y_at += rows * columns;
  }
}

template <class T>
bool all_finite(const Tensor& contiguous) {
  const T* data = contiguous.data<T>();
  return std::all_of(data, data + contiguous.numel(), [](T x) { return std::isfinite(x); });
}

// Σ_k over what the mask shows of `a`; `y` is filled.
template <class T>
void multiply_shown(const Tensor& a, const Tensor& b, const Tensor& mask, const Tensor& y) {
  const Tensor zero = Tensor::scalar(a.dtype(), 0);
  const Tensor shown = eval::where(mask, a, zero);
  const Tensor dense = b.contiguous();
  if (all_finite<T>(dense)) {
    y.copy_from(eval::matmul(shown, dense));
    return;
  }
  y.copy_from(eval::matmul(shown, eval::where(eval::isfinite(dense), dense, zero)));
  const auto spread = [&](const Tensor& x, std::int64_t rows, std::int64_t columns) {
    const Shape& shape = y.shape();
    const std::int64_t rank = shape.rank();
    return x.broadcast_to(shape.with(rank - 2, rows).with(rank - 1, columns)).contiguous();
  };
  const std::int64_t m = a.shape()[-2], k = a.shape()[-1], n = b.shape()[-1];
  add_non_finite<T>(spread(a, m, k), spread(dense, k, n), spread(mask, m, k), y);
}

}  // namespace

MaskedMatmul::Out<TensorSpec> MaskedMatmul::infer(const In<TensorSpec>& in) const {
  const auto& [a, b, mask] = in;
  if (!is_float(a.dtype) || a.dtype != b.dtype) {
    fail(name, "a is {} and b is {}; f32 or f64, the same for both, is required", to_string(a),
         to_string(b));
  }
  if (mask.dtype != boolean) fail(name, "mask is {}; bool is required", to_string(mask));
  if (a.shape.rank() < 2 || b.shape.rank() < 2) {
    fail(name, "a {} and b {}; matrices (rank 2 or more) are required", a.shape, b.shape);
  }
  if (a.shape[-1] != b.shape[-2]) {
    fail(name, "a {} and b {}: inner extents {} and {} differ", a.shape, b.shape, a.shape[-1],
         b.shape[-2]);
  }
  const auto lead = [](const Shape& shape) {
    return shape.without(shape.rank() - 1).without(shape.rank() - 2);
  };
  const Shape common = broadcast_shapes(name, lead(a.shape), lead(b.shape));
  const Shape y =
      common.inserted(common.rank(), a.shape[-2]).inserted(common.rank() + 1, b.shape[-1]);
  const Shape& masked = masks == Masks::a ? a.shape : y;
  if (!broadcasts_to(mask.shape, masked)) {
    fail(name, "mask {} does not broadcast to {}, the shape of {}", mask.shape, masked,
         masks == Masks::a ? "a" : "the result");
  }
  return {{a.dtype, y}};
}

double MaskedMatmul::flops(const In<TensorSpec>& in) const {
  return 2.0 * static_cast<double>(infer(in).y.shape.numel()) * static_cast<double>(in.a.shape[-1]);
}

void MaskedMatmul::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  if (masks == Masks::result) {
    const Tensor zero = Tensor::scalar(in.a.dtype(), 0);
    out.y.copy_from(eval::where(in.mask, eval::matmul(in.a, in.b), zero));
  } else if (in.a.dtype() == f32) {
    multiply_shown<float>(in.a, in.b, in.mask, out.y);
  } else {
    multiply_shown<double>(in.a, in.b, in.mask, out.y);
  }
}

// Masks of the result: da = (M∘d) bᵀ, db = aᵀ (M∘d). Masks of a: da = M ∘ (d bᵀ), db = (M∘a)ᵀ d.
MaskedMatmul::In<Expr> MaskedMatmul::vjp(const In<Expr>& in, const Out<Expr>& out,
                                         const Out<Expr>& d) const {
  const Shape& masked = masks == Masks::a ? in.a.shape() : out.y.shape();
  const Expr mask = broadcast_to(in.mask, {.shape = {masked.begin(), masked.end()}});
  if (masks == Masks::a) {
    return {
        .a = masked_matmul(d.y, swap_last_axes(in.b), mask, {.masks = Masks::result}),
        .b = masked_matmul(swap_last_axes(in.a), d.y, swap_last_axes(mask), {.masks = Masks::a}),
        .mask = {}};
  }
  return {.a = masked_matmul(d.y, swap_last_axes(in.b), mask, {.masks = Masks::a}),
          .b = swap_last_axes(
              masked_matmul(swap_last_axes(d.y), in.a, swap_last_axes(mask), {.masks = Masks::a})),
          .mask = {}};
}

std::vector<Sample<MaskedMatmul>> MaskedMatmul::samples() {
  const MaskedMatmul result{.masks = Masks::result}, a{.masks = Masks::a};
  return {{result, {arg::normal({3, 2}), arg::normal({2, 4}), arg::bernoulli({3, 4})}},
          {a, {arg::normal({3, 2}), arg::normal({2, 4}), arg::bernoulli({3, 2})}},
          {result,
           {arg::normal({2, 1, 3, 2}), arg::normal({3, 2, 4}), arg::bernoulli({4})},
           "leading extents and mask broadcast"},
          {a,
           {arg::normal({2, 1, 3, 2}), arg::normal({3, 2, 4}), arg::bernoulli({3, 1})},
           "leading extents and mask broadcast"},
          {a, {arg::normal({3, 0}), arg::normal({0, 4}), arg::bernoulli({3, 0})}, "no terms"}};
}

std::vector<Reject<MaskedMatmul>> MaskedMatmul::rejects() {
  const MaskedMatmul result{.masks = Masks::result}, a{.masks = Masks::a};
  return {{result,
           {arg::normal({3, 2}), arg::normal({3, 4}), arg::bernoulli({3, 4})},
           "2 and 3 differ"},
          {a, {arg::normal({3, 2}), arg::normal({2, 4}), arg::bernoulli({3, 4})}, "the shape of a"},
          {result, {arg::normal({3, 2}), arg::normal({2, 4}), arg::normal({3, 4})}, "bool"},
          {result, {arg::normal({2}), arg::normal({2, 4}), arg::bernoulli({4})}, "rank 2"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::MaskedMatmul);
