#include "fovea/ops/kernels/cross_entropy.h"

#include <math.h>

#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/softmax_terms.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
[[gnu::flatten]] LogSum<T> log_sum(const T* x, std::int64_t n) {
  const T most = max_of(x, n);
  return {most, ::log(exponentials<T>(x, n, shift_of(most), nullptr))};
}

template <class T>
[[gnu::flatten]] void scaled_exp(const T* x, std::int64_t n, T shift, T factor, T* y) {
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    const Vec<T> e = exp(load_some(x + i, n - i, T(0)) - broadcast(shift));
    store_some(y + i, e * broadcast(factor), n - i);
  }
}

template <class T>
void add(Loops<T>& loops) {
  loops.log_sum = log_sum<T>;
  loops.scaled_exp = scaled_exp<T>;
}

}  // namespace

void add_cross_entropy(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
