// Functions whose gradients are right and hard to check: the checker must not call one wrong.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "fovea/graph/gradcheck.h"
#include "fovea/ops/sample.h"

namespace fovea::mutation {

struct NastyFunction {
  std::string_view name;
  std::vector<Arg> in;
  std::function<Expr(std::span<const Expr>)> f;
};

/// Large and tiny scales, cancellation, long reductions, steep and flat places, values beside
/// kinks.
std::span<const NastyFunction> nasty_functions();

GradientReport check(const NastyFunction& function, std::uint64_t seed);

}  // namespace fovea::mutation
