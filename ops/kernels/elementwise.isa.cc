#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T, class F>
FOVEA_INLINE void map(std::int64_t n, const T* x, T* y, const F& f) {
  by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) FOVEA_INLINE_LAMBDA {
    store_some(y + i, f(load_some(x + i, some, T(0))), some);
  });
}

template <class T>
void map_exp(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return exp(v); });
}

template <class T>
void map_tanh(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return tanh(v); });
}

template <class T>
void map_erf(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return erf(v); });
}

template <class T>
void map_sigmoid(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return sigmoid(v); });
}

template <class T>
void map_gelu(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return gelu(v); });
}

template <class T>
void map_gelu_tanh(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) FOVEA_INLINE_LAMBDA { return gelu_tanh(v); });
}

template <class T>
void add(Loops<T>& loops) {
  loops.exp = map_exp<T>;
  loops.tanh = map_tanh<T>;
  loops.erf = map_erf<T>;
  loops.sigmoid = map_sigmoid<T>;
  loops.gelu = map_gelu<T>;
  loops.gelu_tanh = map_gelu_tanh<T>;
}

}  // namespace

void add_elementwise(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
