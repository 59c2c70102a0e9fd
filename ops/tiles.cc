#include "fovea/ops/tiles.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fovea/ops/define.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

constexpr std::int64_t kSlotBytes = kTileElements * 8;
constexpr std::size_t kMostValues = 64;

// Elements of one parallel task. Fixed, so that work is split by shape alone (and results are
// anyway elementwise).
constexpr std::int64_t kTaskElements = 32 * kTileElements;

template <class T>
void copy_strided(const std::byte* from, std::int64_t stride, std::int64_t n, std::byte* to) {
  const auto* x = reinterpret_cast<const T*>(from);
  auto* y = reinterpret_cast<T*>(to);
  if (stride == 1) {
    std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(T));
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
  }
}

}  // namespace

TileLoop::TileLoop(TileProgram program, std::span<const Layout> in, const Shape& out)
    : program_(std::move(program)), numel_(out.numel()) {
  if (program_.inputs.size() + program_.steps.size() > kMostValues) {
    fail("tiles", "{} values; at most {} fit", program_.inputs.size() + program_.steps.size(),
         kMostValues);
  }
  std::vector<Strides> strides;
  for (const Layout& layout : in) {
    Strides aligned(static_cast<std::size_t>(out.rank()), 0);
    for (std::int64_t i = 1; i <= layout.shape.rank(); ++i) {
      if (layout.shape[-i] != 1) {
        aligned[static_cast<std::size_t>(out.rank() - i)] =
            layout.strides[static_cast<std::size_t>(layout.shape.rank() - i)];
      }
    }
    strides.push_back(std::move(aligned));
  }
  // Merge an axis into the one before it where every input walks both as one.
  inputs_.assign(in.size(), Input{Mode::strided, 0, {}});
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(out.rank()); ++axis) {
    const std::int64_t extent = out[static_cast<std::int64_t>(axis)];
    if (extent == 1) continue;
    bool merge = !extents_.empty();
    for (std::size_t k = 0; k < in.size(); ++k) {
      merge = merge && inputs_[k].strides.back() == strides[k][axis] * extent;
    }
    if (merge) {
      extents_.back() *= extent;
    } else {
      extents_.push_back(extent);
    }
    for (std::size_t k = 0; k < in.size(); ++k) {
      if (!merge) inputs_[k].strides.emplace_back();
      inputs_[k].strides.back() = strides[k][axis];
    }
  }
  for (std::size_t k = 0; k < in.size(); ++k) {
    Input& input = inputs_[k];
    input.item_size = static_cast<std::int64_t>(size_of(program_.inputs[k]));
    std::int64_t dense = 1;
    bool is_dense = true;
    for (std::size_t axis = extents_.size(); axis-- > 0;) {
      is_dense = is_dense && input.strides[axis] == dense;
      dense *= extents_[axis];
    }
    const bool single = std::ranges::all_of(input.strides, [](std::int64_t s) { return s == 0; });
    input.mode = single ? Mode::single : is_dense ? Mode::dense : Mode::strided;
  }
  assign_slots();
}

// A value's place is free again after its last use. A step may write over an operand of its own
// dtype: elements of another size would be overwritten before they are read.
void TileLoop::assign_slots() {
  const std::size_t count = inputs_.size() + program_.steps.size();
  std::vector<std::size_t> last(count, 0);
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    for (const std::size_t operand : program_.steps[s].operands) last[operand] = s;
  }
  slots_.assign(count, 0);
  std::vector<std::size_t> free;
  const auto take = [&](std::size_t value) {
    if (free.empty()) free.push_back(slot_count_++);
    slots_[value] = free.back();
    free.pop_back();
  };
  for (std::size_t k = 0; k < inputs_.size(); ++k) {
    if (inputs_[k].mode == Mode::strided) take(k);
  }
  const auto dtype_of = [&](std::size_t value) {
    return value < inputs_.size() ? program_.inputs[value]
                                  : program_.steps[value - inputs_.size()].dtype;
  };
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    std::vector<std::size_t> operands = program_.steps[s].operands;
    std::ranges::sort(operands);
    operands.erase(std::ranges::unique(operands).begin(), operands.end());
    std::vector<std::size_t> later;  // free after this step
    for (const std::size_t operand : operands) {
      const bool in_scratch = operand >= inputs_.size() || inputs_[operand].mode == Mode::strided;
      if (!in_scratch || last[operand] != s) continue;
      const bool same = dtype_of(operand) == program_.steps[s].dtype;
      (same ? free : later).push_back(slots_[operand]);
    }
    if (s + 1 < program_.steps.size()) take(inputs_.size() + s);
    free.insert(free.end(), later.begin(), later.end());
  }
}

std::size_t TileLoop::scratch_bytes(int threads) const {
  return static_cast<std::size_t>(threads) * slot_count_ * static_cast<std::size_t>(kSlotBytes);
}

