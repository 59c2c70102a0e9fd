// The same cases under Google Benchmark, by name: --benchmark_filter=…, --benchmark_list_tests.
// They use the instruction set of FOVEA_ISA and the threads of FOVEA_THREADS. With --small, first,
// cases are as small as tests want them.
#include <benchmark/benchmark.h>

#include <string_view>

#include "bench/case.h"

int main(int argc, char** argv) {
  using fovea::bench::Size;
  const bool small = argc > 1 && std::string_view(argv[1]) == "--small";
  if (small) {
    --argc;
    argv[1] = argv[0];
    ++argv;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto cases = fovea::bench::all_cases(small ? Size::small : Size::full);
  for (const auto& c : cases) {
    benchmark::RegisterBenchmark(c.name().c_str(), [&c](benchmark::State& state) {
      const fovea::bench::Call call = c.prepare();
      for (auto _ : state) call();
      state.counters[c.unit] =
          benchmark::Counter(c.work / 1e9, benchmark::Counter::kIsIterationInvariantRate);
    })->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
}
