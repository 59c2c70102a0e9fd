#include "fovea/ops/logic.h"

#include <cmath>
#include <limits>

#include "fovea/ops/define.h"
#include "fovea/tensor/convert.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

template <class T>
void run_where(const void*, std::int64_t n, const TileOperand* in, void* out) {
  const auto* condition = static_cast<const bool*>(in[0].data);
  const auto *a = static_cast<const T*>(in[1].data), *b = static_cast<const T*>(in[2].data);
  const std::int64_t c_step = in[0].single ? 0 : 1, a_step = in[1].single ? 0 : 1,
                     b_step = in[2].single ? 0 : 1;
  auto* y = static_cast<T*>(out);
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = condition[i * c_step] ? a[i * a_step] : b[i * b_step];
  }
}

template <class From, class To>
void run_cast(const void*, std::int64_t n, const TileOperand* in, void* out) {
  const auto* x = static_cast<const From*>(in[0].data);
  const std::int64_t step = in[0].single ? 0 : 1;
  auto* y = static_cast<To*>(out);
  for (std::int64_t i = 0; i < n; ++i) y[i] = convert<To, From>(x[i * step]);
}

}  // namespace

Y<TensorSpec> Where::infer(const In<TensorSpec>& in) const {
  if (in.condition.dtype != boolean) {
    fail(name, "condition is {}; bool is required", in.condition.dtype);
  }
  const TensorSpec taken = detail::infer_elementwise(name, Domain::any, in.a, in.b);
  return {{taken.dtype, broadcast_shapes(name, in.condition.shape, taken.shape)}};
}

TileKernel Where::tile_kernel(std::span<const DType> in) const {
  return visit_dtype(in[1], [&]<class T>(std::type_identity<T>) -> TileKernel {
    return {run_where<T>, this};
  });
}

Where::In<Expr> Where::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {.condition = {}, .a = where(in.condition, d.y, 0), .b = where(in.condition, 0, d.y)};
}

std::vector<Sample<Where>> Where::samples() {
  return {{{}, {arg::bernoulli({2, 3}), arg::spread({2, 3}), arg::spread({2, 3})}},
          {{}, {arg::bernoulli({4, 1, 3}), arg::spread({2, 1}), arg::spread({})}, "all broadcast"},
          {{}, {arg::bernoulli({}), arg::spread({3}), arg::spread({2, 1})}},
          {{}, {arg::bernoulli({0, 2}), arg::spread({2}), arg::spread({0, 1})}, "nothing"},
          {{}, {arg::bernoulli({5}), arg::integers({5}, -9, 9), arg::integers({1}, -9, 9)}, "i64"},
          {{}, {arg::bernoulli({5}), arg::bernoulli({1}), arg::bernoulli({5})}, "bool"}};
}

std::vector<Reject<Where>> Where::rejects() {
  return {{{}, {arg::normal({2}), arg::normal({2}), arg::normal({2})}, "bool is required"},
          {{}, {arg::bernoulli({2}), arg::normal({2}), arg::integers({2}, 0, 3)}, "i64"},
          {{}, {arg::bernoulli({2}), arg::normal({3}), arg::normal({3})}, "do not broadcast"}};
}

Y<TensorSpec> Cast::infer(const In<TensorSpec>& in) const {
  if (!dtype) fail(name, "dtype is not given; f32, f64, i64 or bool is required");
  return {{*dtype, in.x.shape}};
}

TileKernel Cast::tile_kernel(std::span<const DType> in) const {
  return visit_dtype(in[0], [&]<class From>(std::type_identity<From>) {
    return visit_dtype(*dtype, [&]<class To>(std::type_identity<To>) -> TileKernel {
      return {run_cast<From, To>, this};
    });
  });
}

Cast::In<Expr> Cast::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  return {is_float(in.x.dtype()) ? cast(d.y, {.dtype = in.x.dtype()}) : Expr()};
}

// In f64 a cast to f32 is a staircase, which has no numeric derivative: f32 stands only where no
// float goes in.
std::vector<Sample<Cast>> Cast::samples() {
  return {{{.dtype = f64}, {arg::spread({2, 3})}},
          {{.dtype = f64}, {arg::integers({2, 3}, -9, 9)}},
          {{.dtype = f32}, {arg::bernoulli({5})}},
          {{.dtype = i64}, {arg::spread({})}},
          {{.dtype = boolean}, {arg::values({0, -0.5, 2}, {3, 1})}},
          {{.dtype = i64}, {arg::bernoulli({0, 4})}}};
}

