// Attention and its gradient said with other ops: what their decompositions are made of. Internal.
#pragma once

#include "fovea/ops/attention.h"
#include "fovea/ops/attention_problem.h"

namespace fovea::detail {

/// The matrices of one attention call as expressions. They take Lq·Lk memory. What is hidden is
/// selected away, never multiplied by 0, so that gradients of every order keep attention's promise.
class AttentionTerms {
 public:
  /// Throws Error, naming `where`, if `a` requires the fused path.
  AttentionTerms(std::string_view where, const Attention& a, const Attention::In<Expr>& in);

  /// scale · q kᵀ, then after the softcap, then with bias and −inf where hidden. With `hidden_too`
  /// the first two are computed for every pair, else they are 0 where hidden.
  Expr raw(bool hidden_too) const;
  /// `raw`, but NaN where it is infinite: softcap or exp would make something finite of it.
  Expr checked(const Expr& raw) const;
  Expr capped(const Expr& raw) const;
  Expr biased(const Expr& capped) const;

  /// `x` where visible, else `otherwise`.
  Expr shown(const Expr& x, double otherwise) const;
  /// x[i] · z[j] for each visible pair, 0 elsewhere: (…, Lq, C) and (…, Lk, C) to (…, Lq, Lk).
  Expr pair(const Expr& x, const Expr& z) const;
  /// Σ_j w[i,j] z[j] over the visible pairs, for each query.
  Expr gather(const Expr& w, const Expr& z) const;
  /// Σ_i w[i,j] x[i] over the visible pairs, for each key of k's and v's own heads.
  Expr scatter(const Expr& w, const Expr& x) const;

  const Expr& k() const { return k_; }  ///< one head for each query head
  const Expr& v() const { return v_; }
  double scale() const { return scale_; }
  double softcap() const { return softcap_; }  ///< 0: none; else far from q's dtype's limits

 private:
  Expr visible(const Attention& a, const Attention::In<Expr>& in) const;
  Expr per_query_head(const Expr& x) const;

  AttentionExtents extents_;
  Shape scores_;
  double scale_, softcap_;
  Expr q_, k_, v_, bias_;
  Expr visible_;  // bool, of the scores' shape; null where nothing is hidden
};

/// (…, Lq) as (…, Lq, 1).
Expr column(const Expr& x);

}  // namespace fovea::detail
