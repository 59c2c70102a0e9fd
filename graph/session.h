// What a session holds. Internal.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/graph/model.h"
#include "fovea/graph/model/instance.h"
#include "fovea/graph/model/weights.h"

namespace fovea {

struct Session::State {
  std::shared_ptr<const model::Description> description;
  model::Instance instance;
  NamedTensors given;  // arrays and stated values of inputs
  std::shared_ptr<const model::WeightSource> weights;
  std::uint64_t seed = 0;
  std::uint64_t max_memory = 0;

  std::vector<ModelValue> inputs, params;
  std::unordered_map<const Node*, std::size_t> leaves;  // index into inputs, then params

  /// A compiled graph: `exprs` from `needed`.
  struct Plan {
    std::vector<Expr> exprs, needed;
    Executable executable;
  };
  /// Those used last stand first; what is not used for long is forgotten.
  static constexpr std::size_t kMostPlans = 32;

  mutable std::mutex mutex;  // of what follows
  mutable std::unordered_map<const Node*, Tensor> made;
  mutable std::deque<std::shared_ptr<const Plan>> plans;

  /// Fills `inputs`, `params` and `leaves`.
  void prepare();
  const ModelValue& leaf(const Node* node) const;
  const ModelValue& param(std::string_view name) const;
  /// The inputs and params that the expressions reach.
  std::vector<Expr> reached(std::span<const Expr> exprs) const;
  /// Compiles within max_memory, or takes what has been compiled.
  std::shared_ptr<const Plan> plan(std::span<const Expr> exprs) const;
  /// The values of an input or param; made when first asked for. The mutex is held.
  Tensor value_of(const ModelValue& value) const;
  /// Values for `needed`, all of one moment: what is given, else what the session has.
  std::vector<Tensor> values_for(std::span<const Expr> needed, const NamedTensors& inputs) const;
};

}  // namespace fovea
