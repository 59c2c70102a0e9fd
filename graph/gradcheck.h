// Proves gradients: `gradients` against three oracles that share no gradient rule with it.
//
// Everything is computed in f64; an f32 graph is rewritten first, and its own f32 gradient is then
// held against the f64 one. The outputs y are multiplied by random cotangents c (never by ones:
// that cannot see a wrong softmax gradient), and each number compared is a derivative of L = Σ c·y
// along one element of one input, or along a direction through many of them. The oracles are
//
//     numeric        differences of L, extrapolated to step 0 (Richardson, Ridders), with an error
//                    bar u of their own; measured a second time with other steps before they
//                    contradict anything;
//     forward        Σ c·(J d) by `jvp`: dual numbers, linearity, decompositions; no step;
//     decomposition  the gradient where every op that has both a rule of its own and a
//                    decomposition is differentiated by the latter; all elements at once.
//
// Error model. Of each gradient g, and of each result of an oracle, a bound of the rounding in it
// is measured, element by element (rounding.h): ops are taken to be backward stable, and how
// rounding spreads is found by changing operands and results at random. No tolerance is fitted.
// With M the largest element of an input's gradient, and b, u the bounds of g·d and of the oracle,
// a comparison along d
//
//     fails           when |g·d - oracle| > b + u, for any oracle;
//     is inconclusive when it does not fail, but b + u > 1e-6 M ‖d‖₂ for every oracle: an error
//                     that matters could hide;
//     is at a kink    when the one-sided derivatives differ and g·d lies between them (outside, it
//                     fails). The report names the op and the element that has the kink, and the
//                     input is checked again beside it, every element moved a little.
//
// Inputs of at most `full_up_to` elements are compared element by element. Of larger ones some
// elements are, and directions through all, one row, one slice of each axis, and along the gradient
// itself. Random directions are normal: if K of them leave a residue of at most R, an error e in
// the gradient with ‖e‖₂ > B passes with probability at most (0.8 R / B)^K. The report states the B
// for which that is 1e-6; `pass` requires B <= 1e-4 M.
//
// Values that are not finite take no part: their cotangent is 0, and the report says so.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"

