// What the graph costs besides arithmetic: a run, a node, compiling, tiny calls, fork and join.
//
//     bazel run -c opt //bench:overhead
//
// Each figure is the least of many rounds: CPU time of the calling thread where only it works, wall
// time otherwise.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/probe.h"
#include "fovea/fovea.h"
#include "fovea/tensor/parallel.h"

using namespace fovea;

namespace {

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int rounds = 200;  // 1 when it only has to run once

// Nanoseconds of one call: the least of `rounds` rounds of `calls` calls.
double least(int calls, const std::function<void()>& call,
             clockid_t clock = CLOCK_THREAD_CPUTIME_ID) {
  call();
  double best = 1e300;
  for (int round = 0; round < rounds; ++round) {
    const double begin = seconds(clock);
    for (int i = 0; i < calls; ++i) call();
    best = std::min(best, (seconds(clock) - begin) / calls);
  }
  return best * 1e9;
}

void print(std::string_view what, double value, std::string_view unit) {
  std::printf("%-58.*s %10.1f %.*s\n", static_cast<int>(what.size()), what.data(), value,
              static_cast<int>(unit.size()), unit.data());
  std::fflush(stdout);
}

Tensor normal(const Shape& shape) { return random_normal(f32, shape, 0, 1, {1, 2}); }

using Link = std::function<Expr(const Expr&, const Expr&)>;  // (x, parameter) → a value like x

struct Chain {
  std::string_view name;
  Shape shape;
  Link link;
};

// Two lengths of a chain: the slope is the cost of a node.
void measure_chain(const Chain& chain, const CompileOptions& options, std::string_view note) {
  const auto time_of = [&](int nodes) {
    const Expr x = input("x", f32, chain.shape), w = input("w", f32, chain.shape);
    Expr y = x;
    for (int i = 0; i < nodes; ++i) y = chain.link(y, w);
    const Executable run = compile({x, w}, {y}, options);
    const std::vector<Tensor> in{normal(chain.shape), normal(chain.shape)};
    const std::vector<Tensor> out{Tensor::empty(f32, chain.shape)};
    return least(50, [&] { run.run(in, out); });
  };
  const double few = time_of(20), many = time_of(220);
  print(std::string("per node: ") + std::string(chain.name) + std::string(note), (many - few) / 200,
        "ns");
}

void measure_runs() {
  const Expr x = input("x", f32, {16});
  const std::vector<Tensor> in{normal({16})}, out{Tensor::empty(f32, {16})};
  const Executable none = compile(std::vector{x}, std::vector<Expr>{});
  print("run without a node", least(1000, [&] { none.run(in, {}); }), "ns");
  const Executable one = compile({x}, {x + x});
  print("run of one add of 16 elements, output given", least(1000, [&] { one.run(in, out); }),
        "ns");
  print("the same, output returned", least(1000, [&] { one(in); }), "ns");
  const std::vector<Chain> chains{
      {"add", {16}, [](const Expr& y, const Expr& w) { return y + w; }},
      {"matmul 4x4", {4, 4}, [](const Expr& y, const Expr& w) { return matmul(y, w); }},
      {"softmax of 16", {16}, [](const Expr& y, const Expr&) { return softmax(y); }},
      {"transposed add 4x4", {4, 4}, [](const Expr& y, const Expr& w) { return transpose(y) + w; }},
  };
  CompileOptions unfused;
  unfused.fuse_elementwise = false;
  const int threads = num_threads();
  for (const int use : {1, threads}) {
    set_num_threads(use);
    const std::string note = use == 1 ? "" : ", " + std::to_string(use) + " threads";
    for (const Chain& chain : chains) measure_chain(chain, unfused, note);
    measure_chain(chains[0], {}, " (fused)" + note);
  }
}

void measure_attention() {
  const Shape shape{1, 16, 64};
  const Expr q = input("q", f32, shape), k = input("k", f32, shape), v = input("v", f32, shape);
  const Executable run = compile({q, k, v}, {attention(q, k, v)});
  const std::vector<Tensor> in{normal(shape), normal(shape), normal(shape)};
  const std::vector<Tensor> out{Tensor::empty(f32, shape)};
  print("attention (1, 16, 64), compiled, output given", least(200, [&] { run.run(in, out); }),
        "ns");
  print("attention (1, 16, 64), compiled, output returned", least(200, [&] { run(in); }), "ns");
  print("attention (1, 16, 64), eval",
        least(200, [&] { eval::attention({.q = in[0], .k = in[1], .v = in[2]}, {}, {true}); }),
        "ns");
}

void measure_fork_join() {
  if (num_threads() < 2) return;
  print("fork and join of all threads", least(1000, bench::run_fork_join, CLOCK_MONOTONIC), "ns");
}

void measure_compile() {
  const auto once = [](const std::function<void()>& call) {
    double best = 1e300;
    for (int i = 0; i < std::min(rounds, 20); ++i) {
      const double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
      call();
      best = std::min(best, seconds(CLOCK_THREAD_CPUTIME_ID) - begin);
    }
    return best * 1e3;
  };
  const Expr x = input("x", f32, {4, 16}), w = input("w", f32, {16, 16}), b = input("b", f32, {16});
  const auto layers = [&] {
    Expr y = x;
    for (int i = 0; i < 250; ++i) y = y + tanh(matmul(y, w) + b);
    return y;
  };
  Expr y;
  print("building 1,000 nodes (matmul, add, tanh, add)", once([&] { y = layers(); }), "ms");
  print("compiling them", once([&] { compile({x, w, b}, {y}); }), "ms");
  std::vector<Expr> d;
  const Expr loss = sum(y);
  print("differentiating them", once([&] { d = gradients(loss, {w, b}); }), "ms");
  print("compiling gradients of them", once([&] { compile({x, w, b}, {d[0], d[1]}); }), "ms");
}

double resident() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  long size = 0, pages = 0;
  if (file == nullptr || std::fscanf(file, "%ld %ld", &size, &pages) != 2) pages = 0;
  if (file != nullptr) std::fclose(file);
  return static_cast<double>(pages) * 4096;
}

