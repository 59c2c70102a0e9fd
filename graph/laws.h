// The laws that every op keeps, checked on its samples: no test is written per op. A user's own op,
// once in a registry, is checked by the same call as the built-in ones.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/ops/registry.h"

namespace fovea {

/// One law: what it says, to what it applies, and how exactly it is meant.
struct Law {
  int number;
  std::string_view sentence;
  std::string_view applies;
  std::string_view tolerance;
};
/// All laws, by number from 1.
std::span<const Law> laws();

struct LawOptions {
  std::uint64_t seed = 0;
  std::vector<int> only = {};  ///< numbers of the laws to check; empty means all
  /// Called with each op's name before it is checked.
  std::function<void(std::string_view)> progress = {};
};

/// A law that does not hold.
struct LawFailure {
  int law = 0;
  std::string op;
  std::string sample;  ///< `sample 2: both broadcast`, `reject 1`, or empty
  std::string text;    ///< what differed: index, values, bounds
};

struct LawReport {
  std::vector<std::int64_t> cases;  ///< of law n at n - 1: how often it was checked
  std::vector<LawFailure> failures;
  std::uint64_t seed = 0;

  bool passed() const { return failures.empty(); }
  /// Whether law `number` has a failure.
  bool broken(int number) const;
};

/// A table of the laws with their cases and failures, then the failures; at most 100 columns but
/// for the failures' own text.
std::string to_string(const LawReport& report);

/// Checks every law on every op. A law that ran on no case at all is a failure too: its `op` is
/// empty. While it runs, the number of threads and the instruction set of the process are changed.
/// Ops that are wrong make failures, never exceptions. An op whose forward writes beyond its
/// outputs (as far as guards around them reach) or into its inputs is not run again: it has that
/// failure, of law 1 or 8 whatever `only` says, and no other.
LawReport check_laws(const Registry& registry, const LawOptions& options = {});
/// The same for one op; laws that do not apply to it have no cases.
LawReport check_laws(const OpType& type, const LawOptions& options = {});

}  // namespace fovea