namespace fovea {

class Op;
class OpType;

enum class Verdict {
  pass,
  fail,
  inconclusive,  ///< the error bar is wider than what must be decided
  vacuous,       ///< analytic and numeric gradient are zero everywhere: nothing was tested
};
/// `pass`, `FAIL`, `inconclusive`, `vacuous`.
std::string_view name_of(Verdict verdict);

/// What a gradient is held against. `wide` is the f64 gradient of the same graph, for one in f32.
enum class Oracle { numeric, forward, decomposition, wide };
/// `numeric`, `forward`, `decomposition`, `wide`.
std::string_view name_of(Oracle oracle);

struct GradcheckOptions {
  /// Of inputs; f32 and f64 are converted to each other. Inputs that are not bound are drawn from
  /// the seed: floats normal, i64 zero, bool true.
  std::vector<Binding> values = {};
  std::uint64_t seed = 0;
  /// 1: the gradient. n: the gradient of the gradient of order n - 1, for random cotangents.
  int order = 1;
  /// Inputs with at most so many elements are checked element by element. Of larger ones so many
  /// elements and random directions through all elements are checked; the report says so.
  std::int64_t full_up_to = 256;
  std::int64_t sampled_elements = 24;
  std::int64_t directions = 6;
  /// Seconds after which no further comparison is made; the report says what was left out.
  double budget = 1e9;
  /// Where a check fails: find the op whose own rule disagrees.
  bool locate = true;
  /// A graph with f32: hold its f32 gradient against the f64 one, within what rounding in f32 may
  /// do (a row `x (f32)` for each wrt).
  bool narrow = true;
  /// Check what is said of gradients beside numbers: check_contracts.
  bool contracts = false;
  /// Called now and then with the part that is done, from 0 to 1.
  std::function<void(double)> progress = {};
};

/// What one oracle says where the worst comparison was made.
struct OracleFinding {
  Oracle oracle;
  double value = 0;
  double bar = 0;       ///< bound of |value - true|
  bool agrees = false;  ///< with the gradient under test
};

/// A place where the function has no derivative.
struct Kink {
  std::string input;  ///< `x[0, 3]`
  std::string op;     ///< `abs [0, 3]`: the op and the element of its result; empty if not found
  std::string location;
};

/// What was found out about the gradient of one input.
struct GradientRow {
  std::string name;      ///< of the input; `op.slot` in reports about ops
  std::string location;  ///< where the expression was made
  Shape shape = {};
  std::int64_t elements = 0;
  std::int64_t checked = 0;     ///< elements checked one by one
  std::int64_t directions = 0;  ///< directions through many elements
  std::int64_t kinks = 0;       ///< comparisons left out
  std::int64_t fixed = 0;       ///< elements left out: not finite, so that they cannot be moved
  std::int64_t skipped = 0;     ///< comparisons that the budget left out
  double absolute = 0;          ///< largest |analytic - numeric|
  double relative =
      0;  ///< largest |analytic - numeric| / (M ‖d‖₂), M the gradient's largest element
  double largest = 0;  ///< M
  double missed = 0;   ///< B / M of the bound above; 0 where every element was compared
  std::vector<Oracle> oracles = {};  ///< those that took part
  // The worst comparison: a failing one if there is any, else one that is not decided, else that of
  // the largest relative error.
  std::string worst;                ///< `[0, 3]`, or `direction 2`
  std::int64_t worst_element = -1;  ///< flat index; negative for a direction
  double analytic = 0, bar = 0;     ///< and the bound of its rounding
  double numeric = 0, uncertainty = 0;
  std::vector<OracleFinding> findings = {};  ///< of all oracles that were asked there
  /// |analytic - numeric| in units of the last place of `numeric`, in f64.
  double ulps = 0;
  std::vector<Kink> kinks_at = {};  ///< the first of them
  /// Where the check failed: |error| / M of each element (row-major) by an oracle for all; empty
  /// where there is none, or too many elements.
  std::vector<double> errors = {};
  Verdict verdict = Verdict::vacuous;
  std::string note = {};  ///< the error, where the gradient could not be had
  /// Where an op alone was checked and failed: what the failure looks like, if that is known.
  std::string suspicion = {};
};

/// The op that is to blame for a failure.
struct Culprit {
  std::string op, location;
  std::string name;  ///< of the value, where the graph has names
  GradientRow row;   ///< the check of the op alone: the input that fails most
  /// The op and its inputs as they are in the graph (null for those left out), in f64.
  std::shared_ptr<const Op> node = nullptr;
  std::vector<Tensor> inputs = {};
  std::vector<std::int64_t> outputs = {};  ///< those that somebody uses
};

struct GradientReport {
  std::vector<GradientRow> rows;
  std::vector<std::string> notes;     ///< what was left out, and why
  std::vector<std::string> failures;  ///< of contracts beyond numbers
  std::vector<Culprit> culprits;
  std::uint64_t seed = 0;
  int order = 1;
  std::string command;  ///< repeats the check; set by who knows it

  /// `fail` if any row or contract fails, else `inconclusive` if any row is; `vacuous` if every
  /// gradient is zero or there is none; else `pass`.
  Verdict verdict() const;
  bool passed() const { return verdict() == Verdict::pass; }
};

/// A table for people, at most 100 columns wide, then what failed and where, notes, the verdict.
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

/// What an op must keep besides the numbers, on its samples; one text for each failure: the laws 1,
/// 3, 5, 7, 8 and 12 (what infer promised, shapes, linearity and exact zeros, views, determinism
/// for any number of threads and unchanged inputs, f(x, x)) or all of laws.h, and extents of 0 in
/// place of each other extent.
std::vector<std::string> check_contracts(const OpType& type, std::uint64_t seed = 0,
                                         bool all_laws = false);

/// Attention in the graph, fused or composed: each distinct node's attributes on small inputs of
/// the kinds that break implementations: rows that see nothing or one key, Lq and Lk that differ,
/// lengths of 0 and 1, ties, biases of both infinities, logits of 1e4, denormal numbers, grouped
/// heads, NaN behind masks, broadcast biases. A row for each kind and input; no row if there is no
/// attention.
GradientReport check_attention_edges(std::span<const Expr> outputs,
                                     const GradcheckOptions& options = {});

}  // namespace fovea
