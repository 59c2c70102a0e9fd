#include "fovea/graph/gradcheck.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "fovea/graph/gradcheck_doctest.h"
#include "fovea/graph/numeric.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "wrong_ops.h"

namespace fovea {
namespace {

Derivative derivative_of(double (*f)(double), double x) {
  const auto change = [&](double step) {
    Change c;
    c.step = (x + step) - x;
    c.value = f(x + c.step) - f(x);
    c.noise =
        2 * std::numeric_limits<double>::epsilon() * (std::abs(f(x + c.step)) + std::abs(f(x)));
    c.usable = std::isfinite(c.value) && c.step != 0;
    return c;
  };
  return differentiate(change, 0x1p-4, std::min(0x1p-4, std::abs(x) / 2), 0);
}

TEST_CASE("numeric derivatives lie within their error bars, whatever the scale") {
  struct Case {
    double (*f)(double);
    double x, exact;
  };
  const Case cases[] = {
      {[](double x) { return std::exp(x); }, 1, std::exp(1.0)},
      {[](double x) { return std::sin(1000 * x); }, 0.3, 1000 * std::cos(300.0)},
      {[](double x) { return std::log(x); }, 1e-5, 1e5},
      {[](double x) { return std::sqrt(x); }, 0.01, 5},
      {[](double x) { return 1e-200 * x * x * x; }, 2, 12e-200},
      {[](double x) { return 1e6 + std::tanh(x); }, 0.5, 1 - std::pow(std::tanh(0.5), 2)},
      {[](double x) { return std::abs(x); }, 1e-3, 1},
      {[](double) { return 7.0; }, 0.1, 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.x);
    const Derivative d = derivative_of(c.f, c.x);
    CHECK(d.found);
    CHECK_FALSE(d.kink);
    CHECK(std::abs(d.value - c.exact) <= 2 * d.error + 1e-14 * std::abs(c.exact));
    CHECK(d.error <= 1e-6 * std::max(std::abs(c.exact), 1e-3));
  }
}

TEST_CASE("kinks, jumps and ends of domains are noticed") {
  const Derivative kink = derivative_of([](double x) { return x > 0 ? 3 * x : x; }, 0);
  CHECK(kink.kink);
  CHECK(kink.left == doctest::Approx(1));
  CHECK(kink.right == doctest::Approx(3));
  CHECK(derivative_of([](double x) { return x > 0 ? 1.0 : 0.0; }, 0).error > 1);
  CHECK_FALSE(derivative_of([](double x) { return std::sqrt(x); }, 0).found);
}

TEST_CASE("right gradients pass, element by element") {
  const Expr a = input("a", f64, {3, 4}), b = input("b", f64, {4});
  const GradientReport report = check_gradients(exp(a * b) / (1 + exp(b)), {a, b});
  CHECK(report.passed());
  REQUIRE(report.rows.size() == 2);
  CHECK(report.rows[0].name == "a");
  CHECK(report.rows[0].checked == 12);
  CHECK(report.rows[0].elements == 12);
  CHECK(report.rows[0].relative < 1e-9);
  CHECK_GRADIENTS(exp(a) * b, {a, b});
}

TEST_CASE("a graph in f32 is checked in f64, with the values given") {
  const Expr x = input("x", f32, {2});
  GradcheckOptions options;
  options.values = {{x, Tensor::from({0.5F, 2.0F}, {2})}};
  const GradientReport report = check_gradients(log(x), {x}, options);
  CHECK(report.passed());
  CHECK(report.rows[0].relative < 1e-9);
}

TEST_CASE("the softmax identity: sum(y) sees nothing, a random cotangent does") {
  const Expr x = input("x", f64, {2, 3});
  const Expr y = exp(x) / sum(exp(x), {.axes = 1, .keep_dims = true});
  const GradientReport all = check_gradients(sum(y), {x});
  CHECK(all.verdict() == Verdict::vacuous);
  CHECK_FALSE(all.passed());
  CHECK(check_gradients(y, {x}).passed());
}

TEST_CASE("large inputs are checked in part, and the report says so") {
  const Expr x = input("x", f64, {40, 50});
  const GradientReport report = check_gradients(sum(square(x), {.axes = 0}), {x});
  CHECK(report.passed());
  CHECK(report.rows[0].elements == 2000);
  CHECK(report.rows[0].checked > 10);
  CHECK(report.rows[0].checked < 100);
  CHECK(report.rows[0].directions > 0);
  CHECK(to_string(report).find("d/2000") != std::string::npos);
}

template <class Op>
GradientReport check_wrong(const Shape& shape) {
  const Expr x = input("x", f64, shape);
  return check_gradients(apply(Op{}, {x}, Location()).y, {x});
}

TEST_CASE("wrong gradients fail, with index and both values") {
  const GradientReport sign = check_wrong<wrong::WrongSign>({2, 3});
  CHECK(sign.verdict() == Verdict::fail);
  CHECK(sign.rows[0].analytic == doctest::Approx(-sign.rows[0].numeric));
  CHECK(sign.rows[0].worst.front() == '[');
  CHECK(to_string(sign).find("FAIL") != std::string::npos);
  CHECK(check_wrong<wrong::ZeroGradient>({2}).verdict() == Verdict::fail);
  CHECK(check_wrong<wrong::SlightlyWrong>({2}).verdict() == Verdict::fail);
  const GradientReport row = check_wrong<wrong::WrongInLastRow>({4, 2});
  CHECK(row.verdict() == Verdict::fail);
  CHECK(row.rows[0].worst.substr(0, 2) == "[3");
}

TEST_CASE("a wrong row of a large input is found by the directions") {
  CHECK(check_wrong<wrong::WrongInLastRow>({50, 20}).verdict() == Verdict::fail);
  CHECK(check_wrong<wrong::SlightlyWrong>({50, 20}).verdict() == Verdict::fail);
}

TEST_CASE("a gradient that is not finite fails; an output that is not is left out") {
  const Expr x = input("x", f64, {2});
  GradcheckOptions options;
  options.values = {{x, Tensor::from({0.0, 1.0}, {2})}};
  const GradientReport nan =
      check_gradients(apply(wrong::NanTimesZero{}, {x}, Location()).y, {x}, options);
  CHECK(nan.verdict() == Verdict::fail);
  const Expr hidden = constant(Tensor::from({-HUGE_VAL, 0.0}, {2}));
  const GradientReport infinite = check_gradients(x * x + hidden, {x}, options);
  CHECK(infinite.passed());
  REQUIRE(infinite.notes.size() == 1);
  CHECK(infinite.notes[0].find("1 of 2 values are not finite") != std::string::npos);
}

TEST_CASE("an element that is not finite cannot be moved; the others are checked") {
  const Expr x = input("x", f64, {3});
  GradcheckOptions options;
  options.values = {{x, Tensor::from({-HUGE_VAL, 0.0, 1.0}, {3})}};
  const GradientReport report = check_gradients(exp(x), {x}, options);
  CHECK(report.passed());
  CHECK(report.rows[0].checked == 2);
  CHECK(report.rows[0].fixed == 1);
  CHECK(to_string(report).find("1 elements that are not finite") != std::string::npos);
}

TEST_CASE("kinks are left out and counted; a value outside of both sides fails") {
  const Expr x = input("x", f64, {3});
  GradcheckOptions options;
  options.values = {{x, Tensor::from({0.0, 1.0, -2.0}, {3})}};
  const GradientReport report = check_gradients(abs(x), {x}, options);
  CHECK(report.passed());
  CHECK(report.rows[0].kinks == 1);
  CHECK(to_string(report).find("kinks were left out") != std::string::npos);
  options.values = {{x, Tensor::zeros(f64, {3})}};
  const GradientReport all = check_gradients(abs(x), {x}, options);
  CHECK(all.passed());
  CHECK(all.rows[0].kinks == 3);
  REQUIRE(all.rows[0].kinks_at.size() == 3);
  CHECK(all.rows[0].kinks_at[0].op == "abs [0]");
  CHECK(check_gradients(abs(x) + apply(wrong::NonlinearGradient{}, {x}, Location()).y * 1e8, {x},
                        options)
            .verdict() == Verdict::fail);
}

TEST_CASE("any expression can be wrt, an input may stand twice, an unused one is vacuous") {
  const Expr x = input("x", f64, {2}), unused = input("unused", f64, {2});
  const Expr y = exp(x);
  const GradientReport report = check_gradients(y * x, {y, x, x, unused});
  CHECK(report.passed());
  REQUIRE(report.rows.size() == 3);
  CHECK(report.rows[0].name == "exp");
  CHECK(report.rows[2].verdict == Verdict::vacuous);
}

TEST_CASE("nothing to differentiate is vacuous") {
  const Expr x = input("x", f64, {2}), empty = input("empty", f64, {0, 3});
  CHECK(check_gradients(isfinite(x), {x}).verdict() == Verdict::vacuous);
  CHECK(check_gradients(exp(empty), {empty}).verdict() == Verdict::vacuous);
}

TEST_CASE("tables fit 100 columns, whatever stands in them") {
  GradientReport report;
  GradientRow row;
  row.name = std::string(300, 'x');
  row.elements = row.checked = 123456789;
  row.directions = 12;
  row.absolute = row.relative = row.uncertainty = 1e-300;
  row.worst = "[1234567, 12345678, 12345678]";
  row.analytic = row.numeric = -1.23456789e-300;
  row.verdict = Verdict::inconclusive;
  report.rows = {row};
  std::istringstream lines(to_string(report));
  std::string line;
  for (int i = 0; i < 2; ++i) {
    REQUIRE(std::getline(lines, line));
    CHECK(line.size() <= 100);
  }
  CHECK(line.find("inconclusive") != std::string::npos);
}

TEST_CASE("ops are checked on all their samples") {
  const GradientReport report = check_op(op_type<wrong::HonestRows>());
  CHECK(report.passed());
  REQUIRE(report.rows.size() == 2);
  CHECK(report.rows[1].name == "wrong_rows.s");
  CHECK(report.rows[1].elements == 6);
  CHECK(check_op(op_type<wrong::MeanForSum>()).verdict() == Verdict::fail);
  CHECK(check_op(op_type<wrong::GradientOfOtherShape>()).verdict() == Verdict::fail);
  const GradientReport none = check_op(op_type<IsFinite>());
  CHECK(none.rows.empty());
  CHECK(none.notes.size() == 1);
}

TEST_CASE("masks that come from positions are decided once, equal positions too") {
  const Tensor positions = Tensor::from({0.0, 1.0, 2.0, 3.0, 4.0, 5.0}, {6});
  for (const DType real : {f32, f64}) {
    CAPTURE(real);
    const Expr s = input("s", real, {6, 6}), at = constant(positions.astype(real));
    const Expr i = reshape(at, {.shape = {6, 1}}), j = at - 2;
    GradcheckOptions contracts;
    contracts.contracts = true;
    const GradientReport report =
        check_gradients(where(greater_equal(i - j, 2), s, 0), {s}, contracts);
    CHECK_MESSAGE(report.passed(), to_string(report));
    // Thirds are rounded: the same in every evaluation in f64, but not in f32.
    const Expr row = at * (1.0 / 3), column = reshape(at / 3, {.shape = {6, 1}});
    const GradientReport thirds = check_gradients(where(greater_equal(column, row), s, 0), {s});
    CHECK_MESSAGE(thirds.rows[0].verdict == Verdict::pass, to_string(thirds));
    if (real == f64) continue;
    CHECK(thirds.rows[1].verdict == Verdict::inconclusive);
    CHECK(to_string(thirds).find("rounding in f32 may decide greater_equal [") !=
          std::string::npos);
  }
}

TEST_CASE("where rounding decides, the report says which comparison") {
  const Expr x = input("x", f64, {4});
  const Expr y = where(greater_equal(3 * x, x + x + x), exp(x), 0);
  const GradientReport report = check_gradients(y, {x});
  CHECK_FALSE(report.passed());
  CHECK_MESSAGE(to_string(report).find("rounding may decide greater_equal [") != std::string::npos,
                to_string(report));
}

TEST_CASE("what a failure looks like is said") {
  const auto text = [](const OpType& type) { return to_string(check_op(type)); };
  CHECK(text(op_type<wrong::AccumulatesInF32>())
            .find("values, not gradients, seem to be computed in f32") != std::string::npos);
  CHECK(text(op_type<wrong::NotJointlyLinear>())
            .find("forward mode, which follows from `linear = Linear::jointly`, is wrong") !=
        std::string::npos);
  CHECK(text(op_type<wrong::WrongSign>()).find("the gradient is wrong\n") != std::string::npos);
  CHECK(text(op_type<wrong::Throws>()).find("sample 2: scaled: boom") != std::string::npos);
}

TEST_CASE("names that are too long for the table keep what tells them apart") {
  GradientReport report;
  for (const char* name :
       {"model.layers.0.self.q_proj (f32)", "model.layers.1.self.q_proj (f32)",
        "model.layers.0.self.k_proj (f32)", "model.layers.1.self.k_proj (f32)", "x"}) {
    report.rows.emplace_back().name = name;
  }
  std::istringstream lines(to_string(report));
  std::vector<std::string> cells;
  std::string line;
  std::getline(lines, line);
  for (std::size_t i = 0; i < report.rows.size() && std::getline(lines, line); ++i) {
    cells.push_back(line.substr(0, 18));
  }
  CHECK(cells == std::vector<std::string>{"~0~lf.q_proj (f32)", "~1~lf.q_proj (f32)",
                                          "~0~lf.k_proj (f32)", "~1~lf.k_proj (f32)",
                                          "x                 "});
}

TEST_CASE("a derivative that is refused says where") {
  const Expr q = input("q", f64, {3, 2});
  GradcheckOptions second;
  second.order = 2;
  Attention fused;
  fused.require = Require::fused;
  const Expr y = apply(fused, {q, q, q}, Location("model.json:7:5: /nodes/1")).y;
  CHECK_THROWS_WITH_AS(check_gradients(y, {q}, second),
                       doctest::Contains("model.json:7:5: /nodes/1: attention"), Error);
}

TEST_CASE("values of other shapes, and wrt that are no floats, are refused") {
  const Expr x = input("x", f64, {2}), n = input("n", i64, {2});
  GradcheckOptions options;
  options.values = {{x, Tensor::zeros(f64, {3})}};
  CHECK_THROWS_AS(check_gradients(x * x, {x}, options), Error);
  CHECK_THROWS_AS(check_gradients(x * x, {n}), Error);
}

}  // namespace
}  // namespace fovea
