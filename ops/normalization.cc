#include "fovea/ops/normalization.h"

#include <algorithm>
#include <cmath>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/row_reader.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

void check_eps(std::string_view where, double eps) {
  if (eps >= 0 && !std::isinf(eps)) return;
  fail(where, "eps {}; a finite number, 0 or more, is required", eps);
}

// x's last axis is normalised; `slot` is one number for each of its elements.
void require_width(std::string_view where, std::string_view slot, const TensorSpec& given,
                   const TensorSpec& x) {
  const TensorSpec wanted{x.dtype, Shape({x.shape[-1]})};
  if (given == wanted) return;
  fail(where, "{} is {} and x {}; {}, as wide as x's last axis, is required", slot,
       to_string(given), to_string(x), to_string(wanted));
}

void check_x(std::string_view where, const TensorSpec& x) {
  detail::infer_elementwise(where, Domain::floats, x);
  normalize_axis(where, -1, x.shape.rank());
}

// In: of either norm; their members are the same.
template <class In>
TensorSpec infer_norm(std::string_view where, const In& in, double eps) {
  check_x(where, in.x);
  if (in.weight) require_width(where, "weight", *in.weight, in.x);
  if (in.bias) require_width(where, "bias", *in.bias, in.x);
  check_eps(where, eps);
  return in.x;
}

template <class Op>
typename Op::template Out<TensorSpec> infer_gradient(const typename Op::template In<TensorSpec>& in,
                                                     double eps) {
  check_x(Op::name, in.x);
  if (in.weight) require_width(Op::name, "weight", *in.weight, in.x);
  if (in.dy != in.x) {
    fail(Op::name, "dy is {} and x {}; they must be equal", to_string(in.dy), to_string(in.x));
  }
  check_eps(Op::name, eps);
  const TensorSpec width{in.x.dtype, Shape({in.x.shape[-1]})};
  return {in.x, width, width};
}

std::int64_t width_of(const Shape& x) { return x[-1]; }

std::size_t bytes_of(const TensorSpec& x, std::int64_t rows) {
  return static_cast<std::size_t>(rows * width_of(x.shape)) * size_of(x.dtype);
}

std::int64_t threads() { return num_threads(); }

// A row of x for each thread, the weight and the bias, where they are not contiguous.
std::size_t norm_workspace(const TensorSpec& x) { return bytes_of(x, threads() + 2); }

template <class T, class In>
void norm_rows(Context& context, const In& in, const Tensor& y, double eps, bool centred) {
  const std::int64_t n = width_of(in.x.shape());
  if (y.numel() == 0) return;
  auto* scratch = reinterpret_cast<T*>(context.scratch(norm_workspace(spec_of(in.x))));
  kernels::NormRow<T> common{.length = n, .eps = eps, .centred = centred};
  if (in.weight) common.weight = dense_vector(*in.weight, scratch + threads() * n);
  if (in.bias) common.bias = dense_vector(*in.bias, scratch + (threads() + 1) * n);
  const RowReader<T> x(in.x);
  T* to = y.mutable_data<T>();
  const auto norm_row = kernels::loops<T>(kernels::kernels()).norm_row;
  x.for_each([&](std::int64_t r, int slot) {
    kernels::NormRow<T> row = common;
    row.x = x.row(r, scratch + slot * n);
    row.y = to + r * n;
    norm_row(row);
  });
}

// Rows that one task adds up, by their number alone.
struct Chunks {
  explicit Chunks(const Shape& x) {
    constexpr std::int64_t kElements = 32768, kMost = 64;
    const std::int64_t n = std::max<std::int64_t>(1, width_of(x));
    const std::int64_t all = x.numel() / n;
    const std::int64_t wanted = std::clamp<std::int64_t>(x.numel() / kElements, 1, kMost);
    rows = std::max<std::int64_t>(1, (all + wanted - 1) / wanted);
    count = (all + rows - 1) / rows;
  }
  std::int64_t rows = 0, count = 0;
};

