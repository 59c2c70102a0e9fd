// Everything that Fovea offers to C++ programs.
#pragma once

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/rewrite.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/op.h"
#include "fovea/ops/registry.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"
#include "fovea/tensor/tensor.h"
