#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {

void fill(Kernels& table) {
  add_attention_backward(table);
  add_attention_bias(table);
  add_attention_decode(table);
  add_attention_forward(table);
  add_attention_scores(table);
  add_columns(table);
  add_cross_entropy(table);
  add_elementwise(table);
  add_gemm(table);
  add_norm(table);
  add_reduce(table);
  add_rows(table);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
