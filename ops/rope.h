// rope: rotary position embedding, and rotate: the same with angles of one's own.
#pragma once

#include <array>
#include <optional>
#include <source_location>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// For x (.., length, dim), dim even. Element pairs (a, b) of the last axis become (a cos t − b sin
/// t, a sin t + b cos t), t = position · base^(−2i/dim) for pair i; angles are f64. positions, i64,
/// broadcast to x's shape without its last axis; left out: 0 … length − 1 along the last but one.
/// Source: Su et al., "RoFormer" (arXiv 2104.09864).
struct Rope {
  static constexpr std::string_view
      name = "rope",
      doc = "Pairs of x's last axis, rotated by angles that grow with their position.";
  template <class T>
  struct In {
    T x;
    std::optional<T> positions = {};
    static constexpr std::array<std::string_view, 2> names{"x", "positions"};
    static constexpr std::array<std::string_view, 2> docs{
        "(..., length, dim), dim even",
        "i64, broadcasts to (..., length): for x (batch, heads, length, dim) as (length), or "
        "(batch, 1, length); 0, 1, ... when left out"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  double base = 10000;
  bool interleaved = false, inverse = false;
  static constexpr std::tuple attributes{
      Attribute{"base", &Rope::base, "pair i turns by base^(-2i/dim) per position; greater than 0"},
      Attribute{"interleaved", &Rope::interleaved,
                "pairs are the elements (2i, 2i + 1), as in GPT-J; else (i, i + dim/2), as in "
                "GPT-NeoX and Llama"},
      Attribute{"inverse", &Rope::inverse, "rotate the other way, which undoes it"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Rope>> samples();
  static std::vector<Reject<Rope>> rejects();
};

/// For x (.., dim), dim even; cosines and sines broadcast to (.., dim/2) and have x's dtype.
struct Rotate {
  static constexpr std::string_view
      name = "rotate",
      doc = "Pairs (a, b) of x's last axis become (a cos - b sin, a sin + b cos).";
  template <class T>
  struct In {
    T x, cosines, sines;
    static constexpr std::array<std::string_view, 3> names{"x", "cosines", "sines"};
    static constexpr std::array<std::string_view, 3> docs{
        "(..., dim), dim even", "broadcasts to (..., dim / 2)", "broadcasts to (..., dim / 2)"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr bool broadcasts = true;
  bool interleaved = false;
  static constexpr std::tuple attributes{
      Attribute{"interleaved", &Rotate::interleaved,
                "pairs are the elements (2i, 2i + 1); else (i, i + dim/2)"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const;
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const;
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const;
  Out<Expr> decomposition(const In<Expr>& in) const;
  static std::vector<Sample<Rotate>> samples();
  static std::vector<Reject<Rotate>> rejects();
};

inline Expr rotate(const Expr& x, const Expr& cosines, const Expr& sines, Rotate a = {},
                   std::source_location at = std::source_location::current()) {
  return apply(a, {x, cosines, sines}, at).y;
}
inline Expr rope(const Expr& x, Rope a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x, {}}, at).y;
}
inline Expr rope(const Expr& x, const Expr& positions, Rope a = {},
                 std::source_location at = std::source_location::current()) {
  return apply(a, {x, positions}, at).y;
}

namespace eval {
inline Tensor rotate(const Tensor& x, const Tensor& cosines, const Tensor& sines, Rotate a = {}) {
  return apply(a, {x, cosines, sines}).y;
}
inline Tensor rope(const Rope::In<Tensor>& in, Rope a = {}) { return apply(a, in).y; }
}  // namespace eval

}  // namespace fovea
