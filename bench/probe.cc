#include "bench/probe.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "fovea/tensor/parallel.h"

namespace fovea::kernels {

namespace scalar {
void add_probes(bench::Probes& probes);
}
namespace sse2 {
void add_probes(bench::Probes& probes);
}
namespace avx2 {
void add_probes(bench::Probes& probes);
}
namespace avx512 {
void add_probes(bench::Probes& probes);
}

}  // namespace fovea::kernels

namespace fovea::bench {

namespace {

const Probes& probes(kernels::Isa isa) {
  static const std::array<Probes, 4> all = [] {
    std::array<Probes, 4> loops;
    kernels::scalar::add_probes(loops[0]);
    kernels::sse2::add_probes(loops[1]);
    kernels::avx2::add_probes(loops[2]);
    kernels::avx512::add_probes(loops[3]);
    return loops;
  }();
  return all[static_cast<std::size_t>(isa)];
}

template <class T>
double run_chains(void (*loop)(std::int64_t, T*), double operations) {
  const double one = 2.0 * kFmaChains * (64.0 / sizeof(T));
  const auto rounds = std::max<std::int64_t>(1, static_cast<std::int64_t>(operations / one));
  const int threads = num_threads();
  parallel_for(threads, [&](std::int64_t) {
    T sink[kFmaChains + 2] = {1, 2, 3, 4, 5, 6, 7, 8, T(0.5), 1};
    loop(rounds, sink);
    volatile T kept = sink[0];
    static_cast<void>(kept);
  });
  return one * static_cast<double>(rounds) * threads;
}

}  // namespace

double run_fma(kernels::Isa isa, DType dtype, double operations) {
  const Probes& loops = probes(isa);
  return dtype == f32 ? run_chains(loops.fma_f32, operations)
                      : run_chains(loops.fma_f64, operations);
}

void run_fork_join() {
  const int threads = num_threads();
  std::atomic<int> arrived = 0;
  parallel_for(threads, [&](std::int64_t) {
    ++arrived;
    for (int i = 0; arrived < threads && i < 10'000; ++i) {
    }
  });
}

void run_read(kernels::Isa isa, const float* data, std::int64_t count) {
  const std::int64_t threads = num_threads(), steps = count / kReadStep;
  parallel_for(threads, [&](std::int64_t i) {
    const std::int64_t first = steps * i / threads, last = steps * (i + 1) / threads;
    volatile float kept = probes(isa).read(data + first * kReadStep, (last - first) * kReadStep);
    static_cast<void>(kept);
  });
}

}  // namespace fovea::bench
