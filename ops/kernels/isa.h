// What the sources of one instruction set tell each other: each adds its loops to the table.
#pragma once

#include "fovea/ops/kernels/table.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {

void add_attention_backward(Kernels& table);
void add_attention_bias(Kernels& table);
void add_attention_decode(Kernels& table);
void add_attention_forward(Kernels& table);
void add_attention_scores(Kernels& table);
void add_columns(Kernels& table);
void add_cross_entropy(Kernels& table);
void add_elementwise(Kernels& table);
void add_gemm(Kernels& table);
void add_norm(Kernels& table);
void add_reduce(Kernels& table);
void add_rows(Kernels& table);

/// Only for machines that run this instruction set.
void fill(Kernels& table);

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
