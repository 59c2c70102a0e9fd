#include "bench/peers.h"

#include <dlfcn.h>

#include <cstdlib>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/tensor/parallel.h"

namespace fovea::bench {

namespace {

void* load(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

template <class Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

// Its sgemm takes row-major operands; the threads are those of the OpenMP library that it uses.
void add_onednn(std::vector<Peer>& found) {
  using Dim = std::int64_t;
  ::setenv("GOMP_SPINCOUNT", "30000", 0);  // less than a millisecond
  using Function = int(char, char, Dim, Dim, Dim, float, const float*, Dim, const float*, Dim,
                       float, float*, Dim);
  void* library = load({"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"});
  if (library == nullptr) return;
  auto* sgemm = find<Function>(library, "dnnl_sgemm");
  auto* set_threads = find<void(int)>(library, "omp_set_num_threads");
  if (sgemm == nullptr || set_threads == nullptr) return;
  found.push_back({"oneDNN",
                   [sgemm](const Sgemm& p) {
                     sgemm('N', 'N', p.m, p.n, p.k, 1, p.a, p.k, p.b, p.n, 0, p.c, p.n);
                   },
                   set_threads});
}

void add_openblas(std::vector<Peer>& found) {
  constexpr int kRowMajor = 101, kNoTranspose = 111;
  using Function = void(int, int, int, int, int, int, float, const float*, int, const float*, int,
                        float, float*, int);
  // It knows no processor younger than itself and falls back to AVX2: at its best, please.
  if (kernels::kernels_for(kernels::Isa::avx512)) ::setenv("OPENBLAS_CORETYPE", "SKYLAKEX", 0);
  ::setenv("OPENBLAS_THREAD_TIMEOUT", "22", 0);  // 2^22 cycles
  void* library = load({"libopenblas.so.0", "libopenblas.so"});
  if (library == nullptr) return;
  auto* sgemm = find<Function>(library, "cblas_sgemm");
  auto* set_threads = find<void(int)>(library, "openblas_set_num_threads");
  if (sgemm == nullptr || set_threads == nullptr) return;
  found.push_back(
      {"OpenBLAS",
       [sgemm](const Sgemm& p) {
         const auto m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
         sgemm(kRowMajor, kNoTranspose, kNoTranspose, m, n, k, 1, p.a, k, p.b, n, 0, p.c, n);
       },
       set_threads});
}

void start_threads(const Peer& peer) {
  constexpr std::int64_t n = 256;
  const std::vector<float> a(n * n), b(n * n);
  std::vector<float> c(n * n);
  peer.set_threads(num_threads());
  peer.sgemm({n, n, n, a.data(), b.data(), c.data()});
}

}  // namespace

const std::vector<Peer>& peers() {
  static const std::vector<Peer> found = [] {
    std::vector<Peer> libraries;
    add_onednn(libraries);
    add_openblas(libraries);
    for (const Peer& peer : libraries) start_threads(peer);
    return libraries;
  }();
  return found;
}

}  // namespace fovea::bench
