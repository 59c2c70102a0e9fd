#include "fovea/ops/kernels/kernels.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>

#include "fovea/tensor/format.h"

namespace fovea::kernels {

namespace scalar {
void fill(Kernels& table);
}
namespace sse2 {
void fill(Kernels& table);
}
namespace avx2 {
void fill(Kernels& table);
}
namespace avx512 {
void fill(Kernels& table);
}

namespace {

struct Row {
  Isa isa;
  std::string_view name;
  bool (*runs_here)();
  void (*fill)(Kernels& table);
};

// xsimd's own detection reports no AVX on a machine that has it.
constexpr std::array kRows{
    Row{Isa::scalar, "scalar", [] { return true; }, scalar::fill},
    Row{Isa::sse2, "sse2", [] { return __builtin_cpu_supports("sse2") != 0; }, sse2::fill},
    Row{Isa::avx2, "avx2",
        [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, avx2::fill},
    Row{Isa::avx512, "avx512",
        [] {
          return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("fma");
        },
        avx512::fill},
};

using Tables = std::array<std::optional<Kernels>, kRows.size()>;

const Tables& tables() {
  static const Tables filled = [] {
    Tables all;
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      if (!kRows[i].runs_here()) continue;
      all[i].emplace().isa = kRows[i].isa;
      kRows[i].fill(*all[i]);
    }
    return all;
  }();
  return filled;
}

std::string available_names() {
  std::string names;
  for (const Isa isa : available_isas()) {
    if (!names.empty()) names += ", ";
    names += name_of(isa);
  }
  return names;
}

const Kernels* chosen_at_start() {
  const char* text = std::getenv("FOVEA_ISA");
  if (text == nullptr || *text == '\0') return kernels_for(available_isas().back());
  for (const Row& row : kRows) {
    if (row.name != text) continue;
    if (const Kernels* found = kernels_for(row.isa)) return found;
    fail("FOVEA_ISA", "this machine does not run {}; one of {} is required", row.name,
         available_names());
  }
  fail("FOVEA_ISA", "unknown instruction set {}; one of {} is required", quoted(text),
       available_names());
}

std::atomic<const Kernels*> in_use = nullptr;

}  // namespace

std::string_view name_of(Isa isa) { return kRows[static_cast<std::size_t>(isa)].name; }

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const auto& table : tables()) {
    if (table) isas.push_back(table->isa);
  }
  return isas;
}

const Kernels* kernels_for(Isa isa) {
  const auto& table = tables()[static_cast<std::size_t>(isa)];
  return table ? &*table : nullptr;
}

const Kernels& kernels() {
  if (const Kernels* known = in_use.load(std::memory_order_acquire)) return *known;
  const Kernels* expected = nullptr;
  const Kernels* start = chosen_at_start();
  in_use.compare_exchange_strong(expected, start);
  return expected != nullptr ? *expected : *start;
}

Isa isa_in_use() { return kernels().isa; }

ScopedIsa::ScopedIsa(Isa isa) : previous_(&kernels()) {
  const Kernels* wanted = kernels_for(isa);
  if (wanted == nullptr) {
    fail("ScopedIsa", "this machine does not run {}; one of {} is required", name_of(isa),
         available_names());
  }
  in_use.store(wanted, std::memory_order_release);
}

ScopedIsa::~ScopedIsa() { in_use.store(previous_, std::memory_order_release); }

}  // namespace fovea::kernels
