#include "fovea/graph/frame.h"

#include <algorithm>

#include "fovea/graph/packed.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/matmul_call.h"

namespace fovea::plan {

namespace {

// A matrix product on packed weights, or whose result a loop changes block by block.
class ProductCall final : public Call {
 public:
  ProductCall(const Step& step, std::span<const Tensor> in, const Tensor& out,
              const std::vector<void*>& pointers, std::size_t first_pointer)
      : step_(step),
        op_(decode_attributes<Matmul>(step.op->attributes())),
        a_(in[0]),
        b_(in[1]),
        y_(out),
        pointers_(pointers),
        first_pointer_(first_pointer),
        columns_(b_.rank() == 1 ? 1 : y_.shape()[-1].value()) {}

  void run(Context& context) override {
    detail::MatmulExtras extras;
    if (step_.packed) extras.packed_b = step_.packed->memory.raw();
    if (step_.loop) extras.epilogue = {&ProductCall::finish, this};
    detail::matmul(context, op_, a_, b_, y_, extras);
  }
  std::vector<Tensor*> tensors() override { return {&a_, &b_, &y_}; }

 private:
  static void finish(const void* self, std::int64_t row, std::int64_t rows, std::int64_t column,
                     std::int64_t columns) {
    const auto& call = *static_cast<const ProductCall*>(self);
    const std::size_t operands = call.step_.in.size() - 2;
    void* const* first = call.pointers_.data() + call.first_pointer_;
    call.step_.loop->run_block({first, operands}, first[operands], call.columns_,
                               {row, rows, column, columns});
  }

  const Step& step_;
  Matmul op_;
  Tensor a_, b_, y_;
  const std::vector<void*>& pointers_;
  std::size_t first_pointer_;
  std::int64_t columns_;  // of the result as a matrix
};

}  // namespace

Frame::Frame(const Executable::Plan& plan)
    : plan_(plan),
      arena_(Tensor::empty(boolean, {static_cast<std::int64_t>(plan.arena_bytes)})),
      of_input_(plan.inputs.size()),
      of_output_(plan.outputs.size()),
      row_major_(plan.inputs.size()) {
  context_.scratch(plan.scratch_bytes);
  records_.reserve(plan.steps.size());
  for (const Step& step : plan.steps) records_.push_back(prepare(step));
}

// An empty value, or one that follows, may be anywhere for now.
std::byte* Frame::place(const Value& value) const {
  const Value& root = plan_.values[value.root];
  const std::int64_t bytes = value.offset * static_cast<std::int64_t>(size_of(value.spec.dtype));
  auto* base = static_cast<std::byte*>(arena_.mutable_raw());
  if (root.home == Home::arena) return base + root.arena_offset + bytes;
  if (root.home != Home::constant) return base;
  return static_cast<std::byte*>(const_cast<void*>(plan_.constants[root.index].raw())) + bytes;
}

Tensor Frame::tensor(std::size_t v) const {
  if (v == kNone) return {};
  const Value& value = plan_.values[v];
  Tensor made =
      Tensor::borrow(arena_.mutable_raw(), value.spec.dtype, value.spec.shape, value.strides);
  made.rebind(place(value));
  return made;
}

void Frame::follow(std::size_t v, Tensor* tensor, std::size_t pointer) {
  const Value& value = plan_.values[v];
  const Value& root = plan_.values[value.root];
  const std::int64_t bytes = value.offset * static_cast<std::int64_t>(size_of(value.spec.dtype));
  if (root.home == Home::input) of_input_[root.index].push_back({tensor, pointer, bytes});
  if (root.home == Home::output) of_output_[root.index].push_back({tensor, pointer, bytes});
}

void Frame::append_pointers(std::span<const std::size_t> operands, std::size_t result) {
  const auto append = [&](std::size_t v) {
    follow(v, nullptr, pointers_.size());
    pointers_.push_back(place(plan_.values[v]));
  };
  for (const std::size_t v : operands) append(v);
  append(result);
}

Frame::Record Frame::prepare(const Step& step) {
  Record record;
  record.first_pointer = pointers_.size();
  if (step.loop) {
    const auto operands = std::span(step.in).subspan(step.op ? 2 : 0);
    append_pointers(operands, step.out[0]);
    record.operands = operands.size();
    if (!step.op) {
      record.loop = &*step.loop;
      return record;
    }
  }
  std::vector<Tensor> in, out;
  const std::size_t operands = step.in.size() - (step.op ? record.operands : 0);
  for (std::size_t i = 0; i < operands; ++i) in.push_back(tensor(step.in[i]));
  for (const std::size_t v : step.out) out.push_back(tensor(v));
  if (!step.op) {
    auto& [to, from] = copies_.emplace_back(out[0], in[0]);
    follow(step.out[0], &to, 0);
    follow(step.in[0], &from, 0);
    record.copy = &copies_.back();
    return record;
  }
  if (step.loop || step.packed) {
    calls_.push_back(
        std::make_unique<ProductCall>(step, in, out[0], pointers_, record.first_pointer));
  } else {
    calls_.push_back(step.op->prepare(in, out));
  }
  record.call = calls_.back().get();
  const std::vector<Tensor*> tensors = record.call->tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t v = i < in.size() ? step.in[i] : step.out[i - in.size()];
    if (v != kNone) follow(v, tensors[i], 0);
  }
  return record;
}

void Frame::move(const std::vector<Follower>& followers, const void* memory) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(memory));
  for (const Follower& f : followers) {
    if (f.tensor) {
      f.tensor->rebind(bytes + f.bytes);
    } else {
      pointers_[f.pointer] = bytes + f.bytes;
    }
  }
}

void Frame::set_input(std::size_t i, const Tensor& tensor) {
  if (tensor.is_contiguous()) return move(of_input_[i], tensor.raw());
  Tensor& copy = row_major_[i];
  if (!copy) copy = Tensor::empty(tensor.dtype(), tensor.shape());
  copy.copy_from(tensor);
  move(of_input_[i], copy.raw());
}

// Few are compared pair by pair.
bool Frame::share(std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  constexpr std::size_t kFewPairs = 64;
  if (outputs.size() * (inputs.size() + outputs.size()) > kFewPairs) {
    ranges_.clear();
    for (const Tensor& x : inputs) ranges_.push_back(detail::memory_range(x));
    for (const Tensor& x : outputs) {
      ranges_.push_back(detail::memory_range(x));
      ranges_.back().written = true;
    }
    return detail::written_ranges_meet(ranges_);
  }
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    const auto meets = [&](const Tensor& t) { return outputs[o].overlaps(t); };
    if (std::ranges::any_of(inputs, meets) || std::ranges::any_of(outputs.first(o), meets))
      return true;
  }
  return false;
}

void Frame::set_output(std::size_t o, const Tensor& tensor) { move(of_output_[o], tensor.raw()); }

}  // namespace fovea::plan
