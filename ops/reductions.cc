#include "fovea/ops/reductions.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reduce.h"
#include "fovea/ops/row_view.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

// Rows are reduced in pieces of this many elements, pieces in order: fixed, so that the result
// follows from the shape.
constexpr std::int64_t kPiece = kernels::kPiece;
// Elements of one parallel task, and columns where it has some.
constexpr std::int64_t kTask = 8 * kPiece, kColumns = 64;

// A reduction says what a piece becomes, of a row or of each of some columns `step` apart; how
// pieces become a row; and how a row ends.

template <class T>
struct SumOf {
  using Partial = double;
  bool is_mean = false;

  double piece(const T* x, std::int64_t n) const { return kernels::sum(x, n, 1); }
  void columns(const T* x, std::int64_t step, std::int64_t n, std::int64_t count,
               double* sums) const {
    kernels::loops<T>(kernels::kernels()).sum_columns(x, step, n, count, sums);
  }
  double merge(const double* x, std::int64_t n) const { return kernels::sum(x, n, 1); }
  T finish(double sum, std::int64_t length) const {
    return static_cast<T>(is_mean ? sum / static_cast<double>(length) : sum);
  }
};

// Wraps around, as NumPy's sum does.
template <>
struct SumOf<std::int64_t> {
  using Partial = std::int64_t;
  bool is_mean = false;

  static std::int64_t add(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
  std::int64_t piece(const std::int64_t* x, std::int64_t n) const {
    return std::accumulate(x, x + n, std::int64_t{0}, add);
  }
  void columns(const std::int64_t* x, std::int64_t step, std::int64_t n, std::int64_t count,
               std::int64_t* sums) const {
    std::fill_n(sums, count, 0);
    for (std::int64_t i = 0; i < n; ++i)
      std::transform(sums, sums + count, x + i * step, sums, add);
  }
  std::int64_t merge(const std::int64_t* x, std::int64_t n) const { return piece(x, n); }
  std::int64_t finish(std::int64_t sum, std::int64_t) const { return sum; }
};

template <class T, bool largest>
struct ExtremeOf {
  using Partial = T;

  static const kernels::ExtremeLoops<T>& loops() {
    const auto& all = kernels::loops<T>(kernels::kernels());
    return largest ? all.max : all.min;
  }
  T piece(const T* x, std::int64_t n) const { return loops().row(x, n); }
  void columns(const T* x, std::int64_t step, std::int64_t n, std::int64_t count, T* best) const {
    loops().columns(x, step, n, count, best);
  }
  T merge(const T* x, std::int64_t n) const {
    T best = piece(x, std::min(n, kPiece));
    for (std::int64_t i = kPiece; i < n; i += kPiece) {
      const T pair[] = {best, piece(x + i, std::min(n - i, kPiece))};
      best = piece(pair, 2);
    }
    return best;
  }
  T finish(T best, std::int64_t) const { return best; }
};

template <bool largest>
struct ExtremeOf<std::int64_t, largest> {
  using Partial = std::int64_t;

  static std::int64_t better(std::int64_t a, std::int64_t b) {
    return largest ? std::max(a, b) : std::min(a, b);
  }
  std::int64_t piece(const std::int64_t* x, std::int64_t n) const {
    return std::accumulate(x, x + n, x[0], better);
  }
  void columns(const std::int64_t* x, std::int64_t step, std::int64_t n, std::int64_t count,
               std::int64_t* best) const {
    std::copy_n(x, count, best);
    for (std::int64_t i = 1; i < n; ++i)
      std::transform(best, best + count, x + i * step, best, better);
  }
  std::int64_t merge(const std::int64_t* x, std::int64_t n) const { return piece(x, n); }
  std::int64_t finish(std::int64_t best, std::int64_t) const { return best; }
};

// How the work of `rows` rows is cut: tasks of `block` rows and `group` pieces of each.
struct Cut {
  std::int64_t pieces, block, group;

  Cut(std::int64_t rows, std::int64_t length)
      : pieces(std::max<std::int64_t>(1, (length + kPiece - 1) / kPiece)),
        block(std::clamp<std::int64_t>(kTask / std::clamp<std::int64_t>(length, 1, kPiece), 1,
                                       std::max<std::int64_t>(rows, 1))),
        group(std::clamp<std::int64_t>(kTask / (block * kPiece), 1, pieces)) {}

  // Scratch for pieces of each row, and for a copy of a task's rows.
  std::size_t partial_bytes(std::int64_t rows) const {
    return pieces > 1 ? round_up(static_cast<std::size_t>(rows * pieces) * 8) : 0;
  }
  std::size_t gather_bytes(std::int64_t length, std::size_t item) const {
    return round_up(static_cast<std::size_t>(block * std::min(length, kPiece)) * item);
  }

