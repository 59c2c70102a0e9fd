#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T, class F>
FOVEA_INLINE void map(std::int64_t n, const T* x, T* y, const F& f) {
  std::int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) store(y + i, f(load(x + i)));
  if (i == n) return;
  T rest[kLanes<T>] = {};
  for (std::int64_t j = i; j < n; ++j) rest[j - i] = x[j];
  store(rest, f(load(rest)));
  for (std::int64_t j = i; j < n; ++j) y[j] = rest[j - i];
}

template <class T>
void map_exp(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) { return exp(v); });
}

template <class T>
void map_tanh(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) { return tanh(v); });
}

template <class T>
void map_erf(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) { return erf(v); });
}

template <class T>
void map_sigmoid(std::int64_t n, const T* x, T* y) {
  map(n, x, y, [](const Vec<T>& v) { return sigmoid(v); });
}

template <class T>
void add(Loops<T>& loops) {
  loops.exp = map_exp<T>;
  loops.tanh = map_tanh<T>;
  loops.erf = map_erf<T>;
  loops.sigmoid = map_sigmoid<T>;
}

}  // namespace

void add_elementwise(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