// Of each thread: a row of x, one of dy, and sums of dweight and dbias over a few rows. Then the
// weight, and in f64 the sums of each chunk.
std::size_t gradient_workspace(const TensorSpec& x) {
  const auto sums = static_cast<std::size_t>(Chunks(x.shape).count * 2 * width_of(x.shape));
  return sums * sizeof(double) + bytes_of(x, 4 * threads() + 1);
}

template <class T>
void add_to(const T* terms, std::int64_t n, double* sums) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] += static_cast<double>(terms[i]);
}

template <class T>
void store_sums(const double* sums, std::int64_t chunks, std::int64_t n, const Tensor& y) {
  if (!y) return;
  T* to = y.mutable_data<T>();
  for (std::int64_t i = 0; i < n; ++i) {
    double total = 0;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += sums[chunk * 2 * n + i];
    to[i] = static_cast<T>(total);
  }
}

template <class T, class In, class Out>
void norm_gradient_rows(Context& context, const In& in, const Out& out, double eps, bool centred) {
  constexpr std::int64_t kRowsInT = 64;  // added up in T before f64 takes over
  const std::int64_t n = width_of(in.x.shape());
  if (n == 0) return;
  const Chunks chunks(in.x.shape());
  auto* sums = reinterpret_cast<double*>(context.scratch(gradient_workspace(spec_of(in.x))));
  auto* scratch = reinterpret_cast<T*>(sums + chunks.count * 2 * n);
  kernels::NormGradientRow<T> common{.length = n, .eps = eps, .centred = centred};
  if (in.weight) common.weight = dense_vector(*in.weight, scratch + 4 * threads() * n);
  const RowReader<T> x(in.x), dy(in.dy);
  const auto gradient_row = kernels::loops<T>(kernels::kernels()).norm_gradient_row;
  parallel_for(chunks.count, [&](std::int64_t chunk, int slot) {
    T* mine = scratch + slot * 4 * n;
    double* total = sums + chunk * 2 * n;
    std::fill_n(total, 2 * n, 0.0);
    const std::int64_t end = std::min(x.rows(), (chunk + 1) * chunks.rows);
    for (std::int64_t r = chunk * chunks.rows; r < end;) {
      const std::int64_t stop = std::min(end, r + kRowsInT);
      std::fill_n(mine + 2 * n, 2 * n, T(0));
      for (; r < stop; ++r) {
        kernels::NormGradientRow<T> row = common;
        row.x = x.row(r, mine);
        row.dy = dy.row(r, mine + n);
        if (out.dx) row.dx = out.dx.template mutable_data<T>() + r * n;
        if (out.dweight) row.dweight = mine + 2 * n;
        if (out.dbias) row.dbias = mine + 3 * n;
        gradient_row(row);
      }
      add_to(mine + 2 * n, 2 * n, total);
    }
  });
  store_sums<T>(sums, chunks.count, n, out.dweight);
  store_sums<T>(sums + n, chunks.count, n, out.dbias);
}

Expr mean_of_rows(const Expr& x) { return mean(x, {.axes = -1, .keep_dims = true}); }

// x, from which its mean is taken when it is centred, and 1 / sqrt(mean of its squares + eps).
struct Normalised {
  Normalised(const Expr& x, double eps, bool is_centred)
      : centred(is_centred ? x - mean_of_rows(x) : x),
        scale(rsqrt(mean_of_rows(square(centred)) + eps)) {}
  Expr centred, scale;
};

template <class In>
Expr decomposed(const In& in, double eps, bool centred) {
  const Normalised x(in.x, eps, centred);
  Expr y = x.centred * x.scale;
  if (in.weight) y = y * *in.weight;
  return in.bias ? y + *in.bias : y;
}

// g = dy · weight: dx = scale · (g − mean g − x̂ mean(g x̂))
template <class Op>
typename Op::template Out<Expr> decomposed_gradient(const typename Op::template In<Expr>& in,
                                                    double eps, bool centred) {
  const Normalised x(in.x, eps, centred);
  const Expr normal = x.centred * x.scale, g = in.weight ? in.dy * *in.weight : in.dy;
  const Expr moved = centred ? g - mean_of_rows(g) : g;
  std::vector<std::int64_t> rows;
  for (std::int64_t axis = 0; axis + 1 < in.x.rank(); ++axis) rows.push_back(axis);
  return {x.scale * (moved - normal * mean_of_rows(g * normal)),
          sum(in.dy * normal, {.axes = Axes(rows)}), sum(in.dy, {.axes = Axes(rows)})};
}

