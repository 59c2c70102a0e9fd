// Bounds of the rounding errors in a graph's results. Internal to the gradient checker.
//
// Every op is taken to be backward stable: what it computes is what exact arithmetic would give for
// operands, and in the result, changed by at most c ε relatively, where c = 4 for an elementwise op
// and grows with the number of terms that may have been added up in any other. How such changes
// spread through the graph is measured, not derived: the graph is computed again with every operand
// and result of every op changed by random amounts of that size (times a power of two, so that the
// changes outweigh the rounding of the measurement itself), each use of a value by its own. Results
// that come from nothing but moving, selecting and comparing values are exact and stay; so ties
// stay ties, and a cancellation or an ill-conditioned op upstream shows in full.
//
// What depends on no float input is the same in every evaluation, and so are the decisions that
// follow from it: predicates and integers (the masks of attention, from positions) and floats that
// f32 holds, too, stay as they are. In f32 they do if what they come from does.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"

namespace fovea {

/// A tensor in f64, row-major, and for each element a bound of its rounding error.
struct Bounded {
  Tensor value;
  std::vector<double> bars;
};

struct Arithmetic {
  DType real = f64;  ///< in which the ops compute: the bounds are those of its ε
  int samples = 6;
};

/// What was seen on the way.
struct RoundingNotes {
  double largest = 0;  ///< the largest finite magnitude of any intermediate value
  /// The first predicate or integer that rounding may change, which makes wide bars: `greater [0,
  /// 3]`, and where its node was made. Empty if there is none.
  std::string flipped = {};
};

/// The values of f64 expressions with bounds. Throws Error as `evaluate` does.
std::vector<Bounded> with_bounds(std::span<const Expr> outputs, std::span<const Binding> bindings,
                                 const Arithmetic& arithmetic = {}, RoundingNotes* notes = nullptr);

}  // namespace fovea
