// Three ways to know a gradient without the gradient rules under test. Internal to the gradient
// checker.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fovea/graph/loss.h"
#include "fovea/graph/rounding.h"

namespace fovea {

/// What is differentiated: a graph in f64 whose wrt are all inputs.
struct Problem {
  std::vector<Expr> outputs, wrt;
  std::vector<Binding> bindings;  ///< of wrt, in their order, then of the other inputs
};

/// A number and a bound of its error.
struct Measured {
  double value = 0, bar = 0;
};

/// The loss of a problem, and its derivatives by each oracle. What has been computed is kept: the
/// rules under test have no part in it, so that many can be held against one.
class Oracles {
 public:
  /// Throws Error if the graph cannot be computed.
  Oracles(Problem problem, std::uint64_t seed);

  const Problem& problem() const { return problem_; }
  const Loss& loss() const { return loss_; }
  /// The loss's cotangents as constants.
  const std::vector<Expr>& cotangents() const { return cotangents_; }

  /// Differences of the loss along `d`, a direction of wrt[k]. Directions of one wrt have different
  /// labels.
  const Derivative& numeric(std::size_t k, const Direction& d, double scale);
  /// A second measurement with other steps; the first is replaced by what both allow.
  const Derivative& confirmed(std::size_t k, const Direction& d, double scale);

  /// Σ c·(J d) by forward mode, in which no gradient rule takes part. Nothing where the graph has
  /// no forward mode, or its result is not finite.
  std::optional<Measured> forward(std::size_t k, const Direction& d);
  /// The same without the bound, which is most of the work.
  std::optional<double> forward_value(std::size_t k, const Direction& d);
  /// Why there is none; empty if there is.
  const std::string& no_forward() const { return no_forward_; }

  /// The gradients where every op with both a rule and a decomposition is differentiated by its
  /// decomposition. Null if there is no such op.
  const std::vector<Bounded>* decomposition();
  /// Why decompositions were to be used and could not.
  const std::string& no_decomposition() const { return no_decomposition_; }

 private:
  struct Forward {
    Expr tangent;
    std::vector<Expr> results;    // those that the tangent reaches
    std::vector<std::size_t> of;  // and which outputs they belong to
    std::optional<Executable> run;
  };
  Forward& forward_of(std::size_t k);
  double weighted(const Forward& forward, const std::vector<Tensor>& tangents) const;

  Problem problem_;
  Loss loss_;
  std::vector<Expr> cotangents_;
  std::map<std::pair<std::size_t, std::string>, Derivative> numeric_;
  std::map<std::pair<std::size_t, std::string>, std::optional<Measured>> forward_;
  std::vector<std::unique_ptr<Forward>> forwards_;
  std::string no_forward_, no_decomposition_;
  std::optional<std::vector<Bounded>> decomposition_;
  bool decomposed_ = false;
};

}  // namespace fovea
