#include "fovea/graph/executable.h"

#include <algorithm>
#include <deque>

#include "fovea/graph/passes.h"
#include "fovea/graph/plan.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/node_map.h"
#include "fovea/tensor/format.h"

namespace fovea {

using plan::Home;
using plan::kNone;
using plan::Step;
using plan::Value;

namespace plan {

// Memory of one call, and every step prepared on it.
struct Frame {
  explicit Frame(const Executable::Plan& plan);

  // Exactly one of the three is there.
  struct Record {
    const TileLoop* loop = nullptr;
    Call* call = nullptr;
    const std::pair<Tensor, Tensor>* copy = nullptr;  // to, from
    std::size_t first_pointer = 0, operands = 0;      // of a loop, in `pointers`; then its result
  };
  // What points into the memory of an input or output: a tensor, or else a pointer of a loop.
  struct Follower {
    Tensor* tensor;
    std::size_t pointer;
    std::int64_t bytes;  // from the first element
  };

  void run(std::size_t step) {
    const Record& record = records[step];
    if (record.loop) {
      void** const first = pointers.data() + record.first_pointer;
      record.loop->run(context, {first, record.operands}, first[record.operands]);
    } else if (record.call) {
      record.call->run(context);
    } else {
      record.copy->first.copy_from(record.copy->second);
    }
  }

  Tensor arena;
  Context context;
  std::vector<Record> records;
  std::vector<void*> pointers;
  std::vector<std::unique_ptr<Call>> calls;
  std::deque<std::pair<Tensor, Tensor>> copies;  // a deque, so that they stay where they are
  std::vector<std::vector<Follower>> of_input, of_output;
  std::vector<Tensor> row_major;  // copies of inputs that are not

 private:
  std::byte* place(const Executable::Plan& plan, const Value& value) const;
  Tensor tensor(const Executable::Plan& plan, std::size_t v) const;
  void follow(const Executable::Plan& plan, std::size_t v, Tensor* tensor, std::size_t pointer);
  void prepare_loop(const Executable::Plan& plan, const Step& step, Record& record);
  void prepare_call(const Executable::Plan& plan, const Step& step, Record& record);
};

Frame::Frame(const Executable::Plan& plan)
    : arena(Tensor::empty(boolean, {static_cast<std::int64_t>(plan.arena_bytes)})),
      records(plan.steps.size()),
      of_input(plan.inputs.size()),
      of_output(plan.outputs.size()),
      row_major(plan.inputs.size()) {
  context.scratch(plan.scratch_bytes);
  for (std::size_t s = 0; s < records.size(); ++s) {
    const Step& step = plan.steps[s];
    if (step.loop) {
      prepare_loop(plan, step, records[s]);
    } else if (step.op) {
      prepare_call(plan, step, records[s]);
    } else {
      auto& [to, from] = copies.emplace_back(tensor(plan, step.out[0]), tensor(plan, step.in[0]));
      follow(plan, step.out[0], &to, 0);
      follow(plan, step.in[0], &from, 0);
      records[s].copy = &copies.back();
    }
  }
}

// An empty value, or one that follows, may be anywhere for now.
std::byte* Frame::place(const Executable::Plan& plan, const Value& value) const {
  const Value& root = plan.values[value.root];
  const std::int64_t bytes = value.offset * static_cast<std::int64_t>(size_of(value.spec.dtype));
  auto* base = static_cast<std::byte*>(arena.mutable_raw());
  if (root.home == Home::arena) return base + root.arena_offset + bytes;
  if (root.home != Home::constant) return base;
  return static_cast<std::byte*>(const_cast<void*>(plan.constants[root.index].raw())) + bytes;
}

Tensor Frame::tensor(const Executable::Plan& plan, std::size_t v) const {
  if (v == kNone) return {};
  const Value& value = plan.values[v];
  Tensor made =
      Tensor::borrow(arena.mutable_raw(), value.spec.dtype, value.spec.shape, value.strides);
  made.rebind(place(plan, value));
  return made;
}

void Frame::follow(const Executable::Plan& plan, std::size_t v, Tensor* tensor,
                   std::size_t pointer) {
  const Value& value = plan.values[v];
  const Value& root = plan.values[value.root];
  const std::int64_t bytes = value.offset * static_cast<std::int64_t>(size_of(value.spec.dtype));
  if (root.home == Home::input) of_input[root.index].push_back({tensor, pointer, bytes});
  if (root.home == Home::output) of_output[root.index].push_back({tensor, pointer, bytes});
}

void Frame::prepare_loop(const Executable::Plan& plan, const Step& step, Record& record) {
  record = {.loop = &*step.loop, .first_pointer = pointers.size(), .operands = step.in.size()};
  const auto append = [&](std::size_t v) {
    follow(plan, v, nullptr, pointers.size());
    pointers.push_back(place(plan, plan.values[v]));
  };
  for (const std::size_t v : step.in) append(v);
  append(step.out[0]);
}

void Frame::prepare_call(const Executable::Plan& plan, const Step& step, Record& record) {
  std::vector<Tensor> in, out;
  for (const std::size_t v : step.in) in.push_back(tensor(plan, v));
  for (const std::size_t v : step.out) out.push_back(tensor(plan, v));
  calls.push_back(step.op->prepare(in, out));
  record.call = calls.back().get();
  const std::vector<Tensor*> tensors = record.call->tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t v = i < in.size() ? step.in[i] : step.out[i - in.size()];
    if (v != kNone) follow(plan, v, tensors[i], 0);
  }
}

}  // namespace plan

