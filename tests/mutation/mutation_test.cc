#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include "mutations.h"
#include "nasty.h"

namespace fovea {
namespace {

TEST_CASE("the list of mutants is the one in the repository") {
  std::ifstream file("tests/mutation/mutants.txt");
  std::vector<std::string> stored, made;
  for (std::string line; std::getline(file, line);) stored.push_back(line);
  for (const auto& mutant : mutation::mutants(Registry::builtin())) made.push_back(mutant.text());
  INFO("bazel run //tests:mutation_report -- --list > tests/mutation/mutants.txt writes it anew");
  CHECK(stored == made);
}

// One mutation of each kind and op; `bazel run //tests:mutation_report` tries them all.
TEST_CASE("damaged gradient rules are caught") {
  const std::vector<mutation::Mutant> all = mutation::mutants(Registry::builtin());
  int tried = 0;
  for (std::size_t i = 0; i < all.size(); i += 7) {
    const mutation::Outcome outcome = mutation::try_mutant(all[i], 0);
    tried += outcome.samples;
    CHECK_MESSAGE(outcome.caught == outcome.samples, all[i].text(), ": ", outcome.survivor);
  }
  CHECK(tried > 0);
}

TEST_CASE("right functions that are hard to check do not fail") {
  for (const mutation::NastyFunction& function : mutation::nasty_functions()) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const GradientReport report = mutation::check(function, seed);
      CHECK_MESSAGE(report.verdict() != Verdict::fail, function.name, ", seed ", seed, "\n",
                    to_string(report));
    }
  }
}

}  // namespace
}  // namespace fovea
