// A problem whose oracles are kept, held against gradients. Internal to the gradient checker.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fovea/graph/gradcheck_input.h"
#include "fovea/graph/gradcheck_problem.h"

namespace fovea {

/// Gradients by wrt of the problem's outputs for these cotangents.
using GradientMaker =
    std::function<std::vector<Expr>(const Problem& problem, std::span<const Expr> cotangents)>;

/// By the engine, with the ops' own rules.
std::vector<Expr> engine_gradients(const Problem& problem, std::span<const Expr> cotangents);

/// A row for each wrt, without names.
struct Findings {
  std::vector<GradientRow> rows;
  std::vector<std::string> notes;
};

class PreparedCheck {
 public:
  /// Throws Error if the graph cannot be computed.
  PreparedCheck(Problem problem, const GradcheckOptions& options);

  /// Throws Error if the gradients cannot be made or computed.
  Findings run(const GradientMaker& make, const GradcheckOptions& options,
               const Deadline& deadline);

  Oracles& oracles() { return oracles_; }

 private:
  void step_beside(std::size_t k, GradientRow& row, const GradientMaker& make,
                   const GradcheckOptions& options, const Deadline& deadline);

  Oracles oracles_;
  std::unique_ptr<Oracles> beside_;
};

}  // namespace fovea
