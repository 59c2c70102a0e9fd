// What a session holds. Internal.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/graph/model.h"
#include "fovea/graph/model/instance.h"

namespace fovea {

struct Session::State {
  std::shared_ptr<const model::Description> description;
  model::Instance instance;
  NamedTensors given;  // arrays and stated values of inputs
  std::shared_ptr<const NamedTensors> weights;
  std::uint64_t seed = 0;
  std::uint64_t max_memory = 0;

  std::vector<ModelValue> inputs, params;
  std::unordered_map<const Node*, std::size_t> leaves;  // index into inputs, then params

  mutable std::mutex mutex;  // of the two below
  mutable std::unordered_map<const Node*, Tensor> made;
  mutable std::optional<Executable> outputs;
  mutable std::vector<Expr> needed;  // inputs of `outputs`

  /// Fills `inputs`, `params` and `leaves`.
  void prepare();
  const ModelValue& leaf(const Node* node) const;
  /// The inputs and params that the expressions reach.
  std::vector<Expr> reached(std::span<const Expr> exprs) const;
  /// Compiles within max_memory.
  Executable plan(std::span<const Expr> needed, std::span<const Expr> exprs) const;
  Tensor value_of(const ModelValue& value) const;
};

}  // namespace fovea