void measure_long_chain(int nodes, const Link& link, std::string_view name) {
  const Shape shape{4, 4};
  const Expr x = input("x", f32, shape), w = input("w", f32, shape);
  const std::vector<Tensor> in{normal(shape), normal(shape)};
  const auto step = [&](std::string_view what, const std::function<void()>& call) {
    const double begin = seconds(CLOCK_THREAD_CPUTIME_ID), bytes = resident();
    call();
    const double us = (seconds(CLOCK_THREAD_CPUTIME_ID) - begin) * 1e6 / nodes;
    std::printf("%-12.*s %-24.*s %8.2f us and %8.0f bytes per node\n",
                static_cast<int>(name.size()), name.data(), static_cast<int>(what.size()),
                what.data(), us, (resident() - bytes) / nodes);
    std::fflush(stdout);
  };
  Expr y = x;
  std::vector<Expr> d;
  std::vector<Executable> run;
  step("build", [&] {
    for (int i = 0; i < nodes; ++i) y = link(y, w);
  });
  step("compile", [&] { run.push_back(compile({x, w}, {y})); });
  step("first run", [&] { run[0](in); });
  step("second run", [&] { run[0](in); });
  step("destroy the plan", [&] { run.clear(); });
  step("gradients", [&] { d = gradients(sum(y), {x}); });
  step("compile gradients", [&] { run.push_back(compile({x, w}, {d[0]})); });
  step("run gradients", [&] { run[0](in); });
  step("destroy all", [&] {
    run.clear();
    d.clear();
    y = Expr();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument == "--once") rounds = 1;
  measure_runs();
  measure_attention();
  measure_fork_join();
  measure_compile();
  const int nodes = argument == "--long" ? 1'000'000 : 10'000;
  measure_long_chain(
      nodes, [](const Expr& y, const Expr& w) { return y + w; }, "add");
  measure_long_chain(
      nodes, [](const Expr& y, const Expr& w) { return tanh(matmul(y, w)); }, "matmul, tanh");
  return 0;
}