template <class Gradient, class In>
In gradient_of(const Gradient& op, const In& in, const Expr& dy) {
  const auto d = apply(op, {in.x, in.weight, dy}, Location());
  In gradients{.x = d.dx};
  if (in.weight) gradients.weight = d.dweight;
  if (in.bias) gradients.bias = d.dbias;
  return gradients;
}

}  // namespace

Y<TensorSpec> LayerNorm::infer(const In<TensorSpec>& in) const {
  return {infer_norm(name, in, eps)};
}
std::size_t LayerNorm::workspace(const In<TensorSpec>& in) const { return norm_workspace(in.x); }
void LayerNorm::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.x.dtype() == f32) return norm_rows<float>(context, in, out.y, eps, true);
  norm_rows<double>(context, in, out.y, eps, true);
}
LayerNorm::In<Expr> LayerNorm::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return gradient_of(LayerNormGradient{.eps = eps}, in, d.y);
}
Y<Expr> LayerNorm::decomposition(const In<Expr>& in) const { return {decomposed(in, eps, true)}; }

LayerNormGradient::Out<TensorSpec> LayerNormGradient::infer(const In<TensorSpec>& in) const {
  return infer_gradient<LayerNormGradient>(in, eps);
}
std::size_t LayerNormGradient::workspace(const In<TensorSpec>& in) const {
  return gradient_workspace(in.x);
}
void LayerNormGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.x.dtype() == f32) return norm_gradient_rows<float>(context, in, out, eps, true);
  norm_gradient_rows<double>(context, in, out, eps, true);
}
LayerNormGradient::Out<Expr> LayerNormGradient::decomposition(const In<Expr>& in) const {
  return decomposed_gradient<LayerNormGradient>(in, eps, true);
}

Y<TensorSpec> RmsNorm::infer(const In<TensorSpec>& in) const { return {infer_norm(name, in, eps)}; }
std::size_t RmsNorm::workspace(const In<TensorSpec>& in) const { return norm_workspace(in.x); }
void RmsNorm::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.x.dtype() == f32) return norm_rows<float>(context, in, out.y, eps, false);
  norm_rows<double>(context, in, out.y, eps, false);
}
RmsNorm::In<Expr> RmsNorm::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return gradient_of(RmsNormGradient{.eps = eps}, in, d.y);
}
Y<Expr> RmsNorm::decomposition(const In<Expr>& in) const { return {decomposed(in, eps, false)}; }

RmsNormGradient::Out<TensorSpec> RmsNormGradient::infer(const In<TensorSpec>& in) const {
  return infer_gradient<RmsNormGradient>(in, eps);
}
std::size_t RmsNormGradient::workspace(const In<TensorSpec>& in) const {
  return gradient_workspace(in.x);
}
void RmsNormGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.x.dtype() == f32) return norm_gradient_rows<float>(context, in, out, eps, false);
  norm_gradient_rows<double>(context, in, out, eps, false);
}
RmsNormGradient::Out<Expr> RmsNormGradient::decomposition(const In<Expr>& in) const {
  return decomposed_gradient<RmsNormGradient>(in, eps, false);
}

