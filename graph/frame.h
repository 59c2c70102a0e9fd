// Memory of one call of an Executable, and every step prepared on it. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "fovea/graph/plan.h"
#include "fovea/ops/op.h"
#include "fovea/ops/tiles.h"
#include "fovea/tensor/memory_range.h"

namespace fovea::plan {

class Frame {
 public:
  explicit Frame(const Executable::Plan& plan);
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  std::size_t steps() const { return records_.size(); }
  /// Whether an output shares memory with an input or with another output.
  bool share(std::span<const Tensor> inputs, std::span<const Tensor> outputs);
  void set_input(std::size_t i, const Tensor& tensor);
  void set_output(std::size_t o, const Tensor& tensor);

  void run(std::size_t step) {
    const Record& record = records_[step];
    if (record.loop) {
      void** const first = pointers_.data() + record.first_pointer;
      record.loop->run(context_, {first, record.operands}, first[record.operands]);
    } else if (record.call) {
      record.call->run(context_);
    } else {
      record.copy->first.copy_from(record.copy->second);
    }
  }

 private:
  // Exactly one of the three is there.
  struct Record {
    const TileLoop* loop = nullptr;
    Call* call = nullptr;
    const std::pair<Tensor, Tensor>* copy = nullptr;  // to, from
    std::size_t first_pointer = 0, operands = 0;      // of a loop, in pointers_; then its result
  };
  // What points into the memory of an input or output: a tensor, or else a pointer of a loop.
  struct Follower {
    Tensor* tensor;
    std::size_t pointer;
    std::int64_t bytes;  // from the first element
  };

  std::byte* place(const Value& value) const;
  Tensor tensor(std::size_t v) const;
  void follow(std::size_t v, Tensor* tensor, std::size_t pointer);
  void move(const std::vector<Follower>& followers, const void* memory);
  void append_pointers(std::span<const std::size_t> operands, std::size_t result);
  Record prepare(const Step& step);

  const Executable::Plan& plan_;
  Tensor arena_;
  Context context_;
  std::vector<Record> records_;
  std::vector<void*> pointers_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::deque<std::pair<Tensor, Tensor>> copies_;  // a deque, so that they stay where they are
  std::vector<std::vector<Follower>> of_input_, of_output_;
  std::vector<Tensor> row_major_;  // copies of inputs that are not
  std::vector<detail::MemoryRange> ranges_;
};

}  // namespace fovea::plan
