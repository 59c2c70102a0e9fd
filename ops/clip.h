// clip: elements moved into an interval.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/elementwise_base.h"

namespace fovea {

/// Gradients pass where min <= x <= max, the bounds included, as in PyTorch. Bounds of an i64 x are
/// integers.
struct Clip {
  static constexpr std::string_view
      name = "clip",
      doc = "y = min where x < min, max where x > max, else x; NaN stays";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool overwrites = true;
  std::optional<double> min = {}, max = {};
  static constexpr std::tuple attributes{
      Attribute{"min", &Clip::min, "lower bound; left out: none"},
      Attribute{"max", &Clip::max, "upper bound, not below min; left out: none"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  TileKernel tile_kernel(std::span<const DType> in) const {
    return detail::row_kernel<Clip, 1, Domain::numbers, void>(this, in[0]);
  }
  template <class T>
  T formula(T x) const {
    T y = x;
    if (min && y < bound<T>(*min)) y = bound<T>(*min);
    if (max && y > bound<T>(*max)) y = bound<T>(*max);
    return y;
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>& out, const In<Expr>& t) const;
  static std::vector<Sample<Clip>> samples();
  static std::vector<Reject<Clip>> rejects();

 private:
  template <class T>
  static T bound(double value) {
    if constexpr (std::same_as<T, detail::Wrapping>) {
      return T(static_cast<std::int64_t>(value));
    } else {
      return static_cast<T>(value);
    }
  }
};

inline Expr clip(const Expr& x, Clip a, std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).y;
}

namespace eval {
inline Tensor clip(const Tensor& x, Clip a) { return apply(a, {x}).y; }
}  // namespace eval

}  // namespace fovea
