// pad: a tensor with a border.
#pragma once

#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Of any dtype; for i64 and bool `value` must be one of theirs.
struct Pad {
  static constexpr std::string_view name = "pad", doc = "x with elements `value` around it";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  std::vector<Extent> before = {}, after = {};
  double value = 0;
  static constexpr std::tuple attributes{
      Attribute{"before", &Pad::before,
                "how many positions are added in front, for each axis; empty: none"},
      Attribute{"after", &Pad::after,
                "how many positions are added behind, for each axis; empty: none"},
      Attribute{"value", &Pad::value, "what stands there"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Pad>> samples();
  static std::vector<Reject<Pad>> rejects();
};

inline Expr pad(const Expr& x, Pad a, std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {
inline Tensor pad(const Tensor& x, Pad a) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