void TileLoop::run(Context& context, std::span<const void* const> in, void* out) const {
  if (numel_ == 0) return;
  const std::size_t slot_bytes = scratch_bytes(1);
  const std::int64_t tasks = (numel_ + kTaskElements - 1) / kTaskElements;
  std::byte* scratch =
      slot_count_ > 0 ? context.scratch(scratch_bytes(tasks > 1 ? num_threads() : 1)) : nullptr;
  parallel_for(tasks, [&](std::int64_t task, int slot) {
    std::byte* mine = scratch ? scratch + static_cast<std::size_t>(slot) * slot_bytes : nullptr;
    const std::int64_t end = std::min(numel_, (task + 1) * kTaskElements);
    for (std::int64_t begin = task * kTaskElements; begin < end; begin += kTileElements) {
      run_tile(begin, std::min(kTileElements, end - begin), mine, in, static_cast<std::byte*>(out));
    }
  });
}

void TileLoop::run_block(std::span<const void* const> in, void* out, std::int64_t width,
                         const Block& block) const {
  alignas(64) std::array<std::byte, kBlockSlots * kSlotBytes> scratch;
  const auto run = [&](std::int64_t begin, std::int64_t n) {
    for (const std::int64_t end = begin + n; begin < end; begin += kTileElements) {
      run_tile(begin, std::min(kTileElements, end - begin), scratch.data(), in,
               static_cast<std::byte*>(out));
    }
  };
  if (block.columns == width) return run(block.row * width, block.rows * width);
  for (std::int64_t row = block.row; row < block.row + block.rows; ++row) {
    run(row * width + block.column, block.columns);
  }
}

void TileLoop::run_tile(std::int64_t begin, std::int64_t n, std::byte* scratch,
                        std::span<const void* const> in, std::byte* out) const {
  std::array<TileOperand, kMostValues> values;
  for (std::size_t k = 0; k < inputs_.size(); ++k) {
    const Input& input = inputs_[k];
    const auto* from = static_cast<const std::byte*>(in[k]);
    if (input.mode == Mode::strided) {
      std::byte* to = scratch + static_cast<std::int64_t>(slots_[k]) * kSlotBytes;
      gather(input, from, begin, n, to);
      values[k] = {to, false};
    } else {
      const bool single = input.mode == Mode::single;
      values[k] = {single ? from : from + begin * input.item_size, single};
    }
  }
  std::array<TileOperand, kMostValues> operands;
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    const TileProgram::Step& step = program_.steps[s];
    const std::size_t value = inputs_.size() + s;
    const bool last = s + 1 == program_.steps.size();
    std::byte* to = last ? out + begin * static_cast<std::int64_t>(size_of(step.dtype))
                         : scratch + static_cast<std::int64_t>(slots_[value]) * kSlotBytes;
    for (std::size_t i = 0; i < step.operands.size(); ++i) operands[i] = values[step.operands[i]];
    step.kernel.run(step.kernel.self, n, operands.data(), to);
    values[value] = {to, false};
  }
}

void TileLoop::gather(const Input& input, const std::byte* from, std::int64_t begin, std::int64_t n,
                      std::byte* to) const {
  const std::size_t rank = extents_.size();
  const std::int64_t inner = extents_[rank - 1];
  while (n > 0) {
    // Where `begin` stands: its position in the innermost axis, and the offset of all others.
    std::int64_t rest = begin / inner, offset = 0;
    const std::int64_t first = begin % inner;
    for (std::size_t axis = rank - 1; axis-- > 0;) {
      offset += rest % extents_[axis] * input.strides[axis];
      rest /= extents_[axis];
    }
    const std::int64_t stride = input.strides[rank - 1];
    const std::int64_t run = std::min(n, inner - first);
    const std::byte* start = from + (offset + first * stride) * input.item_size;
    switch (input.item_size) {
      case 1:
        copy_strided<std::uint8_t>(start, stride, run, to);
        break;
      case 4:
        copy_strided<std::uint32_t>(start, stride, run, to);
        break;
      default:
        copy_strided<std::uint64_t>(start, stride, run, to);
        break;
    }
    begin += run;
    n -= run;
    to += run * input.item_size;
  }
}

namespace detail {

void forward_by_tiles(Context& context, const TileKernel& kernel, std::span<const Tensor> in,
                      const Tensor& out) {
  TileProgram program;
  std::vector<TileLoop::Layout> layouts;
  std::vector<const void*> pointers;
  TileProgram::Step step{.op = {}, .kernel = kernel, .operands = {}, .dtype = out.dtype()};
  for (std::size_t k = 0; k < in.size(); ++k) {
    program.inputs.push_back(in[k].dtype());
    step.operands.push_back(k);
    layouts.push_back({in[k].shape(), in[k].strides()});
    pointers.push_back(in[k].raw());
  }
  program.steps.push_back(std::move(step));
  TileLoop(std::move(program), layouts, out.shape()).run(context, pointers, out.mutable_raw());
}

}  // namespace detail

}  // namespace fovea
