// stop_gradient: a value that counts as a constant when it is differentiated.
#pragma once

#include <source_location>
#include <string_view>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// Of any dtype; a view. Gradient checks hold it fixed too, so that they agree.
struct StopGradient {
  static constexpr std::string_view name = "stop_gradient",
                                    doc = "y = x; no gradient passes through it.";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static constexpr bool stops_gradient = true;

  Out<TensorSpec> infer(const In<TensorSpec>& in) const { return {in.x}; }
  Tensor view(const Tensor& x) const { return x; }
  static std::vector<Sample<StopGradient>> samples();
  static std::vector<Reject<StopGradient>> rejects();
};

inline Expr stop_gradient(const Expr& x,
                          std::source_location at = std::source_location::current()) {
  return apply(StopGradient{}, {x}, at).y;
}

namespace eval {
inline Tensor stop_gradient(const Tensor& x) { return apply(StopGradient{}, {x}).y; }
}  // namespace eval

}  // namespace fovea
