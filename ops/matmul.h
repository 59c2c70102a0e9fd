// Matrix products.
#pragma once

#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// y[..., m, n] = Σ_k a[..., m, k] · b[..., k, n]; leading extents broadcast, as in NumPy. A of
/// rank 1 is a row (k), b of rank 1 a column (k), and y lacks the axis that they lack; the
/// transpose of rank 1 is itself. Strided inputs are read where they are.
///
/// Throws Error if the inner extents differ, if leading extents do not broadcast, and for scalars.
struct Matmul {
  static constexpr std::string_view
      name = "matmul",
      doc =
          "y[..., m, n] = sum over k of a[..., m, k] b[..., k, n]; leading "
          "extents broadcast";
  template <class T>
  using In = AB<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool broadcasts = true;
  static constexpr Linear linear = Linear::each;
  static constexpr std::int64_t kMostLeadingAxes = 64;
  bool transpose_a = false, transpose_b = false;
  static constexpr std::tuple attributes{
      Attribute{"transpose_a", &Matmul::transpose_a,
                "whether the last two axes of a are swapped first; nothing to do at rank 1"},
      Attribute{"transpose_b", &Matmul::transpose_b,
                "whether the last two axes of b are swapped first; nothing to do at rank 1"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  std::size_t workspace(const In<TensorSpec>& in) const;
  double flops(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<Matmul>> samples();
  static std::vector<Reject<Matmul>> rejects();
};

inline Expr matmul(const Expr& a, const Expr& b, Matmul m = {},
                   std::source_location at = std::source_location::current()) {
  return apply(m, {a, b}, at).y;
}

namespace eval {

inline Tensor matmul(const Tensor& a, const Tensor& b, Matmul m = {}) { return apply(m, {a, b}).y; }

}  // namespace eval

}  // namespace fovea
