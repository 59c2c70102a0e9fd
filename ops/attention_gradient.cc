#include "fovea/ops/attention_gradient.h"

#include "fovea/ops/attention_problem.h"
#include "fovea/ops/attention_terms.h"
#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/reduce.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

using detail::AttentionExtents;
using detail::AttentionTerms;

// The part of the inputs that is attention's own.
template <class T>
Attention::In<T> forward_inputs(const AttentionGradient::In<T>& in) {
  return {.q = in.q,
          .k = in.k,
          .v = in.v,
          .mask = in.mask,
          .bias = in.bias,
          .key_lengths = in.key_lengths};
}

template <class T>
void run(Context& context, const AttentionGradient& a, const AttentionGradient::In<Tensor>& in,
         AttentionGradient::Out<Tensor>& out) {
  const AttentionExtents e = detail::attention_extents(in.q.shape(), in.k.shape(), in.v.shape());
  if (in.key_lengths) detail::check_key_lengths(a.name, *in.key_lengths, e.keys);
  AttentionGradient::In<Tensor> dense = in;
  for (Tensor* t : {&dense.q, &dense.k, &dense.v}) *t = detail::dense_rows(*t);
  for (std::optional<Tensor>* t : {&dense.y, &dense.dy}) {
    if (*t) *t = detail::dense_rows(**t);
  }
  const kernels::AttentionProblem<T> problem =
      detail::attention_problem<T>(a, forward_inputs(dense), e);
  kernels::AttentionGradient<T> gradient{.y = detail::read_heads<T>(dense.y, e.rank),
                                         .lse = detail::read_heads<T>(in.lse, e.rank),
                                         .dy = detail::read_heads<T>(dense.dy, e.rank),
                                         .dlse = detail::read_heads<T>(in.dlse, e.rank),
                                         .dq = detail::write_heads<T>(out.dq, e.rank),
                                         .dk = detail::write_heads<T>(out.dk, e.rank),
                                         .dv = detail::write_heads<T>(out.dv, e.rank),
                                         .dbias = {}};
  if (!in.dy && out.dv) {  // y has no cotangent: nothing reaches v
    out.dv.copy_from(Tensor::zeros(out.dv.dtype(), {}).broadcast_to(out.dv.shape()));
    gradient.dv = {};
  }
  if (in.bias && out.dbias) {
    gradient.dbias = detail::score_view(out.dbias.mutable_data<T>(), out.dbias, e.rank);
  }
  const int slots = num_threads();
  std::byte* scratch = context.scratch(kernels::attention_backward_scratch(problem, slots));
  kernels::attention_backward(problem, gradient, scratch, slots);
}

}  // namespace

AttentionGradient::Out<TensorSpec> AttentionGradient::infer(const In<TensorSpec>& in) const {
  const AttentionExtents e = detail::check_attention(name, *this, forward_inputs(in));
  const DType dtype = in.q.dtype;
  const auto check = [&](std::string_view what, const std::optional<TensorSpec>& given,
                         const Shape& shape) {
    if (given && *given != TensorSpec{dtype, shape}) {
      fail(name, "{} is {}; {}, as attention gives it, is required", what, to_string(*given),
           to_string(TensorSpec{dtype, shape}));
    }
  };
  const Shape y = in.q.shape.with(e.rank - 1, in.v.shape[-1]);
  const Shape lse = detail::scores_shape(in.q.shape, in.k.shape).without(e.rank - 1);
  check("y", in.y, y);
  check("dy", in.dy, y);
  check("lse", in.lse, lse);
  check("dlse", in.dlse, lse);
  if (!in.dy && !in.dlse) fail(name, "neither dy nor dlse; at least one is required");
  if (in.dy && !in.y) fail(name, "dy without y; both are required");
  return {.dq = in.q, .dk = in.k, .dv = in.v, .dbias = in.bias.value_or(TensorSpec{dtype, {0}})};
}

std::size_t AttentionGradient::workspace(const In<TensorSpec>& in) const {
  const AttentionExtents e = detail::attention_extents(in.q.shape, in.k.shape, in.v.shape);
  const auto bytes = [&]<class T>(T) {
    return kernels::attention_backward_scratch(detail::attention_problem<T>(*this, e),
                                               num_threads());
  };
  return in.q.dtype == f32 ? bytes(0.0f) : bytes(0.0);
}

void AttentionGradient::forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
  if (in.q.dtype() == f32) {
    run<float>(context, *this, in, out);
  } else {
    run<double>(context, *this, in, out);
  }
}

// p = exp(s − lse); with y and lse fixed, ds = p ∘ (dy vᵀ − Σ dy∘y + dlse).
AttentionGradient::Out<Expr> AttentionGradient::decomposition(const In<Expr>& in) const {
  const AttentionTerms terms(name, *this, forward_inputs(in));
  const Expr capped = terms.capped(terms.checked(terms.raw(false)));
  const Expr from_lse = terms.shown(terms.biased(capped) - detail::column(in.lse), 0);
  const Expr p = terms.shown(exp(from_lse), 0);

  Expr dp;
  if (in.dy) {
    dp = terms.pair(*in.dy, terms.v()) - sum(*in.dy * *in.y, {.axes = -1, .keep_dims = true});
  }
  if (in.dlse) dp = dp ? dp + detail::column(*in.dlse) : detail::column(*in.dlse);
  const Expr ds = terms.shown(p * dp, 0);
  Expr draw = terms.scale() * ds;
  if (softcap > 0) draw = draw * (1 - square(capped / terms.softcap()));  // tanh' = 1 − tanh²

  const auto zeros = [&](const Shape& shape) {
    return constant(Tensor::zeros(in.q.dtype(), shape));
  };
  return {.dq = terms.gather(draw, terms.k()),
          .dk = terms.scatter(draw, in.q),
          .dv = in.dy ? terms.scatter(p, *in.dy) : zeros(in.v.shape()),
          .dbias = in.bias ? detail::sum_to(ds, in.bias->shape()) : zeros({0})};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::AttentionGradient);
