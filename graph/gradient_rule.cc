#include "fovea/graph/gradient_rule.h"

#include <utility>

#include "fovea/graph/gradients.h"
#include "fovea/graph/rewrite.h"

namespace fovea {

namespace {

// Everything but the gradient is the inner op's.
class Adapted final : public Op {
 public:
  Adapted(std::shared_ptr<const Op> inner, GradientRule rule)
      : inner_(std::move(inner)), rule_(std::move(rule)), type_(inner_->type()) {
    type_.has_vjp = static_cast<bool>(rule_);
    type_.make = [make = inner_->type().make, rule = rule_](const AttributeMap& attributes) {
      return std::make_shared<const Adapted>(make(attributes), rule);
    };
  }

  const OpType& type() const override { return type_; }
  AttributeMap attributes() const override { return inner_->attributes(); }
  std::vector<TensorSpec> infer(std::span<const MaybeSpec> in) const override {
    return inner_->infer(in);
  }
  void forward(Context& context, std::span<const Tensor> in, std::span<Tensor> out) const override {
    inner_->forward(context, in, out);
  }
  std::vector<Expr> vjp(std::span<const Expr> in, std::span<const Expr> out,
                        std::span<const Expr> d) const override {
    return rule_(*inner_, in, out, d);
  }
  bool vjp_covers(std::span<const Expr>) const override { return static_cast<bool>(rule_); }
  std::vector<Expr> jvp(std::span<const Expr> in, std::span<const Expr> out,
                        std::span<const Expr> tangents) const override {
    return inner_->jvp(in, out, tangents);
  }
  std::vector<Expr> decomposition(std::span<const Expr> in) const override {
    return inner_->decomposition(in);
  }
  Tensor view(const Tensor& x) const override { return inner_->view(x); }
  std::size_t workspace(std::span<const MaybeSpec> in) const override {
    return inner_->workspace(in);
  }
  double flops(std::span<const MaybeSpec> in) const override { return inner_->flops(in); }
  TileKernel tile_kernel(std::span<const DType> in) const override {
    return inner_->tile_kernel(in);
  }

 private:
  std::shared_ptr<const Op> inner_;
  GradientRule rule_;
  OpType type_;
};

// Differentiated on placeholders: at the real inputs it would be wrong when one depends on another.
std::vector<Expr> gradient_of_decomposition(const Op& op, std::span<const Expr> in,
                                            std::span<const Expr> d) {
  std::vector<Expr> slots, values;
  const auto placeholder = [&](const Expr& x) {
    const Expr made = x ? input("", x.dtype(), x.shape()) : Expr();
    slots.push_back(made);
    values.push_back(x);
    return made;
  };
  std::vector<Expr> inner, wrt, outputs, cotangents;
  for (const Expr& x : in) {
    inner.push_back(placeholder(x));
    if (x && is_float(x.dtype())) wrt.push_back(inner.back());
  }
  const std::vector<Expr> all = op.decomposition(inner);
  for (std::size_t o = 0; o < all.size(); ++o) {
    if (!d[o]) continue;
    outputs.push_back(all[o]);
    cotangents.push_back(placeholder(d[o]));
  }
  const std::vector<Expr> made = substitute(gradients(outputs, wrt, cotangents), slots, values);
  std::vector<Expr> results;
  for (std::size_t i = 0, next = 0; i < in.size(); ++i) {
    results.push_back(in[i] && is_float(in[i].dtype()) ? made[next++] : Expr());
  }
  return results;
}

}  // namespace

std::vector<Expr> own_gradient(const Op& op, std::span<const Expr> in, std::span<const Expr> out,
                               std::span<const Expr> d) {
  if (op.vjp_covers(d)) return op.vjp(in, out, d);
  if (op.type().has_decomposition) return gradient_of_decomposition(op, in, d);
  throw Error(op.type().name, "it has no gradient; a vjp or a decomposition is required");
}

std::shared_ptr<const Op> with_gradient(std::shared_ptr<const Op> op, GradientRule rule) {
  return std::make_shared<Adapted>(std::move(op), std::move(rule));
}

std::shared_ptr<const Op> by_decomposition(std::shared_ptr<const Op> op) {
  return std::make_shared<Adapted>(std::move(op), GradientRule());
}

}  // namespace fovea
