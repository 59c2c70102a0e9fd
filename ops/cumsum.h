// cumsum: running sums.
#pragma once

#include <cstdint>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Added in order; f32 is accumulated in f64, i64 wraps around.
struct Cumsum {
  static constexpr std::string_view name = "cumsum", doc = "y[i] = x[0] + … + x[i] along `axis`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = -1;
  bool exclusive = false, reverse = false;
  static constexpr std::tuple attributes{
      Attribute{"axis", &Cumsum::axis, "axis along which sums run; negative counts from the end"},
      Attribute{"exclusive", &Cumsum::exclusive, "whether y[i] leaves x[i] out; y[0] is 0 then"},
      Attribute{"reverse", &Cumsum::reverse,
                "whether sums run from the end: y[i] = x[i] + … "
                "+ x[n - 1]"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Cumsum>> samples();
  static std::vector<Reject<Cumsum>> rejects();
};

inline Expr cumsum(const Expr& x, Cumsum a = {},
                   std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {
inline Tensor cumsum(const Tensor& x, Cumsum a = {}) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
