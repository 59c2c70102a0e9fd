// Which instruction set the kernels use, and the table of what each one offers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "fovea/ops/kernels/table.h"

namespace fovea::kernels {

/// Instruction sets that kernels are compiled for, from the plainest to the widest. `avx2` includes
/// FMA. `avx2` and `avx512` give identical bits; `scalar` and `sse2` have no fused multiply-add and
/// may differ from them in the last place.
enum class Isa : std::uint8_t { scalar, sse2, avx2, avx512 };

/// `scalar`, `sse2`, `avx2`, `avx512`.
std::string_view name_of(Isa isa);

/// Those that this machine runs, in the order above; `scalar` is always there.
std::vector<Isa> available_isas();

/// The kernels compiled for `isa`, or null where this machine does not run them.
const Kernels* kernels_for(Isa isa);

/// The kernels in use: those of the innermost `ScopedIsa`, else of the environment's FOVEA_ISA,
/// else the widest available. Throws Error if FOVEA_ISA is unknown or not available here.
const Kernels& kernels();
Isa isa_in_use();

/// Makes `kernels()` give those of `isa` in the whole process while it lives, for tests. Nest them;
/// do not overlap them on several threads. Throws Error if this machine does not run them.
class ScopedIsa {
 public:
  explicit ScopedIsa(Isa isa);
  ~ScopedIsa();
  ScopedIsa(const ScopedIsa&) = delete;
  ScopedIsa& operator=(const ScopedIsa&) = delete;

 private:
  const Kernels* previous_;
};

}  // namespace fovea::kernels
