// What every elementwise op has in common. A row of the table is a struct that derives from Unary
// or Binary and gives its name, doc, formula and derivative; broadcasting, tiles, gradients and
// forward mode come from here.
//
//     struct Tanh : Unary<Tanh> {
//       static constexpr std::string_view name = "tanh", doc = "y = tanh x";
//       template <class T>
//       T formula(T x) const { return math::tanh(x); }
//       Expr derivative(const Expr& x, const Expr& y) const { return 1 - y * y; }
//       samples, rejects
//     };
//
// Formulas run on one element at a time, a float, a double or a dual number of these (dual.h), and
// call functions of `math`. A row for i64 or bool says so by its `domain`.
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "fovea/ops/dual.h"
#include "fovea/ops/op.h"

namespace fovea {

enum class Domain {
  floats,   ///< f32, f64
  numbers,  ///< f32, f64, i64
  bools,    ///< bool
  any,      ///< every dtype
};

namespace detail {

/// Throws Error, naming `where`, unless both dtypes are in the domain and equal; the broadcast
/// shape.
TensorSpec infer_elementwise(std::string_view where, Domain domain, const TensorSpec& x);
TensorSpec infer_elementwise(std::string_view where, Domain domain, const TensorSpec& a,
                             const TensorSpec& b);

// Integer arithmetic wraps around, as NumPy's does: signed overflow is undefined in C++.
struct Wrapping {
  std::int64_t value;
  Wrapping(std::int64_t v) : value(v) {}
  friend Wrapping operator+(Wrapping a, Wrapping b) { return wrap(bits(a) + bits(b)); }
  friend Wrapping operator-(Wrapping a, Wrapping b) { return wrap(bits(a) - bits(b)); }
  friend Wrapping operator*(Wrapping a, Wrapping b) { return wrap(bits(a) * bits(b)); }
  friend Wrapping operator-(Wrapping a) { return wrap(0 - bits(a)); }
  friend auto operator<=>(Wrapping a, Wrapping b) = default;

 private:
  static std::uint64_t bits(Wrapping a) { return static_cast<std::uint64_t>(a.value); }
  static Wrapping wrap(std::uint64_t b) { return static_cast<std::int64_t>(b); }
};

// The type that a formula computes with, for elements of type T.
template <class T>
struct Compute {
  using type = T;
};
template <>
struct Compute<std::int64_t> {
  using type = Wrapping;
};

template <class R>
auto element(R result) {
  if constexpr (std::same_as<R, Wrapping>) {
    return result.value;
  } else {
    return result;
  }
}

// Elements that a loop of known length handles: g++ makes vector instructions of it.
inline constexpr std::int64_t kBlock = 16;

// y[i] = formula(x[i]…), n at most kBlock. y may be an operand, but no other part of one.
template <class Row, class Out, class... T>
void run_block(const Row& row, std::int64_t n, Out* y, const T*... x) {
  if (n == kBlock) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < kBlock; ++i) {
      y[i] = element(row.formula(typename Compute<T>::type(x[i])...));
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      y[i] = element(row.formula(typename Compute<T>::type(x[i])...));
    }
  }
}

// out[i] = formula(in[0][i], …) for N operands of type T; a single element is a block of copies.
template <class Row, class T, class Out, std::size_t N>
void run_tile(const void* self, std::int64_t n, const TileOperand* in, void* out) {
  const Row& row = *static_cast<const Row*>(self);
  auto* y = static_cast<Out*>(out);
  std::array<std::array<T, kBlock>, N> copies;
  std::array<const T*, N> x;
  for (std::size_t k = 0; k < N; ++k) {
    x[k] = static_cast<const T*>(in[k].data);
    if (in[k].single) {
      copies[k].fill(*x[k]);
      x[k] = copies[k].data();
    }
  }
  for (std::int64_t i = 0; i < n; i += kBlock) {
    const std::int64_t count = n - i < kBlock ? n - i : kBlock;
    [&]<std::size_t... K>(std::index_sequence<K...>) { run_block(row, count, y + i, x[K]...); }
    (std::make_index_sequence<N>());
    for (std::size_t k = 0; k < N; ++k) x[k] += in[k].single ? 0 : kBlock;
  }
}

// The tile of a row for elements of `dtype`. Out: void means the operands' own type.
template <class Row, std::size_t N, Domain domain, class Out>
TileKernel row_kernel(const Row* row, DType dtype) {
  const auto kernel = [&]<class T>(std::type_identity<T>) -> TileKernel {
    constexpr bool fits = domain == Domain::any ||
                          (domain == Domain::bools && std::same_as<T, bool>) ||
                          (domain == Domain::numbers && !std::same_as<T, bool>) ||
                          (domain == Domain::floats && std::floating_point<T>);
    if constexpr (fits) {
      using Result = std::conditional_t<std::same_as<Out, void>, T, Out>;
      return {run_tile<Row, T, Result, N>, row};
    } else {
      return {};
    }
  };
  return visit_dtype(dtype, kernel);
}

