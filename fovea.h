// Everything that Fovea offers to C++ programs.
#pragma once

// What graphs are made of.
#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/cross_entropy.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/expr.h"
#include "fovea/ops/indexing.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/normalization.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/registry.h"
#include "fovea/ops/rope.h"
#include "fovea/ops/softmax.h"
#include "fovea/ops/split.h"
#include "fovea/ops/stop_gradient.h"

// What is done with them. An op of your own includes fovea/ops/define.h besides.
#include "fovea/graph/executable.h"
#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/jvp.h"
#include "fovea/graph/laws.h"
#include "fovea/graph/model.h"
#include "fovea/graph/rewrite.h"

// Numbers in memory.
#include "fovea/tensor/error.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "fovea/tensor/tensor.h"
#include "fovea/tensor/version.h"
