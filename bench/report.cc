// Measures every case and prints a table; with --json also writes the rows as JSON.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/case.h"
#include "bench/measure.h"
#include "bench/peers.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea::bench {

namespace {

struct Options {
  std::string json, only, isa;
  double seconds = 200;
};

// The instruction sets, widest first, on one thread; then all threads on the widest.
std::vector<Configuration> configurations(int all_threads) {
  std::vector<kernels::Isa> isas = kernels::available_isas();
  std::reverse(isas.begin(), isas.end());
  std::vector<Configuration> list;
  for (const kernels::Isa isa : isas) list.push_back({isa, 1});
  if (all_threads > 1) list.push_back({isas.front(), all_threads});
  return list;
}

bool covers(const Case& c, const Configuration& at) {
  if (at.threads > 1) return c.coverage.parallel;
  if (c.peer) return at.isa == kernels::available_isas().back();
  return at.isa >= kernels::Isa::avx2 || c.coverage.plain;
}

double extra_kib(const Configuration& at, const Measurement& m) {
  return static_cast<double>(m.extra_bytes) / 1024 / at.threads;
}

nlohmann::ordered_json json_of(const Case& c, const Configuration& at, const Measurement& m) {
  const auto extent = [](const std::optional<std::int64_t>& x) {
    return x ? nlohmann::ordered_json(*x) : nlohmann::ordered_json();
  };
  const bool flops = c.yardstick == Yardstick::peak;
  const auto flop_rate = [&](double rate) {
    return flops ? nlohmann::ordered_json(rate) : nlohmann::ordered_json();
  };
  return {{"what", c.what},
          {"dtype", name_of(c.dtype)},
          {"isa", kernels::name_of(at.isa)},
          {"threads", at.threads},
          {"batch", extent(c.batch)},
          {"heads", extent(c.heads)},
          {"kv_heads", extent(c.kv_heads)},
          {"lq", extent(c.lq)},
          {"lk", extent(c.lk)},
          {"d", extent(c.d)},
          {"causal", c.causal},
          {"mask", c.mask.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(c.mask)},
          {"ms", m.seconds * 1e3},
          {"gflops", flop_rate(m.rate)},
          {"peak_gflops", flop_rate(m.yardstick_rate)},
          {"fraction", m.fraction()},
          {"m", extent(c.m)},
          {"n", extent(c.n)},
          {"k", extent(c.k)},
          {"note", c.note},
          {"unit", c.unit},
          {"rate", m.rate},
          {"yardstick", m.yardstick},
          {"yardstick_rate", m.yardstick_rate},
          {"extra_kib_per_thread",
           m.extra_bytes > 0 ? nlohmann::ordered_json(extra_kib(at, m)) : nlohmann::ordered_json()},
          {"beside", c.beside ? nlohmann::ordered_json(c.beside_name) : nlohmann::ordered_json()},
          {"over_beside",
           m.over_beside ? nlohmann::ordered_json(*m.over_beside) : nlohmann::ordered_json()}};
}

std::string time_text(double seconds) {
  if (seconds >= 1e-3) return format("{:.3f} ms", seconds * 1e3);
  if (seconds >= 1e-6) return format("{:.3f} us", seconds * 1e6);
  return format("{:.1f} ns", seconds * 1e9);
}

void print(const Case& c, const Configuration& at, const Measurement& m) {
  std::cout << format("{:<6} {:>2}  {:<72} {:>11} {:>9.3g} of {:>9.3g} {:<8} {:>6.1f} %  {}",
                      kernels::name_of(at.isa), at.threads, c.name(), time_text(m.seconds), m.rate,
                      m.yardstick_rate, c.unit, 100 * m.fraction(), m.yardstick);
  if (m.extra_bytes > 0) std::cout << format("; {:.0f} KiB per thread", extra_kib(at, m));
  if (m.over_beside) std::cout << format("; {:.1f} % over {}", 100 * *m.over_beside, c.beside_name);
  std::cout << std::endl;
}

struct Row {
  Configuration at;
  const Case* c;
};

std::vector<Row> rows_of(const std::vector<Case>& cases, const Options& options) {
  std::vector<Row> rows;
  for (const Configuration& at : configurations(num_threads())) {
    if (!options.isa.empty() && kernels::name_of(at.isa) != options.isa) continue;
    for (const Case& c : cases) {
      if (covers(c, at) && c.name().find(options.only) != std::string::npos)
        rows.push_back({at, &c});
    }
  }
  return rows;
}

nlohmann::ordered_json measure_all(const std::vector<Case>& cases, const Options& options) {
  constexpr double kMost = 0.4;  // seconds for one row
  auto json = nlohmann::ordered_json::array();
  const std::vector<Row> rows = rows_of(cases, options);
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& [at, c] = rows[i];
    const kernels::ScopedIsa scope(at.isa);
    if (i == 0 || rows[i - 1].at.threads != at.threads) bind_threads(at.threads);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    const double left = std::max(0.0, options.seconds - spent.count());
    const Measurement m =
        measure(*c, at, std::min(kMost, left / static_cast<double>(rows.size() - i)));
    print(*c, at, m);
    json.push_back(json_of(*c, at, m));
  }
  return json;
}

// `bazel run` starts programs elsewhere and says where it was called.
std::string from_here(const std::string& path) {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  return folder == nullptr ? path : (std::filesystem::path(folder) / path).string();
}

int run(const Options& options) {
  peers();  // their threads are to start before this one is bound
  const std::vector<Case> cases = all_cases(Size::full);
  const nlohmann::ordered_json rows = measure_all(cases, options);
  if (options.json.empty()) return 0;
  std::ofstream file(from_here(options.json));
  file << rows.dump(1) << '\n';
  file.close();
  if (!file) {
    std::cerr << options.json << ": cannot be written\n";
    return 2;
  }
  return 0;
}

}  // namespace

}  // namespace fovea::bench

int main(int argc, char** argv) {
  fovea::bench::Options options;
  CLI::App app{"Measures Fovea beside the limits of this machine."};
  app.add_option("--json", options.json, "write the rows here");
  app.add_option("--only", options.only, "only cases whose name holds this text");
  app.add_option("--isa", options.isa, "only this instruction set");
  app.add_option("--seconds", options.seconds,
                 "time for all rows, as far as that is enough for three samples each")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    return fovea::bench::run(options);
  } catch (const fovea::Error& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
