#include "museum.h"

#include <doctest/doctest.h>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradients.h"
#include "fovea/tensor/random.h"

namespace fovea {
namespace {

bool numeric_disagrees(const GradientReport& report) {
  for (const GradientRow& row : report.rows) {
    for (const OracleFinding& finding : row.findings) {
      if (finding.oracle == Oracle::numeric && !finding.agrees) return true;
    }
  }
  return false;
}

// Caught by differences of the values alone, whatever the decomposition says.
template <class Op>
void check_caught() {
  const GradientReport report = check_op(op_type<Op>());
  INFO(Op::source);
  CHECK_MESSAGE(report.verdict() == Verdict::fail, to_string(report));
  CHECK_MESSAGE(numeric_disagrees(report), to_string(report));
}

TEST_CASE("gradient bugs of other projects are caught") {
  using namespace museum;
  check_caught<Gather>();
  check_caught<Renorm>();
  check_caught<Add1>();
  check_caught<LogSoftmaxPlus>();
  check_caught<MaskedAttention>();
  check_caught<CumProd>();
  check_caught<LayerNormWeight>();
  check_caught<RmsNorm>();
  check_caught<LayerNorm2d>();
  check_caught<GroupedHeads>();
  check_caught<PreNorm>();
}

TEST_CASE("a first gradient that is right and a second one that is not") {
  const GradientReport first = check_op(op_type<museum::Prod>());
  CHECK(first.verdict() == Verdict::vacuous);  // all zeros, as it should be
  GradcheckOptions second;
  second.order = 2;
  INFO(museum::Prod::source);
  const GradientReport report = check_op(op_type<museum::Prod>(), second);
  CHECK_MESSAGE(report.verdict() == Verdict::fail, to_string(report));
}

}  // namespace
}  // namespace fovea