 private:
  static std::size_t round_up(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
};

// Rows of x, to which y has one element each.
template <class T, class Reduction>
class Reduce {
 public:
  using Partial = typename Reduction::Partial;

  Reduce(const RowView& view, const Tensor& x, const Tensor& y, const Reduction& reduction)
      : view_(view),
        reduction_(reduction),
        from_(x.data<T>()),
        to_(y.mutable_data<T>()),
        cut_(view.rows(), view.length()),
        block_(view.columns() ? std::max(kColumns, cut_.block) : cut_.block) {}

  void run(Context& context) {
    if (view_.length() == 0) {  // rows of nothing, at no address
      std::fill_n(to_, view_.rows(), reduction_.finish(Partial(0), 0));
      return;
    }
    const bool gathers = !view_.columns() && !view_.dense();
    const std::size_t partial_bytes = cut_.partial_bytes(view_.rows());
    const std::size_t gather_bytes = gathers ? cut_.gather_bytes(view_.length(), sizeof(T)) : 0;
    std::byte* scratch = nullptr;
    if (partial_bytes + gather_bytes > 0) {
      scratch =
          context.scratch(partial_bytes + static_cast<std::size_t>(num_threads()) * gather_bytes);
    }
    partials_ = reinterpret_cast<Partial*>(scratch);
    const std::int64_t groups = (cut_.pieces + cut_.group - 1) / cut_.group;
    const std::int64_t blocks = (view_.rows() + block_ - 1) / block_;
    parallel_for(blocks * groups, [&](std::int64_t task, int slot) {
      const std::int64_t first = task / groups * block_;
      const std::int64_t count = std::min(block_, view_.rows() - first);
      const std::int64_t last = std::min(cut_.pieces, (task % groups + 1) * cut_.group);
      auto* copy = reinterpret_cast<T*>(scratch + partial_bytes +
                                        static_cast<std::size_t>(slot) * gather_bytes);
      for (std::int64_t piece = task % groups * cut_.group; piece < last; ++piece) {
        view_.columns() ? piece_of_columns(piece, first, count)
                        : piece_of_rows(piece, first, count, gathers ? copy : nullptr);
      }
    });
    if (cut_.pieces == 1) return;
    for (std::int64_t r = 0; r < view_.rows(); ++r) {
      const Partial all = reduction_.merge(partials_ + r * cut_.pieces, cut_.pieces);
      to_[r] = reduction_.finish(all, view_.length());
    }
  }

 private:
  std::int64_t elements_of(std::int64_t piece) const {
    return std::min(kPiece, view_.length() - piece * kPiece);
  }

  void put(std::int64_t row, std::int64_t piece, Partial partial) const {
    if (cut_.pieces > 1) {
      partials_[row * cut_.pieces + piece] = partial;
    } else {
      to_[row] = reduction_.finish(partial, view_.length());
    }
  }

  void piece_of_columns(std::int64_t piece, std::int64_t first, std::int64_t count) const {
    std::array<Partial, kernels::kMostColumns> found;
    for (std::int64_t row = first; row < first + count;) {
      const std::int64_t some =
          std::min({first + count - row, kernels::kMostColumns, view_.run(row)});
      const T* x = from_ + view_.offset(row) + piece * kPiece * view_.step();
      reduction_.columns(x, view_.step(), elements_of(piece), some, found.data());
      for (std::int64_t k = 0; k < some; ++k) {
        put(row + k, piece, found[static_cast<std::size_t>(k)]);
      }
      row += some;
    }
  }

  // Rows that are not contiguous are gathered in `copy`.
  void piece_of_rows(std::int64_t piece, std::int64_t first, std::int64_t count, T* copy) const {
    const std::int64_t begin = piece * kPiece, n = elements_of(piece);
    if (copy != nullptr) view_.gather(from_, first, count, begin, n, copy);
    for (std::int64_t r = 0; r < count; ++r) {
      const T* row = copy != nullptr ? copy + r * n : from_ + view_.offset(first + r) + begin;
      put(first + r, piece, reduction_.piece(row, n));
    }
  }

