#include "fovea/ops/attention.h"

#include <algorithm>

#include "fovea/ops/attention_gradient.h"
#include "fovea/ops/attention_problem.h"
#include "fovea/ops/attention_terms.h"
#include "fovea/ops/define.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

using detail::AttentionExtents;
using detail::AttentionTerms;

void check_required(const Attention& a, bool scores, bool probs) {
  if (a.require && (scores || probs)) {
    fail(Attention::name,
         "{} used, which takes Lq * Lk memory; require \"fused\" allows y and lse only",
         scores && probs ? "scores and probs are"
         : scores        ? "scores are"
                         : "probs are");
  }
}

template <class T>
void run(Context& context, const Attention& a, const Attention::In<Tensor>& in,
         Attention::Out<Tensor>& out) {
  const AttentionExtents e = detail::attention_extents(in.q.shape(), in.k.shape(), in.v.shape());
  if (in.key_lengths) detail::check_key_lengths(Attention::name, *in.key_lengths, e.keys);
  const auto all = {&Attention::In<Tensor>::q, &Attention::In<Tensor>::k,
                    &Attention::In<Tensor>::v};
  if (!std::ranges::all_of(all, [&](auto member) { return detail::has_dense_rows(in.*member); })) {
    Attention::In<Tensor> copy = in;
    for (const auto member : all) copy.*member = detail::dense_rows(in.*member);
    return run<T>(context, a, copy, out);
  }
  const auto problem = detail::attention_problem<T>(a, in, e);
  const int slots = num_threads();
  std::byte* scratch = context.scratch(kernels::attention_forward_scratch(problem, slots));
  kernels::ScoreView<T> probs{};
  if (out.probs) probs = detail::score_view(out.probs.mutable_data<T>(), out.probs, e.rank);
  kernels::AttentionResult<T> result{.y = detail::write_heads<T>(out.y, e.rank),
                                     .lse = detail::write_heads<T>(out.lse, e.rank)};
  // What nobody else wants waits in the first column of probs.
  if (!out.lse && e.keys > 0) result.lse = {probs.data, probs.batch, probs.head, probs.row};
  if (out.y || out.lse || out.probs) {
    kernels::attention_forward(problem, result, scratch, slots);
  }
  if (out.scores) {
    kernels::attention_scores(problem, static_cast<kernels::ScoresStage>(a.scores_stage),
                              detail::score_view(out.scores.mutable_data<T>(), out.scores, e.rank),
                              scratch, slots);
  }
  if (out.probs) kernels::attention_probs<T>(problem, result.lse, probs, scratch, slots);
}

}  // namespace

AttributeType AttributeCodec<Window>::type() {
  return {.kind = AttributeKind::list,
          .element = {{.kind = AttributeKind::integer, .nullable = true}},
          .length = 2};
}

AttributeValue AttributeCodec<Window>::encode(const Window& window) {
  const auto side = [](const std::optional<std::int64_t>& extent) {
    return extent ? AttributeValue{Extent(*extent)} : AttributeValue{};
  };
  return {AttributeValue::List{side(window.left), side(window.right)}};
}

Window AttributeCodec<Window>::decode(const AttributeValue& value) {
  const auto* list = std::get_if<AttributeValue::List>(&value.value);
  if (list == nullptr || list->size() != 2) detail::wrong_attribute(value, type());
  const auto side = [&](const AttributeValue& entry) -> std::optional<std::int64_t> {
    if (std::holds_alternative<std::monostate>(entry.value)) return {};
    const Extent* extent = std::get_if<Extent>(&entry.value);
    if (extent == nullptr) detail::wrong_attribute(value, type());
    return extent->value();
  };
  return {.left = side((*list)[0]), .right = side((*list)[1])};
}

Attention::Out<TensorSpec> Attention::infer(const In<TensorSpec>& in) const {
  const AttentionExtents e = detail::check_attention(name, *this, in);
  const DType dtype = in.q.dtype;
  const Shape scores = detail::scores_shape(in.q.shape, in.k.shape);
  return {.y = {dtype, in.q.shape.with(e.rank - 1, in.v.shape[-1])},
          .lse = {dtype, scores.without(e.rank - 1)},
          .scores = {dtype, scores},
          .probs = {dtype, scores}};
}

std::size_t Attention::workspace(const In<TensorSpec>& in) const {
  const AttentionExtents e = detail::attention_extents(in.q.shape, in.k.shape, in.v.shape);
  const auto bytes = [&]<class T>(T) {
    return kernels::attention_forward_scratch(detail::attention_problem<T>(*this, e),
                                              num_threads());
  };
  return in.q.dtype == f32 ? bytes(0.0f) : bytes(0.0);
}

double Attention::flops(const In<TensorSpec>& in) const {
  const double rows = static_cast<double>(in.q.shape.without(-1).numel());
  return 2 * rows * static_cast<double>(in.k.shape[-2]) *
         static_cast<double>(in.q.shape[-1] + in.v.shape[-1]);
}

void Attention::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  check_required(*this, out.scores.defined(), out.probs.defined());
  if (in.q.dtype() == f32) {
    run<float>(context, *this, in, out);
  } else {
    run<double>(context, *this, in, out);
  }
}

bool Attention::vjp_covers(const Out<Expr>& d) const { return !d.scores && !d.probs; }

Attention::In<Expr> Attention::vjp(const In<Expr>& in, const Out<Expr>& out,
                                   const Out<Expr>& d) const {
  const auto optional = [](const Expr& x) { return x ? std::optional(x) : std::nullopt; };
  const auto [dq, dk, dv, dbias] = apply(AttentionGradient{*this},
                                         {.q = in.q,
                                          .k = in.k,
                                          .v = in.v,
                                          .mask = in.mask,
                                          .bias = in.bias,
                                          .key_lengths = in.key_lengths,
                                          .y = d.y ? optional(out.y) : std::nullopt,
                                          .lse = out.lse,
                                          .dy = optional(d.y),
                                          .dlse = optional(d.lse)},
                                         Location());
  return {.q = dq, .k = dk, .v = dv, .bias = in.bias ? optional(dbias) : std::nullopt};
}

Attention::Out<Expr> Attention::decomposition(const In<Expr>& in) const {
  const AttentionTerms terms(name, *this, in);
  const Expr s = terms.biased(terms.capped(terms.checked(terms.raw(false))));
  const Expr p = terms.shown(softmax(s, {.axis = -1}), 0);
  Expr scores = s;
  if (scores_stage != ScoresStage::biased) scores = terms.raw(true);
  if (scores_stage == ScoresStage::capped) scores = terms.capped(scores);
  return {.y = terms.gather(p, terms.v()),
          .lse = logsumexp(s, {.axes = -1}),
          .scores = scores,
          .probs = p};
}

Expr attention(const Expr& q, const Expr& k, const Expr& v, const Attention& a,
               std::source_location at) {
  return apply(a, {.q = q, .k = k, .v = v}, at).y;
}

Attention::Out<Expr> attention(const Attention::In<Expr>& in, const Attention& a,
                               std::source_location at) {
  return apply(a, in, at);
}

Attention::Out<Tensor> eval::attention(const Attention::In<Tensor>& in, const Attention& a,
                                       std::vector<bool> wanted) {
  return apply(a, in, std::move(wanted));
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Attention);