std::vector<Reject<Cast>> Cast::rejects() {
  return {{{}, {arg::normal({2})}, "dtype is not given"}};
}

std::vector<Sample<IsFinite>> IsFinite::samples() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {{{}, {arg::values({1, kInfinity, -kInfinity, std::nan(""), 0, -2}, {2, 3})}},
          {{}, {arg::normal({})}},
          {{}, {arg::integers({4}, -9, 9)}, "i64: always true"},
          {{}, {arg::normal({0, 4})}}};
}

std::vector<Reject<IsFinite>> IsFinite::rejects() { return {{{}, {arg::bernoulli({2})}, "bool"}}; }

std::vector<Sample<LogicalNot>> LogicalNot::samples() {
  return {{{}, {arg::bernoulli({2, 3})}}, {{}, {arg::bernoulli({})}}, {{}, {arg::bernoulli({0})}}};
}

std::vector<Reject<LogicalNot>> LogicalNot::rejects() { return {{{}, {arg::normal({2})}, "bool"}}; }

namespace {

template <class Row>
std::vector<Sample<Row>> comparison_samples() {
  return {{{}, {arg::integers({6, 7}, 0, 3), arg::integers({6, 7}, 0, 3)}, "i64, many equal"},
          {{}, {arg::spread({4, 1, 3}), arg::spread({2, 1})}, "both broadcast"},
          {{}, {arg::spread({}), arg::spread({17})}},
          {{}, {arg::values({1, std::nan(""), 0}, {3}), arg::values({1, std::nan(""), 2}, {3})}},
          {{}, {arg::bernoulli({5}), arg::bernoulli({5})}, "bool"},
          {{}, {arg::spread({0, 3}), arg::spread({3})}}};
}

template <class Row>
std::vector<Reject<Row>> comparison_rejects() {
  return {{{}, {arg::normal({2, 3}), arg::normal({2, 4})}, "do not broadcast"},
          {{}, {arg::normal({2}), arg::integers({2}, 0, 3)}, "i64"}};
}

template <class Row>
std::vector<Sample<Row>> logical_samples() {
  return {{{}, {arg::bernoulli({4, 8}), arg::bernoulli({4, 8})}},
          {{}, {arg::bernoulli({4, 1, 3}), arg::bernoulli({2, 1})}, "both broadcast"},
          {{}, {arg::bernoulli({}), arg::bernoulli({0})}}};
}

template <class Row>
std::vector<Reject<Row>> logical_rejects() {
  return {{{}, {arg::normal({2}), arg::normal({2})}, "bool is required"},
          {{}, {arg::bernoulli({2}), arg::bernoulli({3})}, "do not broadcast"}};
}

}  // namespace

#define FOVEA_ROW(Row, kind)                                                \
  std::vector<Sample<Row>> Row::samples() { return kind##_samples<Row>(); } \
  std::vector<Reject<Row>> Row::rejects() { return kind##_rejects<Row>(); }

FOVEA_ROW(Equal, comparison)
FOVEA_ROW(NotEqual, comparison)
FOVEA_ROW(Less, comparison)
FOVEA_ROW(LessEqual, comparison)
FOVEA_ROW(Greater, comparison)
FOVEA_ROW(GreaterEqual, comparison)
FOVEA_ROW(LogicalAnd, logical)
FOVEA_ROW(LogicalOr, logical)
FOVEA_ROW(LogicalXor, logical)

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Equal);
FOVEA_DEFINE_OP(fovea::NotEqual);
FOVEA_DEFINE_OP(fovea::Less);
FOVEA_DEFINE_OP(fovea::LessEqual);
FOVEA_DEFINE_OP(fovea::Greater);
FOVEA_DEFINE_OP(fovea::GreaterEqual);
FOVEA_DEFINE_OP(fovea::LogicalAnd);
FOVEA_DEFINE_OP(fovea::LogicalOr);
FOVEA_DEFINE_OP(fovea::LogicalXor);
FOVEA_DEFINE_OP(fovea::LogicalNot);
FOVEA_DEFINE_OP(fovea::IsFinite);
FOVEA_DEFINE_OP(fovea::Where);
FOVEA_DEFINE_OP(fovea::Cast);