  const RowView& view_;
  const Reduction& reduction_;
  const T* from_;
  T* to_;
  Cut cut_;
  std::int64_t block_;  // rows of a task
  Partial* partials_ = nullptr;
};

template <class Op>
std::size_t workspace_of(const Op& op, const TensorSpec& x) {
  const RowView view(x.shape, contiguous_strides(x.shape),
                     axis_mask(Op::name, op.axes, x.shape.rank()));
  const Cut cut(view.rows(), view.length());
  return cut.partial_bytes(view.rows()) + static_cast<std::size_t>(num_threads()) *
                                              cut.gather_bytes(view.length(), size_of(x.dtype));
}

template <class T, class Reduction>
void reduce(Context& context, const RowView& view, const Tensor& x, const Tensor& y,
            const Reduction& reduction) {
  Reduce<T, Reduction>(view, x, y, reduction).run(context);
}

template <class Op, template <class> class Reduction, class... Options>
void run(const Op& op, Context& context, const Tensor& x, const Tensor& y, Options... options) {
  if (y.numel() == 0) return;
  const RowView view(x.shape(), x.strides(), axis_mask(Op::name, op.axes, x.rank()));
  switch (x.dtype()) {
    case DType::f32:
      return reduce<float>(context, view, x, y, Reduction<float>{options...});
    case DType::f64:
      return reduce<double>(context, view, x, y, Reduction<double>{options...});
    default:
      return reduce<std::int64_t>(context, view, x, y, Reduction<std::int64_t>{options...});
  }
}

template <class T>
using MaxOf = ExtremeOf<T, true>;
template <class T>
using MinOf = ExtremeOf<T, false>;

template <class Op>
void refuse_empty(const Op& op, const TensorSpec& x) {
  const AxisMask mask = axis_mask(Op::name, op.axes, x.shape.rank());
  for (std::int64_t axis = 0; axis < x.shape.rank(); ++axis) {
    if (contains(mask, axis) && x.shape[axis] == 0) {
      fail(Op::name, "x {} is empty along axis {}; at least one element is required", x.shape,
           axis);
    }
  }
}

// Where x is the extreme y of its row: w / (how often y stands there), else 0.
template <class Op>
Expr shared_among_ties(const Op& op, const Expr& x, const Expr& y, const Expr& w) {
  const Expr is_best = equal(x, detail::spread(y, x, op.axes, op.keep_dims));
  const Expr times = sum(cast(is_best, {.dtype = x.dtype()}), {.axes = op.axes, .keep_dims = true});
  return where(is_best, w / times, 0);
}

template <class Op>
Expr extreme_vjp(const Op& op, const Expr& x, const Expr& y, const Expr& d) {
  return shared_among_ties(op, x, y, detail::unreduce(d, x, op.axes, op.keep_dims));
}

template <class Op>
Expr extreme_jvp(const Op& op, const Expr& x, const Expr& y, const Expr& t) {
  return sum(shared_among_ties(op, x, y, t), {.axes = op.axes, .keep_dims = op.keep_dims});
}

}  // namespace

namespace detail {

Shape reduced_shape(std::string_view where, const Shape& x, const Axes& axes, bool keep_dims) {
  const AxisMask mask = axis_mask(where, axes, x.rank());
  std::vector<Extent> extents;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    if (!contains(mask, axis)) {
      extents.push_back(x[axis]);
    } else if (keep_dims) {
      extents.emplace_back(1);
    }
  }
  return Shape(std::move(extents));
}

std::int64_t reduced_count(const Shape& x, const Axes& axes) {
  const AxisMask mask = axis_mask("reduced_count", axes, x.rank());
  std::int64_t count = 1;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    if (contains(mask, axis)) count *= x[axis];
  }
  return count;
}

Expr unreduce(const Expr& y, const Expr& x, const Axes& axes, bool keep_dims) {
  if (keep_dims) return y;
  const Shape kept = reduced_shape("unreduce", x.shape(), axes, true);
  return reshape(y, {.shape = {kept.begin(), kept.end()}});
}

Expr spread(const Expr& y, const Expr& x, const Axes& axes, bool keep_dims) {
  return broadcast_to(unreduce(y, x, axes, keep_dims),
                      {.shape = {x.shape().begin(), x.shape().end()}});
}

Expr sum_to(const Expr& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  std::vector<std::int64_t> axes;
  const std::int64_t extra = x.rank() - shape.rank();
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    if (axis < extra || shape[axis - extra] != x.shape()[axis]) axes.push_back(axis);
  }
  const Expr summed = sum(x, {.axes = Axes(axes), .keep_dims = true});
  return extra == 0 ? summed : reshape(summed, {.shape = {shape.begin(), shape.end()}});
}

}  // namespace detail

