// The loops that each instruction set offers. The functions of attention.h, gemm.h and rows.h split
// their work into tasks by shape alone and call these for each task; nobody else needs them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fovea/ops/kernels/attention.h"
#include "fovea/ops/kernels/gemm.h"
#include "fovea/ops/kernels/rows.h"

namespace fovea::kernels {

enum class Isa : std::uint8_t;

/// Vectorised functions, element by element.
template <class T>
using MapFunction = void (*)(std::int64_t n, const T* x, T* y);

template <class T>
struct Loops {
  MapFunction<T> exp = nullptr, tanh = nullptr;
};

struct Kernels {
  Isa isa{};
  Loops<float> f32;
  Loops<double> f64;
};

}  // namespace fovea::kernels
