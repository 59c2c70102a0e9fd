// Elementwise programs: one or more tile kernels run over broadcast, strided tensors in one pass
// over memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

/// A straight-line program over values: values [0, inputs.size()) are the inputs, each step appends
/// one more. The last value is the result.
struct TileProgram {
  struct Step {
    std::shared_ptr<const Op> op;  ///< keeps the kernel's struct alive; null if somebody else does
    TileKernel kernel;
    std::vector<std::size_t> operands;
    DType dtype;  ///< of the value that it makes
  };
  std::vector<DType> inputs;
  std::vector<Step> steps;
};

/// Elements that a step handles at a time: operands and results of a tile stay in the L1 cache.
inline constexpr std::int64_t kTileElements = 1024;

/// A program prepared for inputs of given shapes and strides. Running it allocates nothing once the
/// context has grown.
class TileLoop {
 public:
  struct Layout {
    Shape shape;
    Strides strides;
  };

  /// Inputs broadcast to `out`.
  TileLoop(TileProgram program, std::span<const Layout> in, const Shape& out);

  const TileProgram& program() const { return program_; }

  /// Scratch that `run` takes from the context, for `threads` threads.
  std::size_t scratch_bytes(int threads) const;

  /// Writes `out`, row-major. It may be the memory of an input that has out's shape and dtype and
  /// is row-major.
  void run(Context& context, std::span<const void* const> in, void* out) const;

  /// A part of the result as a matrix of `width` columns.
  struct Block {
    std::int64_t row, rows, column, columns;
  };
  /// Whether `run_block` can be called: the program needs little scratch.
  bool runs_in_blocks() const { return slot_count_ <= kBlockSlots; }
  /// The same for one block, on this thread.
  void run_block(std::span<const void* const> in, void* out, std::int64_t width,
                 const Block& block) const;

 private:
  static constexpr std::size_t kBlockSlots = 6;
  enum class Mode { dense, single, strided };
  struct Input {
    Mode mode;
    std::int64_t item_size;
    Strides strides;  // over extents_
  };

  void assign_slots();
  void run_tile(std::int64_t begin, std::int64_t n, std::byte* scratch,
                std::span<const void* const> in, std::byte* out) const;
  void gather(const Input& input, const std::byte* from, std::int64_t begin, std::int64_t n,
              std::byte* to) const;

  TileProgram program_;
  std::vector<Input> inputs_;
  std::vector<std::int64_t> extents_;  // of the result, axes merged where every input allows it
  std::vector<std::size_t> slots_;  // value → place in scratch, shared by values that do not meet
  std::size_t slot_count_ = 0;
  std::int64_t numel_;
};

}  // namespace fovea
