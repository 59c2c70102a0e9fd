#include "fovea/ops/kernels/cross_entropy.h"

#include <math.h>

#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// NaN elements may be left out of the maximum: they come up again in the sum.
template <class T>
LogSum<T> log_sum(const T* x, std::int64_t n) {
  Vec<T> most = broadcast(-kInfinity<T>);
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    most = max(load_some(x + i, n - i, -kInfinity<T>), most);
  }
  const T largest = max_lanes(most), shift = largest == -kInfinity<T> ? T(0) : largest;
  double total[1] = {};
  add_sums<T>(n, total, [&](std::int64_t i, auto& sums) {
    sums[0] = sums[0] + exp(load_some(x + i, n - i, -kInfinity<T>) - broadcast(shift));
  });
  return {largest, ::log(total[0])};
}

template <class T>
void scaled_exp(const T* x, std::int64_t n, T shift, T factor, T* y) {
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
