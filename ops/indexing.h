// Ops that read, write or make indices: take, gather, scatter_add, one_hot, argmax, iota.
//
// Indices are i64. A negative one counts from the end; one out of range is an Error of the run that
// names it, its place and the extent.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Looks up rows of a table of embeddings, of any dtype. For x (vocabulary, width) and indices
/// (batch, length), y is (batch, length, width). The gradients of an index that stands several
/// times are added up.
struct Take {
  static constexpr std::string_view
      name = "take",
      doc = "The positions of x's `axis` that indices name; the indices' axes stand in its place.";
  template <class T>
  struct In {
    T x, indices;
    static constexpr std::array<std::string_view, 2> names{"x", "indices"};
    static constexpr std::array<std::string_view, 2> docs{
        "a table, any dtype: (vocabulary, width)",
        "i64, any shape: positions of `axis`; negative ones count from the end"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Take::axis, "axis that is looked up; negative counts from the end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  double flops(const In<TensorSpec>&) const { return 0; }
  static std::vector<Sample<Take>> samples();
  static std::vector<Reject<Take>> rejects();
};

/// NumPy's take_along_axis and PyTorch's gather: x and indices have equal ranks, and equal extents
/// except at `axis`; x has any dtype. The gradients of an element that is read several times are
/// added up.
struct Gather {
  static constexpr std::string_view name = "gather",
                                    doc = "y[.., i, ..] = x[.., indices[.., i, ..], ..] at `axis`";
  template <class T>
  struct In {
    T x, indices;
    static constexpr std::array<std::string_view, 2> names{"x", "indices"};
    static constexpr std::array<std::string_view, 2> docs{
        "any dtype",
        "i64, of x's rank, and of its extents but at `axis`; negative ones count from the end"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Gather::axis,
                "axis that is looked up, all other extents are equal; negative counts from the "
                "end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  double flops(const In<TensorSpec>&) const { return 0; }
  static std::vector<Sample<Gather>> samples();
  static std::vector<Reject<Gather>> rejects();
};

/// The transpose of gather, and PyTorch's scatter_add: updates of one element are added in the
/// order of their positions, so that the result depends on nothing else. x and updates are f32, f64
/// or i64 (which wraps around).
struct ScatterAdd {
  static constexpr std::string_view
      name = "scatter_add",
      doc = "y = x, and then y[.., indices[.., i, ..], ..] += updates[.., i, ..] at `axis`";
  template <class T>
  struct In {
    T x, indices, updates;
    static constexpr std::array<std::string_view, 3> names{"x", "indices", "updates"};
    static constexpr std::array<std::string_view, 3> docs{
        "f32, f64 or i64",
        "i64, of x's rank, and of its extents but at `axis`; negative ones count from the end",
        "of x's dtype and indices' shape"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = -1;
  static constexpr std::tuple attributes{
      Attribute{"axis", &ScatterAdd::axis,
                "axis that the indices run along, all other extents are equal; negative counts "
                "from the end"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<ScatterAdd>> samples();
  static std::vector<Reject<ScatterAdd>> rejects();
};

struct OneHot {
  static constexpr std::string_view
      name = "one_hot",
      doc = "y[.., c] = 1 where c is the index, else 0; the classes are a new last axis.";
  template <class T>
  struct In {
    T indices;
    static constexpr std::array<std::string_view, 1> names{"indices"};
    static constexpr std::array<std::string_view, 1> docs{
        "i64, any shape; negative ones count from the end"};
  };
  template <class T>
  using Out = Y<T>;
  Extent classes = 0;
  DType dtype = f32;
  static constexpr std::tuple attributes{
      Attribute{"classes", &OneHot::classes, "extent of the new last axis"},
      Attribute{"dtype", &OneHot::dtype, "dtype of y"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<OneHot>> samples();
  static std::vector<Reject<OneHot>> rejects();
};

/// The first where several are largest; a NaN is larger than every number, as in NumPy. x has any
/// dtype, y is i64. Of no elements: an error.
struct Argmax {
  static constexpr std::string_view
      name = "argmax",
      doc =
          "y = the position of the largest element along `axis`: the first of equals, or the "
          "first NaN";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  std::int64_t axis = -1;
  bool keep_dims = false;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Argmax::axis, "axis that is searched; negative counts from the end"},
      Attribute{"keep_dims", &Argmax::keep_dims, "whether the axis stays, with extent 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  static std::vector<Sample<Argmax>> samples();
  static std::vector<Reject<Argmax>> rejects();
};

struct Iota {
  static constexpr std::string_view name = "iota", doc = "y = 0, 1, …, extent - 1";
  template <class T>
  using In = None<T>;
  template <class T>
  using Out = Y<T>;
  Extent extent = 0;
  DType dtype = i64;
  static constexpr std::tuple attributes{
      Attribute{"extent", &Iota::extent, "how many numbers"},
      Attribute{"dtype", &Iota::dtype, "dtype of y: i64, f32 or f64"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  static std::vector<Sample<Iota>> samples();
  static std::vector<Reject<Iota>> rejects();
};

inline Expr take(const Expr& x, const Expr& indices, Take a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x, indices}, at).y;
}
inline Expr gather(const Expr& x, const Expr& indices, Gather a = {},
                   std::source_location at = std::source_location::current()) {
  return apply(a, {x, indices}, at).y;
}
inline Expr scatter_add(const Expr& x, const Expr& indices, const Expr& updates, ScatterAdd a = {},
                        std::source_location at = std::source_location::current()) {
  return apply(a, {x, indices, updates}, at).y;
}
inline Expr one_hot(const Expr& indices, OneHot a,
                    std::source_location at = std::source_location::current()) {
  return apply(a, {indices}, at).y;
}
inline Expr argmax(const Expr& x, Argmax a = {},
                   std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}
inline Expr iota(Iota a, std::source_location at = std::source_location::current()) {
  return apply(a, {}, at).y;
}

namespace eval {

inline Tensor take(const Tensor& x, const Tensor& indices, Take a = {}) {
  return apply(a, {x, indices}).y;
}
inline Tensor gather(const Tensor& x, const Tensor& indices, Gather a = {}) {
  return apply(a, {x, indices}).y;
}
inline Tensor scatter_add(const Tensor& x, const Tensor& indices, const Tensor& updates,
                          ScatterAdd a = {}) {
  return apply(a, {x, indices, updates}).y;
}
inline Tensor one_hot(const Tensor& indices, OneHot a) { return apply(a, {indices}).y; }
inline Tensor argmax(const Tensor& x, Argmax a = {}) { return apply(a, {x}).y; }
inline Tensor iota(Iota a) { return apply(a, {}).y; }

}  // namespace eval

}  // namespace fovea