namespace {

template <class Op>
std::vector<Sample<Op>> norm_samples() {
  return {{{}, {arg::normal({2, 3, 5}), {}, {}}},
          {{}, {arg::normal({3, 17}), arg::normal({17}), arg::normal({17})}, "weight and bias"},
          {{.eps = 0.5}, {arg::normal({4}), arg::normal({4}), {}}, "weight alone, a large eps"},
          {{.eps = 1e-3}, {arg::normal({2, 4}), {}, arg::normal({4})}, "bias alone"},
          {{}, {arg::normal({1, 1}), arg::normal({1}), arg::normal({1})}, "one element each"},
          {{}, {arg::normal({0, 3}), arg::normal({3}), arg::normal({3})}, "no rows"},
          {{}, {arg::normal({2, 0}), arg::normal({0}), {}}, "empty rows"}};
}

template <class Op>
std::vector<Reject<Op>> norm_rejects() {
  return {{{},
           {arg::normal({2, 3}), arg::normal({2}), {}},
           "weight is f64 (2,) and x f64 (2, 3); f64 (3,), as wide as x's last axis, is required"},
          {{}, {arg::normal({2, 3}), arg::normal({3}), arg::normal({1, 3})}, "bias is f64 (1, 3)"},
          {{}, {arg::normal({2, 3}), arg::integers({3}, 0, 3), {}}, "weight is i64 (3,)"},
          {{.eps = -1}, {arg::normal({2, 3}), {}, {}}, "eps -1"},
          {{.eps = std::nan("")}, {arg::normal({2, 3}), {}, {}}, "eps nan"},
          {{}, {arg::normal({}), {}, {}}, "a scalar has no axes"},
          {{}, {arg::integers({2, 3}, 0, 9), {}, {}}, "f32 or f64 is required"}};
}

template <class Op>
std::vector<Sample<Op>> gradient_samples() {
  return {{{}, {arg::normal({2, 3, 5}), {}, arg::normal({2, 3, 5})}},
          {{}, {arg::normal({3, 17}), arg::normal({17}), arg::normal({3, 17})}, "with a weight"},
          {{.eps = 0.5}, {arg::normal({4}), arg::normal({4}), arg::normal({4})}, "one row"},
          {{}, {arg::normal({70, 8}), arg::normal({8}), arg::normal({70, 8})}, "many rows"},
          {{}, {arg::normal({0, 3}), arg::normal({3}), arg::normal({0, 3})}, "no rows"},
          {{}, {arg::normal({2, 0}), arg::normal({0}), arg::normal({2, 0})}, "empty rows"}};
}

template <class Op>
std::vector<Reject<Op>> gradient_rejects() {
  return {{{},
           {arg::normal({2, 3}), {}, arg::normal({3})},
           "dy is f64 (3,) and x f64 (2, 3); they must be equal"},
          {{}, {arg::normal({2, 3}), arg::normal({2}), arg::normal({2, 3})}, "weight is f64 (2,)"},
          {{.eps = -1}, {arg::normal({2, 3}), {}, arg::normal({2, 3})}, "eps -1"},
          {{}, {arg::normal({}), {}, arg::normal({})}, "a scalar has no axes"}};
}

}  // namespace

std::vector<Sample<LayerNorm>> LayerNorm::samples() {
  std::vector<Sample<LayerNorm>> all = norm_samples<LayerNorm>();
  all.push_back({{}, {arg::uniform({2, 5}, 100, 101), {}, {}}, "far from 0"});
  return all;
}
std::vector<Reject<LayerNorm>> LayerNorm::rejects() { return norm_rejects<LayerNorm>(); }
std::vector<Sample<RmsNorm>> RmsNorm::samples() { return norm_samples<RmsNorm>(); }
std::vector<Reject<RmsNorm>> RmsNorm::rejects() { return norm_rejects<RmsNorm>(); }
std::vector<Sample<LayerNormGradient>> LayerNormGradient::samples() {
  return gradient_samples<LayerNormGradient>();
}
std::vector<Reject<LayerNormGradient>> LayerNormGradient::rejects() {
  return gradient_rejects<LayerNormGradient>();
}
std::vector<Sample<RmsNormGradient>> RmsNormGradient::samples() {
  return gradient_samples<RmsNormGradient>();
}
std::vector<Reject<RmsNormGradient>> RmsNormGradient::rejects() {
  return gradient_rejects<RmsNormGradient>();
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::LayerNorm);
FOVEA_DEFINE_OP(fovea::LayerNormGradient);
FOVEA_DEFINE_OP(fovea::RmsNorm);
FOVEA_DEFINE_OP(fovea::RmsNormGradient);
