// What a graph costs besides its work.
#include <array>

#include "bench/case.h"
#include "fovea/fovea.h"

namespace fovea::bench {

namespace {

// `nodes` additions of one element, each a step of its own.
Expr chain(const Expr& x, int nodes) {
  Expr y = x;
  for (int i = 0; i < nodes; ++i) y = y + 1;
  return y;
}

CompileOptions unfused() {
  CompileOptions options;
  options.fuse_elementwise = false;
  return options;
}

Call prepare_run(int nodes) {
  const Expr x = input("x", f32, {16});
  const std::array<Expr, 1> in{x}, out{chain(x, nodes)};
  const Executable executable = compile(in, out, unfused());
  const std::array<Tensor, 1> given{normals(f32, {16})}, result{Tensor::zeros(f32, {16})};
  executable.run(given, result);
  return [=] { executable.run(given, result); };
}

Case overhead_case(std::string what, std::string note, std::string unit, double work) {
  Case c;
  c.what = std::move(what);
  c.note = std::move(note);
  c.unit = std::move(unit);
  c.work = work;
  c.yardstick = Yardstick::fork_join;
  c.coverage.parallel = true;
  return c;
}

}  // namespace

void add_overhead_cases(std::vector<Case>& cases, Size) {
  cases.push_back(overhead_case("run", "1 node", "Gruns/s", 1));
  cases.back().prepare = [] { return prepare_run(1); };
  constexpr int kNodes = 1000;
  cases.push_back(overhead_case("node", "each of 1000 in a run", "Gnodes/s", kNodes));
  cases.back().parts = kNodes;
  cases.back().prepare = [] { return prepare_run(kNodes); };
  cases.push_back(overhead_case("compile", "1000 nodes", "Gnodes/s", kNodes));
  cases.back().prepare = [] {
    const Expr x = input("x", f32, {16});
    const std::array<Expr, 1> in{x}, out{chain(x, kNodes)};
    return Call([in, out] { compile(in, out, unfused()); });
  };
}

}  // namespace fovea::bench
