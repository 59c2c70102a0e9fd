// Matrix products: the kernel, the op through a graph, and the same through libraries of the system
// where they are installed.
#include <algorithm>
#include <vector>

#include "bench/case.h"
#include "bench/peers.h"
#include "fovea/fovea.h"
#include "fovea/ops/kernels/gemm.h"

namespace fovea::bench {

namespace {

// Products of so few rows are limited by reading b.
constexpr std::int64_t kMemoryBoundRows = 8;

struct Extents {
  std::int64_t m, n, k;
  const char* note = "";
  bool transpose_a = false, transpose_b = false;
};

template <class T>
struct Operands {
  Tensor a, b, c;

  explicit Operands(const Extents& e)
      : a(normals(dtype_of<T>, {e.m, e.k})),
        b(normals(dtype_of<T>, {e.k, e.n})),
        c(Tensor::zeros(dtype_of<T>, {e.m, e.n})) {}
};

template <class T>
Call prepare_kernel(const Extents& e) {
  const Operands<T> o(e);
  kernels::GemmProblem<T> p;
  p.m = e.m;
  p.n = e.n;
  p.k = e.k;
  p.a = e.transpose_a ? kernels::MatrixView<const T>{o.a.template data<T>(), 1, e.m}
                      : kernels::MatrixView<const T>{o.a.template data<T>(), e.k, 1};
  p.b = e.transpose_b ? kernels::MatrixView<const T>{o.b.template data<T>(), 1, e.k}
                      : kernels::MatrixView<const T>{o.b.template data<T>(), e.n, 1};
  p.c = {o.c.template mutable_data<T>(), e.n, 1};
  const int slots = num_threads();
  const auto bytes = static_cast<std::int64_t>(kernels::gemm_scratch(p, slots));
  const Tensor scratch = Tensor::zeros(f64, {bytes / 8 + 1});
  const Call call = [o, p, scratch, slots] { kernels::gemm(p, scratch.mutable_raw(), slots); };
  call();
  return call;
}

Call prepare_peer(const Peer& peer, const Extents& e) {
  const Operands<float> o(e);
  const Call call = [o, e, sgemm = peer.sgemm] {
    sgemm({e.m, e.n, e.k, o.a.data<float>(), o.b.data<float>(), o.c.mutable_data<float>()});
  };
  peer.set_threads(num_threads());
  call();
  return call;
}

// y = a b through a compiled graph, into the caller's memory; a frozen b is packed once, here.
Call prepare_graph(const Extents& e, bool frozen) {
  const Operands<float> o(e);
  const Expr a = input("a", f32, o.a.shape()), b = input("b", f32, o.b.shape());
  std::vector<Expr> inputs{a};
  std::vector<Tensor> in{o.a};
  CompileOptions options;
  if (frozen) {
    options.frozen.emplace_back(b, o.b);
  } else {
    inputs.push_back(b);
    in.push_back(o.b);
  }
  const Executable executable = compile(inputs, std::vector{matmul(a, b)}, options);
  const std::vector<Tensor> out{o.c};
  executable.run(in, out);
  return [executable, in, out] { executable.run(in, out); };
}

Case gemm_case(std::string what, DType dtype, const Extents& e, std::function<Call()> prepare) {
  Case c;
  c.what = std::move(what);
  c.dtype = dtype;
  c.m = e.m;
  c.n = e.n;
  c.k = e.k;
  c.note = e.note;
  c.work = 2.0 * static_cast<double>(e.m) * static_cast<double>(e.n) * static_cast<double>(e.k);
  if (e.m <= kMemoryBoundRows) {
    c.unit = "GB/s";
    c.work = static_cast<double>(e.n) *
             static_cast<double>(e.k * static_cast<std::int64_t>(size_of(dtype)));
    c.yardstick = Yardstick::read;
  }
  c.prepare = std::move(prepare);
  return c;
}

}  // namespace

void add_gemm_cases(std::vector<Case>& cases, Size size) {
  std::vector<Extents> shapes;
  for (const std::int64_t n : {64, 128, 256, 512, 1024, 2048}) shapes.push_back({n, n, n});
  for (const std::int64_t n : {512, 1024, 2048}) {
    shapes.push_back({n, n, 64});
    shapes.push_back({n, 64, n});
  }
  shapes.push_back({2048, 1536, 512});
  shapes.push_back({1000, 777, 333, "odd"});
  shapes.push_back({512, 512, 512, "aT", true, false});
  shapes.push_back({512, 512, 512, "bT", false, true});
  shapes.push_back({1, 4096, 4096, "one row"});
  shapes.push_back({1, 4096, 4096, "one row, bT", false, true});
  for (const std::int64_t m : {4, 8, 32}) shapes.push_back({m, 4096, 4096, "few rows"});
  shapes.push_back({8, 4096, 4096, "few rows, bT", false, true});
  for (Extents e : shapes) {
    if (size == Size::small) {
      for (std::int64_t* extent : {&e.m, &e.n, &e.k})
        *extent = std::min<std::int64_t>(*extent, 256);
    }
    const bool square = e.m == e.n && e.n == e.k && *e.note == '\0';
    const bool rows = e.m <= 32;
    const Coverage coverage{.plain = square && e.m == 512, .parallel = rows || e.m >= 128};
    cases.push_back(gemm_case("gemm", f32, e, [e] { return prepare_kernel<float>(e); }));
    cases.back().coverage = coverage;
    if (square && (e.m == 64 || e.m == 512)) {
      cases.push_back(gemm_case("gemm", f64, e, [e] { return prepare_kernel<double>(e); }));
      cases.back().coverage.plain = coverage.plain;
    }
    if ((square && (e.m == 64 || e.m == 512)) || (rows && !e.transpose_b)) {
      for (const bool frozen : {false, true}) {
        cases.push_back(gemm_case("matmul", f32, e, [=] { return prepare_graph(e, frozen); }));
        cases.back().note = frozen ? "through a graph, b packed" : "through a graph";
        cases.back().coverage.parallel = coverage.parallel;
      }
    }
    if (*e.note != '\0' && (!rows || e.transpose_b)) continue;
    for (const Peer& peer : peers()) {
      cases.push_back(
          gemm_case("gemm " + peer.name, f32, e, [&peer, e] { return prepare_peer(peer, e); }));
      cases.back().coverage.parallel = coverage.parallel;
      cases.back().peer = true;
    }
  }
}

}  // namespace fovea::bench
