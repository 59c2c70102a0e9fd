// A matrix product that leaves out what a mask hides.
#pragma once

#include <array>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// What a mask hides: elements of the result, which are 0 then, or elements of `a`, whose terms are
/// left out of the sums.
enum class Masks { result, a };
template <>
struct EnumNames<Masks> {
  static constexpr std::array<std::string_view, 2> names{"result", "a"};
};

/// y[..., m, n] = Σ_k a[..., m, k] · b[..., k, n] over the k, or for the (m, n), that `mask` shows;
/// leading extents are equal or 1, ranks at least 2. The mask (bool, true = kept) broadcasts to the
/// result, or to `a`. What it hides does not matter even if it is NaN or infinite, neither here nor
/// in the gradients: that is what it is for; a product with 0 would not do.
///
/// Throws Error if inner extents differ or the mask does not broadcast.
struct MaskedMatmul {
  static constexpr std::string_view name = "masked_matmul";
  static constexpr std::string_view doc =
      "y = a b without what mask hides: elements of the result (0 then), or terms of a's elements.";

  template <class T>
  struct In {
    T a, b, mask;
    static constexpr std::array<std::string_view, 3> names{"a", "b", "mask"};
    static constexpr std::array<std::string_view, 3> docs{
        "(..., m, k)", "(..., k, n)",
        "bool, true = kept; broadcasts to (..., m, n), or for terms of a to (..., m, k)"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr bool broadcasts = true;
  static constexpr Linear linear = Linear::each;

  Masks masks = Masks::result;
  static constexpr std::tuple attributes{
      Attribute{"masks", &MaskedMatmul::masks, "what mask hides elements of"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  /// All products count, hidden ones too.
  double flops(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  static std::vector<Sample<MaskedMatmul>> samples();
  static std::vector<Reject<MaskedMatmul>> rejects();
};

inline Expr masked_matmul(const Expr& a, const Expr& b, const Expr& mask, MaskedMatmul options = {},
                          std::source_location at = std::source_location::current()) {
  return apply(options, {.a = a, .b = b, .mask = mask}, at).y;
}

namespace eval {
inline Tensor masked_matmul(const Tensor& a, const Tensor& b, const Tensor& mask,
                            MaskedMatmul options = {}) {
  return apply(options, {.a = a, .b = b, .mask = mask}).y;
}
}  // namespace eval

}  // namespace fovea
