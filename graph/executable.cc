#include "fovea/graph/executable.h"

#include <algorithm>

#include "fovea/graph/frame.h"
#include "fovea/graph/packed.h"
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

void run_steps(const Executable::Plan& plan, Frame& frame, std::span<const Tensor> inputs,
               std::span<const Tensor> outputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) frame.set_input(i, inputs[i]);
  for (std::size_t o = 0; o < outputs.size(); ++o) frame.set_output(o, outputs[o]);
  std::size_t step = 0;
  try {
    for (; step < frame.steps(); ++step) frame.run(step);
  } catch (const Error& error) {
    throw error.at(plan.steps[step].location.text());
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
  bool in_order = true;
  for (const Tensor& out : outputs) {
    out.mutable_raw();  // refuses read-only memory
    in_order = in_order && out.is_contiguous();
  }
  if (in_order) {
    const Lease lease(*plan_);
    if (!(*lease).share(inputs, outputs)) return run_steps(*plan_, *lease, inputs, outputs);
  }
  // What the steps cannot write in order, or what an input or another output shares, is filled at
  // the end.
  const std::vector<Tensor> fresh = (*this)(inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].copy_from(fresh[i]);
}

namespace {

// The ops that a step does.
std::string names_of(const Step& step) {
  if (!step.loop && !step.op) return "copy";
  std::vector<std::string_view> names;
  if (step.op) names.push_back(step.op->type().name);
  for (std::size_t i = 0; step.loop && i < step.loop->program().steps.size(); ++i) {
    names.push_back(step.loop->program().steps[i].op->type().name);
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
    if (step.packed) text += " (b packed)";
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
          .fuse_epilogues = false,
          .pack_frozen = false,
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
  if (options.fuse_attention) {
    std::vector<AttentionNote> notes;
    current = fuse_attention(current, &notes);
    for (const AttentionNote& note : notes) {
      const std::string place = note.location.text();
      plan->notes.push_back(
          format("attention{}{}: {}", place.empty() ? "" : " at ", place, note.text));
    }
  }
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
