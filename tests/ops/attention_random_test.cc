// Random calls over all options against the definition.
#include <doctest/doctest.h>

#include "attention_cases.h"
#include "fovea/ops/attention_gradient.h"

using namespace fovea;
using namespace fovea::test;

namespace {

void check_case(const Case& c, DType dtype) {
  const Attention::In<Tensor> in = as(dtype, c.in);
  const Tensor dy = c.dy.astype(dtype), dlse = c.dlse.astype(dtype);
  const Reference r = reference(c.a, in, dy, dlse);
  Attention a = c.a;
  const auto close = [&](const char* what, const Tensor& got, const std::vector<double>& want) {
    CAPTURE(what);
    CHECK(difference(got, want) <= tolerance(dtype, r, want));
  };
  const auto out = eval::attention(in, a, {true, true, true, true});
  close("y", out.y, r.y);
  close("lse", out.lse, r.lse);
  close("raw scores", out.scores, r.raw);
  close("probs", out.probs, r.probs);
  a.scores_stage = ScoresStage::capped;
  close("capped scores", eval::attention(in, a, {false, false, true, false}).scores, r.capped);
  a.scores_stage = ScoresStage::biased;
  close("biased scores", eval::attention(in, a, {false, false, true, false}).scores, r.biased);

  const auto gradient = eval::apply(AttentionGradient{c.a}, {.q = in.q,
                                                             .k = in.k,
                                                             .v = in.v,
                                                             .mask = in.mask,
                                                             .bias = in.bias,
                                                             .key_lengths = in.key_lengths,
                                                             .y = out.y,
                                                             .lse = out.lse,
                                                             .dy = dy,
                                                             .dlse = dlse});
  close("dq", gradient.dq, r.dq);
  close("dk", gradient.dk, r.dk);
  close("dv", gradient.dv, r.dv);
  if (in.bias) close("dbias", gradient.dbias, r.dbias);
}

}  // namespace

TEST_CASE("attention: random calls in f64") {
  Cases cases(20);
  for (int i = 0; i < 300; ++i) {
    CAPTURE(i);
    check_case(cases.next(), f64);
  }
}

TEST_CASE("attention: random calls in f32") {
  Cases cases(21);
  for (int i = 0; i < 300; ++i) {
    CAPTURE(i);
    check_case(cases.next(), f32);
  }
}
