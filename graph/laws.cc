#include "fovea/graph/laws.h"

#include <algorithm>
#include <array>
#include <exception>
#include <memory>

#include "fovea/graph/law_run.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr std::array kLaws{
    Law{1, "forward fills exactly the shape and dtype that infer promised",
        "all ops; each output alone where there are several; in place where `overwrites`",
        "the same bits from memory filled with NaN and with another pattern; guards untouched"},
    Law{2, "every reject throws Error with the op's name and the expected text", "all ops",
        "at infer or at the eager call, in f64"},
    Law{3, "gradients have their inputs' shapes and dtypes", "ops with a gradient",
        "exact; of ops that broadcast, shapes that the engine sums down"},
    Law{4, "gradients agree with numeric differentiation, for a random cotangent",
        "ops with a gradient; each output alone where there are several",
        "|analytic - numeric| <= error bar + 2^-31 max|gradient| (gradcheck.h)"},
    Law{5, "gradients are linear in the cotangent; a zero cotangent gives exact zeros",
        "ops with a gradient", "2^-31 max|gradient|; exact for zero"},
    Law{6, "second derivatives agree with numeric differentiation",
        "ops with a gradient and without `no_second_derivative`",
        "as law 4; at kinks of the gradient, beside them"},
    Law{7, "views give what contiguous copies give",
        "all ops: transposed, sliced, reversed and broadcast inputs, f64 and f32", "the same bits"},
    Law{8, "inputs stay; two runs, and 1, 2 and 3 threads, give the same bits", "all ops",
        "the same bits"},
    Law{9, "f32 agrees with f64", "all ops",
        "64 eps32 (|y| + condition), the condition from relative changes of the inputs"},
    Law{10, "every instruction set agrees with scalar", "all ops, f64 and f32",
        "64 eps (|y| + condition); avx2 and avx512 the same bits"},
    Law{11, "attributes survive JSON; unknown names and wrong types are refused", "all ops",
        "equal attributes, the same bits"},
    Law{12, "f(x, x) gives the sum of both gradients",
        "ops with a gradient, each two float inputs of one shape",
        "2^-31 max|gradient|; numerically as law 4"},
    Law{13, "decomposition and forward mode agree with forward and gradient",
        "ops with a decomposition beside forward, or with forward mode",
        "values 64 eps (|y| + condition), gradients 2^-31 max; <v, J u> 2^-40 of its terms"},
    Law{14, "doc, help of each attribute, two samples and a reject are there", "all ops", "exact"},
};

class Runner {
 public:
  explicit Runner(const LawOptions& options) : options_(options) {
    report_.cases.assign(kLaws.size(), 0);
    report_.seed = options.seed;
  }

  void run(const OpType& type) {
    if (options_.progress) options_.progress(type.name);
    check(2, type, "", [&](LawSink& sink) { check_rejects(type, sink); });
    check(14, type, "", [&](LawSink& sink) { check_documentation(type, sink); });
    std::vector<AnySample> samples;
    try {
      samples = type.samples();
    } catch (const std::exception& error) {
      add_failure(14, type, "", format("its samples cannot be made: {}", error.what()));
    }
    for (std::size_t i = 0; i < samples.size(); ++i) {
      if (!run_sample(type, samples[i], i)) return;
    }
    check(4, type, "", [&](LawSink& sink) { check_numerically(type, options_.seed, sink); });
  }

  void require_cases() {
    for (const Law& law : kLaws) {
      if (!wanted(law.number) || report_.cases[static_cast<std::size_t>(law.number - 1)] > 0) {
        continue;
      }
      report_.failures.push_back({law.number, "", "", "it was checked on no case at all"});
    }
  }

  LawReport take() { return std::move(report_); }

 private:
  bool wanted(int law) const {
    return options_.only.empty() || std::ranges::count(options_.only, law) > 0;
  }

  void add_failure(int law, const OpType& type, std::string sample, std::string text) {
    report_.failures.push_back({law, std::string(type.name), std::move(sample), std::move(text)});
  }

  template <class Check>
  void check(int law, const OpType& type, const std::string& sample, const Check& run) {
    if (!wanted(law)) return;
    LawSink sink(report_, law, std::string(type.name), sample);
    try {
      run(sink);
    } catch (const Trespass&) {
      throw;
    } catch (const std::exception& error) {
      sink.broken(format("it throws: {}", error.what()));
    }
  }

  // False for an op that must not be run again.
  bool run_sample(const OpType& type, const AnySample& sample, std::size_t index) {
    const std::string label =
        format("sample {}{}{}", index + 1, sample.text.empty() ? "" : ": ", sample.text);
    try {
      check_sample(type, SampleRun(type, sample, options_.seed, index), label);
    } catch (const Trespass& error) {
      add_failure(error.law(), type, label,
                  format("{}; what else holds of this op was not checked", error.what()));
      return false;
    } catch (const std::exception& error) {
      add_failure(1, type, label, format("it cannot be computed: {}", error.what()));
    }
    return true;
  }

  void check_sample(const OpType& type, const SampleRun& run, const std::string& label) {
    using Rule = void (*)(const SampleRun&, LawSink&);
    constexpr std::pair<int, Rule> rules[] = {
        {1, check_filling},     {3, check_gradient_shapes}, {4, check_each_output},
        {5, check_linearity},   {6, check_second_order},    {7, check_views},
        {8, check_determinism}, {9, check_narrow},          {10, check_instruction_sets},
        {11, check_attributes}, {12, check_shared_input},   {13, check_equivalents},
    };
    for (const auto& [law, rule] : rules) {
      check(law, type, label, [&, rule = rule](LawSink& sink) { rule(run, sink); });
    }
  }

  const LawOptions& options_;
  LawReport report_;
};

}  // namespace

std::span<const Law> laws() { return kLaws; }

bool LawReport::broken(int number) const {
  return std::ranges::any_of(failures, [&](const LawFailure& f) { return f.law == number; });
}

LawReport check_laws(const Registry& registry, const LawOptions& options) {
  Runner runner(options);
  for (const OpType* type : registry.types()) runner.run(*type);
  runner.require_cases();
  return runner.take();
}

LawReport check_laws(const OpType& type, const LawOptions& options) {
  Runner runner(options);
  runner.run(type);
  return runner.take();
}

std::string to_string(const LawReport& report) {
  std::string text = format("{:>3}  {:<72} {:>7} {:>8}\n", "law", "", "cases", "failures");
  for (const Law& law : kLaws) {
    const auto failures = std::ranges::count(report.failures, law.number, &LawFailure::law);
    text += format("{:>3}  {:<72} {:>7} {:>8}\n", law.number, law.sentence,
                   report.cases[static_cast<std::size_t>(law.number - 1)], failures);
  }
  for (const LawFailure& failure : report.failures) {
    text += format("law {}: {}{}{}: {}\n", failure.law, failure.op,
                   failure.op.empty() || failure.sample.empty() ? "" : ", ", failure.sample,
                   failure.text);
  }
  return text + format("{} failures; seed {}\n", report.failures.size(), report.seed);
}

}  // namespace fovea
