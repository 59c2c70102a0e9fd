#include "fovea/ops/op.h"

#include <algorithm>

#include "fovea/ops/define.h"
#include "fovea/ops/evaluate.h"
#include "fovea/tensor/format.h"

namespace fovea {

std::byte* Context::scratch(std::size_t bytes) {
  if (!memory_ || memory_.nbytes() < bytes) {
    memory_ = Tensor();  // give the old memory back first
    memory_ = Tensor::empty(boolean, {static_cast<std::int64_t>(std::max(bytes, std::size_t{64}))});
  }
  return static_cast<std::byte*>(memory_.mutable_raw());
}

namespace {

class ForwardCall final : public Call {
 public:
  ForwardCall(const Op& op, std::span<const Tensor> in, std::span<const Tensor> out)
      : op_(op), in_(in.begin(), in.end()), out_(out.begin(), out.end()) {}

  void run(Context& context) override { op_.forward(context, in_, out_); }
  std::vector<Tensor*> tensors() override {
    std::vector<Tensor*> all;
    for (Tensor& t : in_) all.push_back(t ? &t : nullptr);
    for (Tensor& t : out_) all.push_back(t ? &t : nullptr);
    return all;
  }

 private:
  const Op& op_;
  std::vector<Tensor> in_, out_;
};

}  // namespace

std::unique_ptr<Call> Op::prepare(std::span<const Tensor> in, std::span<const Tensor> out) const {
  return std::make_unique<ForwardCall>(*this, in, out);
}

void check_arity(const OpType& type, std::span<const Op::MaybeSpec> in) {
  const std::size_t fixed = type.inputs.size() - (type.variadic() ? 1 : 0);
  if (in.size() < fixed || (in.size() > fixed && !type.variadic())) {
    fail(type.name, "{} inputs; {}{} are required", in.size(), type.variadic() ? "at least " : "",
         fixed);
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    const Slot& slot = type.inputs[std::min(i, type.inputs.size() - 1)];
    if (!in[i] && slot.arity != Arity::optional) {
      fail(type.name, "input \"{}\" is missing; it is required", slot.name);
    }
  }
}

std::vector<Tensor> eval::apply(const Op& op, std::span<const Tensor> in,
                                std::vector<bool> wanted) {
  std::vector<Op::MaybeSpec> specs;
  for (const Tensor& t : in) specs.push_back(t ? Op::MaybeSpec(spec_of(t)) : std::nullopt);
  const std::vector<TensorSpec> outputs = op.infer(specs);
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const bool want = wanted.empty() || (i < wanted.size() && wanted[i]);
    out.push_back(want ? Tensor::empty(outputs[i].dtype, outputs[i].shape) : Tensor());
  }
  Context context;
  op.forward(context, in, out);
  return out;
}

namespace detail {

void lacks(const Op& op, std::string_view what) {
  fail(op.type().name, "it has no {}; this op cannot be used so", what);
}

std::vector<TensorSpec> infer_by_decomposition(const Op& op, std::span<const Op::MaybeSpec> in) {
  if (!op.type().has_decomposition) {
    fail(
        op.type().name,
        "it has neither infer nor decomposition, spelt and typed as op.h says; its outputs' shapes "
        "must come from one of them");
  }
  std::vector<Expr> placeholders;
  for (const Op::MaybeSpec& spec : in) {
    placeholders.push_back(spec ? input("", spec->dtype, spec->shape) : Expr());
  }
  std::vector<TensorSpec> specs;
  try {
    for (const Expr& y : op.decomposition(placeholders)) specs.push_back(y.spec());
  } catch (const Error& error) {
    // What the user called is this op, not the one inside that refused.
    throw Error(op.type().name,
                error.diagnostics().front().op + ": " + error.diagnostics().front().text);
  }
  return specs;
}

double count_flops(const Op& op, std::span<const Op::MaybeSpec> in) {
  const auto numel = [](const TensorSpec& spec) { return static_cast<double>(spec.shape.numel()); };
  const OpType& type = op.type();
  if (type.has_view) return 0;
  double count = 0;
  if (!type.has_decomposition) {
    if (type.elementwise) return numel(op.infer(in).front());
    for (const TensorSpec& out : op.infer(in)) count = std::max(count, numel(out));
    for (const Op::MaybeSpec& x : in) count = std::max(count, x ? numel(*x) : 0);
    return count;
  }
  std::vector<Expr> placeholders;
  for (const Op::MaybeSpec& spec : in) {
    placeholders.push_back(spec ? input("", spec->dtype, spec->shape) : Expr());
  }
  std::vector<Expr> outputs = op.decomposition(placeholders);
  std::erase_if(outputs, [](const Expr& y) { return !y; });
  for (const Node* node : topological_order(outputs)) {
    if (node->kind() != Node::Kind::op) continue;
    std::vector<Op::MaybeSpec> specs;
    for (const Expr& x : node->inputs()) {
      specs.push_back(x ? Op::MaybeSpec(x.spec()) : std::nullopt);
    }
    count += node->op().flops(specs);
  }
  return count;
}

void forward_by_decomposition(const Op& op, std::span<const Tensor> in, std::span<Tensor> out) {
  std::vector<Expr> placeholders;
  std::vector<Binding> bindings;
  for (const Tensor& t : in) {
    placeholders.push_back(t ? input("", t.dtype(), t.shape()) : Expr());
    if (t) bindings.emplace_back(placeholders.back(), t);
  }
  std::vector<Expr> wanted;
  const std::vector<Expr> all = op.decomposition(placeholders);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i]) wanted.push_back(all[i]);
  }
  const std::vector<Tensor> results = evaluate(wanted, bindings);
  for (std::size_t i = 0, next = 0; i < out.size(); ++i) {
    if (out[i]) out[i].copy_from(results[next++]);
  }
}

}  // namespace detail

}  // namespace fovea
