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
#include "fovea/graph/model/initial.h"
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
  std::string memory_word;  // for it, in messages
  bool draw = false;
  // Shared with the model's other sessions:
  std::shared_ptr<model::InitialValues> initial;
  PackedWeights packed;

  std::vector<ModelValue> inputs, params;
  std::unordered_map<const Node*, std::size_t> leaves;  // index into inputs, then params

  /// A compiled graph: `exprs` from `needed`. With frozen params these are among neither, and it is
  /// for the values that they have.
  struct Plan {
    std::vector<Expr> exprs, needed;
    Executable executable;
    bool frozen = false;
  };
  /// Those used last stand first; what is not used for long is forgotten.
  static constexpr std::size_t kMostPlans = 32;

  mutable std::mutex mutex;  // of what follows
  mutable std::unordered_map<const Node*, Tensor> made;
  mutable std::deque<std::shared_ptr<const Plan>> plans;
  mutable std::uint64_t changes = 0;  // of params
  // Whether a run may freeze params: they have not been set since the last.
  mutable bool settled = true;

  /// Fills `inputs`, `params` and `leaves`.
  void prepare();
  const ModelValue& leaf(const Node* node) const;
  /// An output, or else a value inside.
  Expr wanted(const std::string& name) const;
  const ModelValue& param(std::string_view name) const;
  /// The param of this name, or else those that have it in a weights file.
  std::vector<const ModelValue*> params_named(std::string_view name) const;
  /// The inputs and params that the expressions reach.
  std::vector<Expr> reached(std::span<const Expr> exprs) const;
  /// Compiles within max_memory, or takes what has been compiled.
  std::shared_ptr<const Plan> plan(std::span<const Expr> exprs) const;
  /// The same with the params frozen, and their packed forms shared by all sessions of the model.
  std::shared_ptr<const Plan> frozen_plan(std::span<const Expr> exprs) const;
  /// Frozen, unless params are being set all the time: then packing them would be for nothing.
  std::shared_ptr<const Plan> run_plan(std::span<const Expr> exprs) const;
  /// A plan that is there, now the first of them; null if there is none. The mutex is held.
  std::shared_ptr<const Plan> known_plan(std::span<const Expr> exprs, bool frozen) const;
  void keep(std::shared_ptr<const Plan> plan) const;
  /// Bytes of inputs and params. Throws Error if they, with `more`, exceed max_memory.
  std::uint64_t require_memory(std::span<const Expr> leaves, std::uint64_t more) const;
  /// The values of an input or param; made when first asked for. The mutex is held.
  Tensor value_of(const ModelValue& value) const;
  /// Values for `needed`, all of one moment: what is given, else what the session has.
  std::vector<Tensor> values_for(std::span<const Expr> needed, const NamedTensors& inputs) const;
};

}  // namespace fovea