Executable::Plan::Plan() = default;
Executable::Plan::~Plan() = default;

namespace {

using plan::Frame;

// A frame of the pool, given back at the end.
class Lease {
 public:
  explicit Lease(const Executable::Plan& plan) : plan_(plan) {
    {
      const std::lock_guard lock(plan.mutex);
      if (!plan.frames.empty()) {
        frame_ = std::move(plan.frames.back());
        plan.frames.pop_back();
      }
    }
    if (!frame_) frame_ = std::make_unique<Frame>(plan);
  }
  ~Lease() {
    const std::lock_guard lock(plan_.mutex);
    plan_.frames.push_back(std::move(frame_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Frame& operator*() const { return *frame_; }

 private:
  const Executable::Plan& plan_;
  std::unique_ptr<Frame> frame_;
};

void check(std::string_view what, std::span<const TensorSpec> specs,
           std::span<const Tensor> given) {
  if (given.size() != specs.size()) {
    fail("run", "{} {}s; {} are required", given.size(), what, specs.size());
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!given[i])
      fail("run", "{} {} is a null tensor; {} is required", what, i, to_string(specs[i]));
    if (given[i].dtype() != specs[i].dtype || given[i].shape() != specs[i].shape) {
      fail("run", "{} {} is {}; {} is required", what, i, to_string(spec_of(given[i])),
           to_string(specs[i]));
    }
  }
}

void follow(Frame& frame, std::span<const Frame::Follower> followers, const void* memory) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(memory));
  for (const Frame::Follower& f : followers) {
    if (f.tensor) {
      f.tensor->rebind(bytes + f.bytes);
    } else {
      frame.pointers[f.pointer] = bytes + f.bytes;
    }
  }
}

}  // namespace

Executable::Executable(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}

std::span<const TensorSpec> Executable::inputs() const { return plan_->inputs; }
std::span<const TensorSpec> Executable::outputs() const { return plan_->outputs; }

std::size_t Executable::peak_bytes() const {
  std::size_t bytes = plan_->arena_bytes + plan_->scratch_bytes;
  for (const TensorSpec& spec : plan_->outputs) {
    bytes += static_cast<std::size_t>(spec.shape.numel()) * size_of(spec.dtype);
  }
  return bytes;
}

std::vector<Tensor> Executable::operator()(std::span<const Tensor> inputs) const {
  check("input", plan_->inputs, inputs);
  std::vector<Tensor> outputs;
  outputs.reserve(plan_->outputs.size());
  for (const TensorSpec& spec : plan_->outputs)
    outputs.push_back(Tensor::empty(spec.dtype, spec.shape));
  run(inputs, outputs);
  return outputs;
}

