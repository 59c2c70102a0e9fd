// What is measured: one list of cases, which the report prints as a table, Google Benchmark runs by
// name, and the tests run once.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fovea/tensor/tensor.h"

namespace fovea::bench {

/// What is timed: everything that it needs is allocated and has run once.
struct Call {
  std::function<void()> run;
  std::size_t extra_bytes = 0;  ///< memory besides operands and results, as far as it is known

  template <std::invocable F>
  Call(F f) : run(std::move(f)) {}
  void operator()() const { run(); }
};

/// What a case's rate is compared with, in the same run.
enum class Yardstick {
  peak,       ///< the FMA rate of the same instruction set, dtype and number of threads
  read,       ///< reading as many bytes of memory once
  fork_join,  ///< a fork and join of all threads; with one thread, an empty call
  call,       ///< another call that does as much work, `Case::yardstick_call`
};

/// In which configurations the report has a case, besides the widest instruction set and AVX2 on
/// one thread.
struct Coverage {
  bool plain = false;     ///< also `sse2` and `scalar`
  bool parallel = false;  ///< also all threads
};

struct Case {
  std::string what;
  DType dtype = f32;
  // Extents, where they apply; a matrix product has m, n and k.
  std::optional<std::int64_t> batch = {}, heads = {}, kv_heads = {}, lq = {}, lk = {}, d = {},
                              m = {}, n = {}, k = {};
  bool causal = false;
  std::string mask = {};  ///< `bool`, `bias`, `window`; empty: none
  std::string note = {};  ///< for people: what the extents do not say

  std::string unit = "GFLOP/s";  ///< of the rate, 1e9 `work` per second
  double work = 0;               ///< of one call: floating-point operations, bytes, elements, runs
  double parts = 1;              ///< into which a call's time is divided
  Yardstick yardstick = Yardstick::peak;
  std::string yardstick_name = {};  ///< of `Yardstick::call`
  Coverage coverage = {};

  /// Another case whose call takes turns with this one's: what it costs more is measured call by
  /// call.
  std::function<Call()> beside = {};
  std::string beside_name = {};

  bool peer = false;  ///< a library that does not follow our instruction sets: measured once

  std::function<Call()> prepare;
  std::function<Call()> yardstick_call = {};

  /// `what dtype extents note`, unique in the list.
  std::string name() const;
};

/// How large cases are: `full` for figures, `small` for tests (the same code, lengths of at most
/// 256).
enum class Size { full, small };

// Each family appends its cases.
void add_attention_cases(std::vector<Case>& cases, Size size);
void add_gemm_cases(std::vector<Case>& cases, Size size);
void add_row_cases(std::vector<Case>& cases, Size size);
void add_overhead_cases(std::vector<Case>& cases, Size size);

std::vector<Case> all_cases(Size size);

/// Normal numbers (nearly: sums of uniform ones), the same on every run.
Tensor normals(DType dtype, const Shape& shape);

}  // namespace fovea::bench
