// Numeric derivatives with an error bar. Internal to the gradient checker.
#pragma once

#include <functional>

namespace fovea {

/// f(t) - f(0) for a step t along some direction, and a bound of the rounding in it.
struct Change {
  double value = 0;
  double noise = 0;
  double step = 0;      ///< the step really taken, after rounding
  bool usable = false;  ///< false outside the domain of f
};

/// A derivative in one direction.
struct Derivative {
  double value = 0;
  double error = 0;  ///< estimated bound of |value - true|: truncation and rounding
  double left = 0, right = 0;
  bool found = false;      ///< false if no step was usable
  bool kink = false;       ///< the one-sided derivatives `left` and `right` differ
  bool confirmed = false;  ///< measured twice
};

/// Central differences at steps that halve from `first_step`, extrapolated to 0 (Richardson) with
/// the stopping rule of Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Adv. Eng.
/// Software 4 (1982). Steps as small as `narrow` are tried in any case, smaller ones only while
/// they can improve the result; `scale` is the size that a derivative of interest has, below which
/// accuracy does not matter.
Derivative differentiate(const std::function<Change(double)>& change, double first_step,
                         double narrow, double scale);

}  // namespace fovea
