// Proves gradients numerically: `gradients` against differences of the values.
//
// Everything is computed in f64; an f32 graph is rewritten first. The outputs y are multiplied by
// random cotangents c (never by ones: that cannot see a wrong softmax gradient), and each number
// compared is a derivative of L = Σ c·y along one element of one input, or along a direction
// through many of them.
//
// Error model. The numeric derivative has an error bar u of its own: truncation from the spread of
// its extrapolations, rounding from 4 ε Σ |c||y| divided by the step. The gradient is a result of
// f64 arithmetic with at most 2^22 roundings of intermediate values no larger than itself: its
// error is at most τ M, with τ = 2^22 ε/2 = 2^-31 and M the largest element of that input's
// gradient. Along a direction d these bounds grow to τ M ‖d‖₁. So a comparison
//
//     fails           when |analytic - numeric| > 2 u + τ M ‖d‖₁,
//     is inconclusive when it does not fail, but u > 1e-6 M ‖d‖₂: an error that matters could hide;
//     is left out     at a kink, where the one-sided derivatives differ and the analytic value lies
//                     between them (outside, it fails).
//
// Values that are not finite take no part: their cotangent is 0, and the report says so.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"

namespace fovea {

class OpType;

enum class Verdict {
  pass,
  fail,
  inconclusive,  ///< the error bar is wider than what must be decided
  vacuous,       ///< analytic and numeric gradient are zero everywhere: nothing was tested
};
/// `pass`, `FAIL`, `inconclusive`, `vacuous`.
std::string_view name_of(Verdict verdict);

struct GradcheckOptions {
  /// Of inputs; f32 and f64 are converted to each other. Inputs that are not bound are drawn from
  /// the seed: floats normal, i64 zero, bool true.
  std::vector<Binding> values = {};
  std::uint64_t seed = 0;
  /// Inputs with at most so many elements are checked element by element. Of larger ones so many
  /// elements and random directions through all elements are checked; the report says so.
  std::int64_t full_up_to = 256;
  std::int64_t sampled_elements = 24;
  std::int64_t directions = 6;
  /// Called now and then with the part that is done, from 0 to 1.
  std::function<void(double)> progress = {};
};

/// What was found out about the gradient of one input.
struct GradientRow {
  std::string name;      ///< of the input
  std::string location;  ///< where the expression was made
  std::int64_t elements = 0;
  std::int64_t checked = 0;     ///< elements checked one by one
  std::int64_t directions = 0;  ///< directions through all elements
  std::int64_t kinks = 0;       ///< comparisons left out
  std::int64_t fixed = 0;       ///< elements left out: not finite, so that they cannot be moved
  double absolute = 0;          ///< largest |analytic - numeric|
  double relative =
      0;  ///< largest |analytic - numeric| / (M ‖d‖₂), M the gradient's largest element
  // The worst comparison: a failing one if there is any, else one that is not decided, else that of
  // the largest relative error.
  std::string worst;  ///< `[0, 3]`, or `direction 2`
  double analytic = 0, numeric = 0, uncertainty = 0;
  Verdict verdict = Verdict::vacuous;
  std::string note = {};  ///< the error, where the gradient could not be had
};

struct GradientReport {
  std::vector<GradientRow> rows;
  std::vector<std::string> notes;  ///< what was left out, and why
  std::uint64_t seed = 0;

  /// `fail` if any row fails, else `inconclusive` if any row is; `vacuous` if every gradient is
  /// zero or there is none; else `pass`.
  Verdict verdict() const;
  bool passed() const { return verdict() == Verdict::pass; }
};

/// A table for people, at most 100 columns wide, then the notes and the verdict.
std::string to_string(const GradientReport& report);

/// Checks the gradients of `outputs` with respect to `wrt`, each of which is f32 or f64 and an
/// input or any other expression (whose dependence on further `wrt` is then cut). Outputs that are
/// not floats take no part. Throws Error if an op refuses its values or has no gradient.
GradientReport check_gradients(std::span<const Expr> outputs, std::span<const Expr> wrt,
                               const GradcheckOptions& options = {});
GradientReport check_gradients(const Expr& output, std::initializer_list<Expr> wrt,
                               const GradcheckOptions& options = {});

/// Checks an op's own gradients on each of its samples (drawn from `options.seed`;
/// `options.values` is not used): one row for each input slot, over all samples. An op without
/// float inputs and outputs, or without gradient, gives a note and no row.
GradientReport check_op(const OpType& type, const GradcheckOptions& options = {});

}  // namespace fovea
