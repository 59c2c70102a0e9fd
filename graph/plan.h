// What `compile` makes: steps over values, and where each value's memory is. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/ops/op.h"
#include "fovea/ops/tiles.h"

namespace fovea {

namespace plan {

/// Memory that a root value has: where it comes from, and which one.
enum class Home { input, constant, output, arena };

/// An output of a node. A view shares the memory of its root; a root is its own root.
struct Value {
  TensorSpec spec;
  Strides strides;
  std::size_t root = 0;
  std::int64_t offset = 0;  // elements from the root's first
  // Of roots:
  Home home = Home::arena;
  std::size_t index = 0;            // of the input, constant or output
  std::size_t arena_offset = 0;     // bytes
  std::size_t first = 0, last = 0;  // steps that write and last read it
};

inline constexpr std::size_t kNone = static_cast<std::size_t>(-1);

struct PackedMatrix;

// An op, an elementwise loop, both (a matmul and what is done to its result), or neither (a copy).
struct Step {
  std::shared_ptr<const Op> op = {};
  std::optional<TileLoop> loop = {};
  std::shared_ptr<const PackedMatrix> packed = {};  // of a matmul: b
  std::vector<std::size_t> in = {}, out = {};       // values, or kNone; the op's, then the loop's
  Location location = {};
  bool in_place = false;
};

class Frame;

}  // namespace plan

struct Executable::Plan {
  std::vector<TensorSpec> inputs, outputs;
  std::vector<Tensor> constants;
  std::vector<plan::Value> values;
  std::vector<plan::Step> steps;
  std::size_t arena_bytes = 0, scratch_bytes = 0;
  std::vector<std::string> notes;  // of passes, for `explain`

  // Frames that no call uses now.
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<plan::Frame>> frames;

  Plan();
  ~Plan();
};

/// Lifetimes to memory: fills arena_offset and arena_bytes.
void place_in_arena(Executable::Plan& plan);

/// The steps for `outputs`, whose graph the passes have been over.
void build_plan(Executable::Plan& plan, std::span<const Expr> inputs, std::span<const Expr> outputs,
                const CompileOptions& options);

}  // namespace fovea