void Executable::run(std::span<const Tensor> inputs, std::span<const Tensor> outputs) const {
  check("input", plan_->inputs, inputs);
  check("output", plan_->outputs, outputs);
  // Memory that the steps cannot write in order, or that an input or another output shares, is
  // filled at the end.
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    const Tensor& out = outputs[o];
    out.mutable_raw();  // refuses read-only memory
    const auto shares = [&](const Tensor& t) { return out.overlaps(t); };
    if (out.is_contiguous() && std::ranges::none_of(inputs, shares) &&
        std::ranges::none_of(outputs.first(o), shares)) {
      continue;
    }
    const std::vector<Tensor> fresh = (*this)(inputs);
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].copy_from(fresh[i]);
    return;
  }
  const Lease lease(*plan_);
  Frame& frame = *lease;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].is_contiguous()) {
      follow(frame, frame.of_input[i], inputs[i].raw());
    } else {
      Tensor& copy = frame.row_major[i];
      if (!copy) copy = Tensor::empty(inputs[i].dtype(), inputs[i].shape());
      copy.copy_from(inputs[i]);
      follow(frame, frame.of_input[i], copy.raw());
    }
  }
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    follow(frame, frame.of_output[o], outputs[o].raw());
  }
  std::size_t step = 0;
  try {
    for (; step < frame.records.size(); ++step) frame.run(step);
  } catch (const Error& error) {
    throw error.at(plan_->steps[step].location.text());
  }
}

namespace {

// The ops that a step does.
std::string names_of(const Step& step) {
  if (!step.loop) return step.op ? std::string(step.op->type().name) : "copy";
  std::vector<std::string_view> names;
  for (const TileProgram::Step& part : step.loop->program().steps) {
    names.push_back(part.op->type().name);
  }
  return format("{}", fmt::join(names, " + "));
}

// Which path an attention node takes, and why: outputs 2 and 3 are its scores and probabilities.
std::string attention_path(const Step& step) {
  const bool scores = step.out[2] != kNone, probs = step.out[3] != kNone;
  if (!scores && !probs) return "fused, memory grows with the lengths";
  return format("fused, and {} take memory that grows with their product", scores && probs
                                                                               ? "scores and probs"
                                                                           : scores ? "scores"
                                                                                    : "probs");
}

}  // namespace

std::string Executable::explain() const {
  std::string text;
  for (const std::string& note : plan_->notes) text += note + "\n";
  for (std::size_t s = 0; s < plan_->steps.size(); ++s) {
    const Step& step = plan_->steps[s];
    text += format("{:4}  {}", s, names_of(step));
    for (const std::size_t out : step.out) {
      if (out == kNone) continue;
      const Value& value = plan_->values[out];
      const Value& root = plan_->values[value.root];
      text += format("  -> {}{}", to_string(value.spec),
                     root.home == Home::output ? format(" output {}", root.index)
                                               : format(" arena +{}", root.arena_offset));
    }
    if (step.in_place) text += " (in place)";
    if (step.op && step.op->type().name == "attention") text += "  [" + attention_path(step) + "]";
    if (const std::string place = step.location.text(); !place.empty()) text += "  " + place;
    text += '\n';
  }
  return text + format("arena {} bytes, scratch {} bytes, peak {} bytes\n", plan_->arena_bytes,
                       plan_->scratch_bytes, peak_bytes());
}

CompileOptions CompileOptions::plain() {
  return {.fold_constants = false,
          .merge_equal = false,
          .fuse_attention = false,
          .fuse_elementwise = false,
          .overwrite = false};
}

Executable compile(std::span<const Expr> inputs, std::span<const Expr> outputs,
                   const CompileOptions& options) {
  auto plan = std::make_shared<Executable::Plan>();
  NodeMap<char> seen;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Expr& x = inputs[i];
    if (!x || x.node().kind() != Node::Kind::input) {
      fail("compile", "input {} is not an input; expressions made by input() are required", i);
    }
    if (!seen.insert(&x.node()).second) {
      fail("compile", "input {} ({}) stands twice; each at most once", i, quoted(x.node().name()));
    }
    plan->inputs.push_back(x.spec());
  }
  std::vector<Expr> current(outputs.begin(), outputs.end());
  for (const Expr& x : current) plan->outputs.push_back(x.spec());
  std::vector<Expr> from, to;
  for (const auto& [x, value] : options.frozen) {
    from.push_back(x);
    to.push_back(constant(value));
  }
  if (!from.empty()) current = substitute(current, from, to);
  if (options.fuse_attention) current = fuse_attention(current, &plan->notes);
  current = expand_decompositions(current);
  if (options.fold_constants) current = fold_constants(current);
  if (options.merge_equal) current = merge_equal(current);
  build_plan(*plan, inputs, current, options);
  return Executable(std::move(plan));
}

Executable compile(std::initializer_list<Expr> inputs, std::initializer_list<Expr> outputs,
                   const CompileOptions& options) {
  return compile(std::span(inputs.begin(), inputs.size()),
                 std::span(outputs.begin(), outputs.size()), options);
}

}  // namespace fovea