Y<TensorSpec> Sum::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::numbers, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t Sum::workspace(const In<TensorSpec>& in) const { return workspace_of(*this, in.x); }
void Sum::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run<Sum, SumOf>(*this, context, in.x, out.y);
}
Sum::In<Expr> Sum::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {detail::spread(d.y, in.x, axes, keep_dims)};
}

Y<TensorSpec> Mean::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::floats, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t Mean::workspace(const In<TensorSpec>& in) const { return workspace_of(*this, in.x); }
void Mean::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run<Mean, SumOf>(*this, context, in.x, out.y, true);
}
Mean::In<Expr> Mean::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const auto count = static_cast<double>(detail::reduced_count(in.x.shape(), axes));
  return {detail::spread(d.y / count, in.x, axes, keep_dims)};
}

Y<TensorSpec> Max::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::numbers, in.x);
  refuse_empty(*this, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t Max::workspace(const In<TensorSpec>& in) const { return workspace_of(*this, in.x); }
void Max::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run<Max, MaxOf>(*this, context, in.x, out.y);
}
Max::In<Expr> Max::vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
  return {extreme_vjp(*this, in.x, out.y, d.y)};
}
Y<Expr> Max::jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const {
  return {extreme_jvp(*this, in.x, out.y, t.x)};
}

Y<TensorSpec> Min::infer(const In<TensorSpec>& in) const {
  detail::infer_elementwise(name, Domain::numbers, in.x);
  refuse_empty(*this, in.x);
  return {{in.x.dtype, detail::reduced_shape(name, in.x.shape, axes, keep_dims)}};
}
std::size_t Min::workspace(const In<TensorSpec>& in) const { return workspace_of(*this, in.x); }
void Min::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  run<Min, MinOf>(*this, context, in.x, out.y);
}
Min::In<Expr> Min::vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
  return {extreme_vjp(*this, in.x, out.y, d.y)};
}
Y<Expr> Min::jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const {
  return {extreme_jvp(*this, in.x, out.y, t.x)};
}

namespace {

template <class Op>
std::vector<Sample<Op>> reduction_samples() {
  return {{{}, {arg::spread({2, 3, 4})}, "all axes"},
          {{.axes = 1}, {arg::spread({2, 3, 4})}},
          {{.axes = {0, -1}, .keep_dims = true}, {arg::spread({2, 3, 4})}},
          {{.axes = -1}, {arg::spread({3, 1})}, "one element each"},
          {{.axes = Axes(std::vector<std::int64_t>{})}, {arg::spread({3})}, "no axes"},
          {{}, {arg::spread({})}, "a scalar"},
          {{.axes = 1, .keep_dims = true}, {arg::spread({0, 3})}, "nothing"}};
}

template <class Op>
std::vector<Reject<Op>> reduction_rejects() {
  return {{{.axes = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{.axes = {0, -2}}, {arg::normal({2, 3})}, "axis 0 is named twice"},
          {{.axes = 0}, {arg::normal({})}, "a scalar has no axes"},
          {{}, {arg::bernoulli({2})}, "bool"}};
}

template <class Op>
std::vector<Reject<Op>> extreme_rejects() {
  std::vector<Reject<Op>> all = reduction_rejects<Op>();
  all.push_back({{.axes = 1}, {arg::normal({3, 0})}, "at least one element is required"});
  return all;
}

template <class Op>
std::vector<Sample<Op>> integer_reduction_samples() {
  std::vector<Sample<Op>> all = reduction_samples<Op>();
  all.push_back({{.axes = 0}, {arg::integers({5, 3}, -9, 9)}, "i64"});
  return all;
}

}  // namespace

std::vector<Sample<Sum>> Sum::samples() {
  std::vector<Sample<Sum>> all = integer_reduction_samples<Sum>();
  all.push_back({{.axes = 0}, {arg::normal({0, 3})}, "sums of nothing"});
  return all;
}
std::vector<Reject<Sum>> Sum::rejects() { return reduction_rejects<Sum>(); }
std::vector<Sample<Mean>> Mean::samples() { return reduction_samples<Mean>(); }
std::vector<Reject<Mean>> Mean::rejects() { return reduction_rejects<Mean>(); }
std::vector<Sample<Max>> Max::samples() { return integer_reduction_samples<Max>(); }
std::vector<Reject<Max>> Max::rejects() { return extreme_rejects<Max>(); }
std::vector<Sample<Min>> Min::samples() { return integer_reduction_samples<Min>(); }
std::vector<Reject<Min>> Min::rejects() { return extreme_rejects<Min>(); }

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Sum);
FOVEA_DEFINE_OP(fovea::Mean);
FOVEA_DEFINE_OP(fovea::Max);
FOVEA_DEFINE_OP(fovea::Min);