template <class Row>
constexpr Domain domain_of() {
  if constexpr (requires { Row::domain; }) {
    return Row::domain;
  } else {
    return Domain::floats;
  }
}

}  // namespace detail

namespace detail {

// The tangent of a row is an op of its own, internal to forward mode and in no registry: operands
// and their tangents, of one float dtype, broadcast.
OpType tangent_type(std::size_t operands, std::vector<AttributeInfo> attributes);
/// The op keeps `row`, which the kernels read, alive.
std::shared_ptr<const Op> tangent_op(const OpType& type, AttributeMap attributes,
                                     std::shared_ptr<const void> row, TileKernel narrow,
                                     TileKernel wide);

// The tangent's value: the row's formula on dual numbers.
template <class Row>
struct RowTangent {
  Row row;

  template <class T>
  T formula(T x, T t) const {
    return row.formula(Dual<T>(x, t)).tangent;
  }
  template <class T>
  T formula(T a, T b, T ta, T tb) const {
    return row.formula(Dual<T>(a, ta), Dual<T>(b, tb)).tangent;
  }
};

template <class Row, std::size_t N>
Expr apply_tangent(const Row& row, std::vector<Expr> operands) {
  static const OpType type = tangent_type(N, describe_attributes<Row>());
  const auto tangent = std::make_shared<const RowTangent<Row>>(RowTangent<Row>{row});
  const auto op = tangent_op(type, encode_attributes(row), tangent,
                             {run_tile<RowTangent<Row>, float, float, N>, tangent.get()},
                             {run_tile<RowTangent<Row>, double, double, N>, tangent.get()});
  return apply(op, std::move(operands), Location()).front();
}

template <class Row>
constexpr bool is_linear() {
  if constexpr (requires { Row::linear; }) {
    return Row::linear != Linear::no;
  } else {
    return false;
  }
}

}  // namespace detail

template <class Row>
struct Unary {
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {detail::infer_elementwise(Row::name, detail::domain_of<Row>(), in.x)};
  }
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Row, 1, detail::domain_of<Row>(), void>(&row(), in[0]);
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
    return {.x = d.y * row().derivative(in.x, out.y)};
  }
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>&, const In<Expr>& t) const
      requires(!detail::is_linear<Row>()) {
    return {detail::apply_tangent<Row, 2>(row(), {in.x, t.x})};
  }

 private:
  const Row& row() const { return static_cast<const Row&>(*this); }
};

// Two operands of one dtype, broadcast. A row gives `AB<Expr> derivative(a, b, y)`: ∂y/∂a and
// ∂y/∂b.
template <class Row>
struct Binary {
  template <class T>
  using In = AB<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true, broadcasts = true;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {detail::infer_elementwise(Row::name, detail::domain_of<Row>(), in.a, in.b)};
  }
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Row, 2, detail::domain_of<Row>(), void>(&row(), in[0]);
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
    const AB<Expr> partial = row().derivative(in.a, in.b, out.y);
    return {.a = d.y * partial.a, .b = d.y * partial.b};
  }
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>&, const In<Expr>& t) const
      requires(!detail::is_linear<Row>()) {
    const Expr zero = constant(in.a.dtype(), 0);
    return {detail::apply_tangent<Row, 4>(row(), {in.a, in.b, t.a ? t.a : zero, t.b ? t.b : zero})};
  }

 private:
  const Row& row() const { return static_cast<const Row&>(*this); }
};

// One operand, a bool for each element, so there is no gradient.
template <class Row, Domain kDomain>
struct UnaryPredicate {
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {{boolean, detail::infer_elementwise(Row::name, kDomain, in.x).shape}};
  }
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Row, 1, kDomain, bool>(static_cast<const Row*>(this), in[0]);
  }
};

// Two operands of one dtype, broadcast; a bool each, so there is no gradient.
template <class Row, Domain kDomain>
struct Predicate {
  template <class T>
  using In = AB<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool broadcasts = true;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    return {{boolean, detail::infer_elementwise(Row::name, kDomain, in.a, in.b).shape}};
  }
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Row, 2, kDomain, bool>(static_cast<const Row*>(this), in[0]);
  }
};

// The functions of a row, for expressions and for tensors at once.
#define FOVEA_UNARY(Row, function)                                                                 \
  inline Expr function(const Expr& x, std::source_location at = std::source_location::current()) { \
    return apply(Row{}, {x}, at).y;                                                                \
  }                                                                                                \
  namespace eval {                                                                                 \
  inline Tensor function(const Tensor& x) { return apply(Row{}, {x}).y; }                          \
  }
#define FOVEA_BINARY(Row, function)                                                           \
  inline Expr function(const Operand& a, const Operand& b) {                                  \
    return apply(Row{}, {a.beside(b), b.beside(a)}, a.location()).y;                          \
  }                                                                                           \
  namespace eval {                                                                            \
  inline Tensor function(const Tensor& a, const Tensor& b) { return apply(Row{}, {a, b}).y; } \
  }

}  // namespace fovea
