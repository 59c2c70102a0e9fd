// Measures the gradient checker: what it misses, and what it wrongly objects to.
//
//     bazel run -c opt //tests:mutation_report [-- --list | --seeds N]
//
// The first part damages every gradient rule of the registry (mutations.h), the second checks right
// functions that are hard to check (nasty.h). Exit status 0 only if no mutant survives and there is
// no false alarm.
#include <charconv>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/format.h"
#include "mutations.h"
#include "nasty.h"

namespace fovea::mutation {
namespace {

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

class Progress {
 public:
  Progress(std::string_view what, std::size_t count) : what_(what), count_(count) {}
  void step() {
    if (++done_ % (count_ / 100 + 1) != 0 && done_ != count_) return;
    std::fputs(
        format("\r{}: {} of {}{}", what_, done_, count_, done_ == count_ ? "\n" : "").c_str(),
        stderr);
  }

 private:
  std::string_view what_;
  std::size_t count_, done_ = 0;
};

struct Tally {
  int caught = 0, survived = 0, nothing = 0;
};

int report_mutants(std::uint64_t seed) {
  const std::vector<Mutant> all = mutants(Registry::builtin());
  std::map<std::string, Tally> tallies;
  std::vector<std::string> survivors;
  Tally total;
  Progress progress("mutations", all.size());
  for (const Mutant& mutant : all) {
    const Outcome outcome = try_mutant(mutant, seed);
    const std::string& name = mutant.mutation.name;
    Tally& tally = tallies[name.starts_with("forgets") ? "forgets an attribute" : name];
    if (outcome.samples == 0) {
      ++tally.nothing;
      ++total.nothing;
    } else if (outcome.caught == outcome.samples) {
      ++tally.caught;
      ++total.caught;
    } else {
      ++tally.survived;
      ++total.survived;
      survivors.push_back(format("{}: missed on {} of {} samples; {}", mutant.text(),
                                 outcome.samples - outcome.caught, outcome.samples,
                                 outcome.survivor));
    }
    progress.step();
  }
  print(
      format("{:<32} {:>7} {:>9} {:>17}\n", "mutation", "caught", "survived", "nothing to damage"));
  for (const auto& [name, tally] : tallies) {
    print(format("{:<32} {:>7} {:>9} {:>17}\n", name, tally.caught, tally.survived, tally.nothing));
  }
  for (const std::string& survivor : survivors) print("survivor: " + survivor + "\n");
  print(format("mutations: {} caught, {} survived\n", total.caught, total.survived));
  return total.survived;
}

int report_false_alarms(std::uint64_t seeds) {
  const std::span<const NastyFunction> all = nasty_functions();
  int alarms = 0, undecided = 0, checks = 0;
  Progress progress("right functions", all.size());
  for (const NastyFunction& function : all) {
    int failed = 0, open = 0;
    std::string first;
    for (std::uint64_t i = 0; i < seeds; ++i, ++checks) {
      const auto seed = static_cast<std::uint64_t>(checks);  // one of its own for each check
      const GradientReport report = check(function, seed);
      if (report.verdict() == Verdict::inconclusive) ++open;
      if (report.verdict() != Verdict::fail) continue;
      if (++failed == 1) first = format("seed {}:\n{}", seed, to_string(report));
    }
    if (failed > 0) print(format("false alarm: {}, {} times; {}\n", function.name, failed, first));
    if (open > 0) print(format("inconclusive: {}, {} of {}\n", function.name, open, seeds));
    alarms += failed;
    undecided += open;
    progress.step();
  }
  print(format("{} functions, {} seeds each; {} checks inconclusive\n", all.size(), seeds,
               undecided));
  print(format("false alarms: {} of {}\n", alarms, checks));
  return alarms;
}

}  // namespace
}  // namespace fovea::mutation

int main(int argc, char** argv) {
  using namespace fovea;
  using namespace fovea::mutation;
  std::uint64_t seeds = 20;  // for each function
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && arguments[0] == "--list") {
    for (const Mutant& mutant : mutants(Registry::builtin())) print(mutant.text() + "\n");
    return 0;
  }
  if (arguments.size() == 2 && arguments[0] == "--seeds") {
    const std::string_view text = arguments[1];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seeds);
    if (error != std::errc() || end != text.data() + text.size()) seeds = 0;
  }
  if ((!arguments.empty() && arguments[0] != "--seeds") || seeds == 0) {
    std::fputs("usage: mutation_report [--list | --seeds N]\n", stderr);
    return 2;
  }
  const int survived = report_mutants(0);
  const int alarms = report_false_alarms(seeds);
  return survived == 0 && alarms == 0 ? 0 : 1;
}
