#include "fovea/graph/laws.h"

#include <doctest/doctest.h>

#include <string>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/jvp.h"
#include "wrong_ops.h"

namespace fovea {
namespace {

template <class... Ops>
Registry registry_of() {
  Registry registry;
  (registry.add<Ops>(), ...);
  return registry;
}

TEST_CASE("every built-in op keeps every law") {
  const Registry registry = Registry::builtin();
  for (const OpType* type : registry.types()) {
    SUBCASE(std::string(type->name).c_str()) {
      const LawReport report = check_laws(*type);
      CHECK_MESSAGE(report.passed(), to_string(report));
    }
  }
}

TEST_CASE("every law is checked on some built-in op") {
  std::vector<std::int64_t> cases(laws().size());
  const Registry registry = Registry::builtin();
  for (const OpType* type : registry.types()) {
    for (const Law& law : laws()) {
      // Differentiation is slow; one op with two inputs has a case for each of its laws.
      const bool numeric = law.number == 4 || law.number == 6 || law.number == 12;
      if (numeric && type->name != "mul") continue;
      cases[static_cast<std::size_t>(law.number - 1)] +=
          check_laws(*type, {.only = {law.number}}).cases[static_cast<std::size_t>(law.number - 1)];
    }
  }
  for (const Law& law : laws()) {
    CAPTURE(law.number);
    CHECK(cases[static_cast<std::size_t>(law.number - 1)] > 0);
  }
}

TEST_CASE("a law without a case is a failure") {
  const LawReport report = check_laws(registry_of<wrong::Honest>());
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].law == 12);
  CHECK(report.failures[0].op.empty());
  CHECK(check_laws(registry_of<wrong::Honest, wrong::HonestRows>()).passed());
}

TEST_CASE("reports name the op, the sample and what differs") {
  const LawReport report = check_laws(op_type<wrong::ForgetsFactor>(), {.only = {4}});
  REQUIRE(report.failures.size() == 1);
  const std::string text = to_string(report);
  CHECK(text.find("law 4: wrong: gradient of wrong.x at [") != std::string::npos);
  CHECK(text.find("analytic") != std::string::npos);
  for (std::size_t begin = 0; begin < text.find("law 4:");) {
    const std::size_t end = text.find('\n', begin);
    CHECK(end - begin <= 100);
    begin = end + 1;
  }
}

// Only the law meant for it is run, so that it is this law that catches the op.
template <class Op>
void check_caught(int law) {
  const LawReport report = check_laws(op_type<Op>(), {.only = {law}});
  CAPTURE(law);
  CHECK(report.broken(law));
}

TEST_CASE("honest ops pass all laws") {
  for (const OpType* type : {&op_type<wrong::Honest>(), &op_type<wrong::HonestRows>()}) {
    const LawReport report = check_laws(*type);
    CHECK_MESSAGE(report.passed(), to_string(report));
  }
}

TEST_CASE("wrong results are caught") {
  using namespace wrong;
  check_caught<LastNotFilled>(1);
  check_caught<PromisesNarrow>(1);
  check_caught<PromisesLess>(1);
  check_caught<ReadsAfterWriting>(1);
  check_caught<IgnoresStrides>(7);
  check_caught<ChangesInput>(8);
  check_caught<Forgetful>(8);
  check_caught<CountsThreads>(8);
  check_caught<RoughInF32>(9);
  if (kernels::available_isas().size() > 1) check_caught<DependsOnIsa>(10);
}

// An op that writes where it may not has one failure, says what it did, and is not run again: the
// gradient checker does not either.
template <class Op>
void check_stopped(int law, const std::string& text) {
  for (const std::vector<int>& only : {std::vector<int>{}, {law}, {4}}) {
    const LawReport report = check_laws(op_type<Op>(), {.only = only});
    CAPTURE(to_string(report));
    REQUIRE(report.failures.size() == 1);
    CHECK(report.failures[0].law == law);
    CHECK(report.failures[0].text.find(text) != std::string::npos);
    CHECK(report.failures[0].sample == "sample 1");
  }
  const GradientReport gradients = check_op(op_type<Op>());
  CAPTURE(to_string(gradients));
  CHECK(gradients.verdict() == Verdict::fail);
  CHECK(to_string(gradients).find("sample 1: " + text) != std::string::npos);
  CHECK_FALSE(check_contracts(op_type<Op>()).empty());
}

TEST_CASE("ops that write into what is not theirs are stopped") {
  using namespace wrong;
  check_stopped<WritesBeyond>(1, "output 0 is written beyond its end; infer promised f64 (3, 2)");
  check_stopped<WritesFarBeyond>(1, "output 0 is written beyond its end; infer promised f64 (1,)");
  check_stopped<ChangesInput>(8, "input 0 was changed at [0, 0]: ");
  check_stopped<MakesInputPositive>(8, "input 0 was changed at [0, ");
}

TEST_CASE("wrong refusals are caught") {
  using namespace wrong;
  check_caught<RefusesNothing>(2);
  check_caught<RefusesWithoutReason>(2);
  check_caught<RefusesAnonymously>(2);
  check_caught<ThrowsOther>(2);
}

TEST_CASE("wrong gradients are caught") {
  using namespace wrong;
  check_caught<GradientOfOtherShape>(3);
  check_caught<NotReduced>(3);
  check_caught<ZeroGradient>(4);
  check_caught<NoGradient>(4);
  check_caught<WrongSign>(4);
  check_caught<SlightlyWrong>(4);
  check_caught<Transposed>(4);
  check_caught<ForgetsFactor>(4);
  check_caught<WrongInLastRow>(4);
  check_caught<SeesNothing>(4);
  check_caught<MissingTerm>(4);
  check_caught<MeanForSum>(4);
  check_caught<NeedsBoth>(4);
  check_caught<NonlinearGradient>(5);
  check_caught<NanTimesZero>(5);
  check_caught<WrongSecond>(6);
  check_caught<SharedInputOnce>(12);
}

TEST_CASE("wrong descriptions are caught") {
  using namespace wrong;
  check_caught<LosesAttribute>(11);
  check_caught<WrongForwardMode>(13);
  check_caught<NotLinear>(13);
  check_caught<NotJointlyLinear>(6);
  check_caught<WrongDecomposition>(13);
  check_caught<DecompositionOfOtherShape>(13);
  check_caught<NoDoc>(14);
  check_caught<NoHelp>(14);
  check_caught<OneSample>(14);
  check_caught<NoRejects>(14);
}

TEST_CASE("what contradicts is in the text") {
  const LawReport second = check_laws(op_type<wrong::NotJointlyLinear>(), {.only = {6}});
  const std::string text = to_string(second);
  CAPTURE(text);
  CHECK(text.find(", forward ") != std::string::npos);
  CHECK(text.find("(forward mode follows from `linear`): FAIL") != std::string::npos);
  CHECK_THROWS_WITH_AS(eval::apply(wrong::MisspeltInfer{}, {Tensor::zeros(f64, {2})}),
                       "misspelt: it has neither infer nor decomposition, spelt and typed as op.h "
                       "says; its outputs' shapes must come from one of them",
                       Error);
}

TEST_CASE("every built-in op with a gradient has forward mode too") {
  const Registry registry = Registry::builtin();
  for (const OpType* type : registry.types()) {
    CAPTURE(type->name);
    CHECK((!type->has_vjp || has_forward_mode(*type)));
  }
}

}  // namespace
}  // namespace fovea
