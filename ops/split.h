// split: one tensor cut into several along an axis.
#pragma once

#include <cstdint>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// The inverse of concat; views in a graph. Exactly one of `sizes` and `parts` is given. In models
/// the pieces of a node `s` are `s.0`, `s.1`, …, and `s` is `s.0`.
struct Split {
  static constexpr std::string_view name = "split",
                                    doc = "x cut into pieces, one after the other along `axis`";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Ys<T>;
  static constexpr Linear linear = Linear::jointly;
  std::int64_t axis = 0;
  std::vector<Extent> sizes = {};
  std::optional<Extent> parts = {};
  static constexpr std::tuple attributes{
      Attribute{"axis", &Split::axis, "axis that is cut; negative counts from the end"},
      Attribute{"sizes", &Split::sizes,
                "extent of each piece, together that of x; one may be -1, the rest"},
      Attribute{"parts", &Split::parts,
                "instead of sizes: into how many pieces of one extent, which must divide that of "
                "x"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Split>> samples();
  static std::vector<Reject<Split>> rejects();
};

inline std::vector<Expr> split(const Expr& x, Split a,
                               std::source_location at = std::source_location::current()) {
  return apply(a, {x}, at).ys;
}

namespace eval {
inline std::vector<Tensor> split(const Tensor& x, Split a) { return apply(a, {x}).ys; }
}  // namespace eval

}  // namespace fovea
