// Ops that move elements: transpose, reshape, broadcast_to, slice, select, concat, unslice. All but
// the last two are views where strides allow it: they cost nothing in a graph.
#pragma once

#include <cstdint>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

struct Transpose {
  static constexpr std::string_view name = "transpose", doc = "Axis i of y is axis perm[i] of x.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::vector<std::int64_t> perm = {};
  static constexpr std::tuple attributes{
      Attribute{"perm", &Transpose::perm,
                "each axis of x once, negative counts from the end; empty reverses them all"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Tensor view(const Tensor& x) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Transpose>> samples();
  static std::vector<Reject<Transpose>> rejects();
};

/// A view where strides allow one, else a copy.
struct Reshape {
  static constexpr std::string_view name = "reshape",
                                    doc =
                                        "The elements of x, in row-major order, in another shape.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::vector<Extent> shape = {};
  static constexpr std::tuple attributes{
      Attribute{"shape", &Reshape::shape, "extents of y; one may be -1, the rest of the elements"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Tensor view(const Tensor& x) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Reshape>> samples();
  static std::vector<Reject<Reshape>> rejects();
};

struct BroadcastTo {
  static constexpr std::string_view name = "broadcast_to",
                                    doc = "x repeated to `shape` by NumPy's rule.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::vector<Extent> shape = {};
  static constexpr std::tuple attributes{
      Attribute{"shape", &BroadcastTo::shape,
                "extents of y; aligned to the right, those of x are equal or 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Tensor view(const Tensor& x) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<BroadcastTo>> samples();
  static std::vector<Reject<BroadcastTo>> rejects();
};

/// As Python's x[start:end:step]: positions outside are clipped, never an error.
struct Slice {
  static constexpr std::string_view name = "slice",
                                    doc = "y = x[start:end:step] along `axis`, as in Python.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0;
  std::optional<std::int64_t> start = {}, end = {};
  std::int64_t step = 1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Slice::axis, "axis that is cut; negative counts from the end"},
      Attribute{"start", &Slice::start,
                "first position, negative counts from the end; left out: the first one, or the "
                "last for a negative step"},
      Attribute{"end", &Slice::end,
                "position before which it ends, negative counts from the end; left out: all the "
                "rest"},
      Attribute{"step", &Slice::step, "distance between positions; negative walks back, not 0"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Tensor view(const Tensor& x) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Slice>> samples();
  static std::vector<Reject<Slice>> rejects();
};

struct Select {
  static constexpr std::string_view name = "select",
                                    doc = "One position of `axis`, which disappears.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0, index = 0;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Select::axis, "axis that disappears; negative counts from the end"},
      Attribute{"index", &Select::index, "position on it; negative counts from the end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  Tensor view(const Tensor& x) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Select>> samples();
  static std::vector<Reject<Select>> rejects();
};

/// The transpose of slice, and the way to pad with zeros.
struct Unslice {
  static constexpr std::string_view name = "unslice",
                                    doc = "Zeros, except y[start:end:step] = x along `axis`.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0;
  Extent extent = 0;
  std::optional<std::int64_t> start = {}, end = {};
  std::int64_t step = 1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Unslice::axis, "axis that grows; negative counts from the end"},
      Attribute{"extent", &Unslice::extent, "its extent in y"},
      Attribute{"start", &Unslice::start, "as for slice"},
      Attribute{"end", &Unslice::end, "as for slice"},
      Attribute{"step", &Unslice::step, "as for slice"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  double flops(const In<TensorSpec>&) const { return 0; }
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Unslice>> samples();
  static std::vector<Reject<Unslice>> rejects();
};

struct Concat {
  static constexpr std::string_view name = "concat",
                                    doc = "The inputs one after the other along `axis`.";
  template <class T>
  using In = Xs<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Concat::axis,
                "axis along which they are joined; negative counts from the end; all other extents "
                "are equal"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  double flops(const In<TensorSpec>&) const { return 0; }
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Concat>> samples();
  static std::vector<Reject<Concat>> rejects();
};

inline Expr transpose(const Expr& x, Transpose a = {},
                      std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
/// The last two axes exchanged: the transpose of each matrix. Throws Error below rank 2.
Expr swap_last_axes(const Expr& x, std::source_location at = std::source_location::current());
inline Expr reshape(const Expr& x, Reshape a,
                    std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr broadcast_to(const Expr& x, BroadcastTo a,
                         std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr slice(const Expr& x, Slice a,
                  std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr select(const Expr& x, Select a,
                   std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr unslice(const Expr& x, Unslice a,
                    std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr concat(std::vector<Expr> xs, Concat a = {},
                   std::source_location at = std::source_location::current()) {
  return apply(a, {std::move(xs)}, at).y;
}

namespace eval {

inline Tensor transpose(const Tensor& x, Transpose a = {}) { return apply(a, {x}).y; }
inline Tensor reshape(const Tensor& x, Reshape a) { return apply(a, {x}).y; }
inline Tensor broadcast_to(const Tensor& x, BroadcastTo a) { return apply(a, {x}).y; }
inline Tensor slice(const Tensor& x, Slice a) { return apply(a, {x}).y; }
inline Tensor select(const Tensor& x, Select a) { return apply(a, {x}).y; }
inline Tensor unslice(const Tensor& x, Unslice a) { return apply(a, {x}).y; }
inline Tensor concat(std::vector<Tensor> xs, Concat a = {}) { return apply(a, {std::move(xs)}).y; }

}  // namespace eval

}  // namespace fovea
