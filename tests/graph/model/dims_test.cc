#include "fovea/graph/model/dims.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fovea/tensor/error.h"

using namespace fovea;

namespace {

constexpr auto kWhole = DimExpression::Kind::whole;
constexpr auto kReal = DimExpression::Kind::real;

std::int64_t whole(std::string_view text, std::vector<std::int64_t> values = {}) {
  return DimExpression::parse(text, kWhole).whole(values);
}

double real(std::string_view text, std::vector<std::int64_t> values = {}) {
  return DimExpression::parse(text, kReal).real(values);
}

}  // namespace

TEST_CASE("whole expressions follow the usual precedence") {
  CHECK(whole("7") == 7);
  CHECK(whole("1 + 2*3") == 7);
  CHECK(whole("(1 + 2)*3") == 9);
  CHECK(whole("20/2/5") == 2);
  CHECK(whole("10 - 2 - 3") == 5);
  CHECK(whole("-2*-3") == 6);
  CHECK(whole("a*b + a", {3, 5}) == 18);
  CHECK(whole("-9223372036854775807") == -9223372036854775807);
}

TEST_CASE("whole expressions are exact or refused") {
  CHECK_THROWS_AS(whole("7/2"), Error);
  CHECK_THROWS_AS(whole("7/0"), Error);
  CHECK_THROWS_AS(whole("a*a", {4000000000}), Error);
  CHECK_THROWS_AS(whole("a + 1", {9223372036854775807}), Error);
  CHECK_THROWS_AS(whole("(0 - 9223372036854775807 - 1)/(0 - 1)"), Error);
  CHECK_THROWS_AS(whole("9223372036854775808"), Error);
}

TEST_CASE("real expressions divide, and know sqrt and decimals") {
  CHECK(real("1/sqrt(width/heads)", {64, 4}) == 0.25);
  CHECK(real("3/2") == 1.5);
  CHECK(real("0.5*n", {3}) == 1.5);
  CHECK(real("sqrt(sqrt(16))") == 2);
  CHECK_THROWS_AS(real("1/0"), Error);
  CHECK_THROWS_AS(real("sqrt(0 - 1)"), Error);
  CHECK(real("2*sqrt", {3}) == 6);  // without brackets, a dim of that name
}

TEST_CASE("what is no expression is refused") {
  for (const char* text : {"", " ", "+", "1 +", "1 2", "(1", "1)", "a b", "2^3", "1.5", "sqrt(4)",
                           "f(1)", "a.b", "\"a\"", "1e3", "ä"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(DimExpression::parse(text, kWhole), Error);
  }
  CHECK_THROWS_AS(DimExpression::parse("1..5", kReal), Error);
  CHECK_THROWS_AS(DimExpression::parse(std::string(2000, '-') + "1", kWhole), Error);
  CHECK_THROWS_AS(DimExpression::parse(std::string(200, '(') + "1" + std::string(200, ')'), kWhole),
                  Error);
}

TEST_CASE("an extent is named by its expression, unless that is a number or long") {
  CHECK(DimExpression::parse("3*width", kWhole).whole(std::vector<std::int64_t>{4}).name() ==
        "3*width");
  CHECK(DimExpression::parse("3*4", kWhole).whole({}).name().empty());
  CHECK(*DimExpression::parse("n", kWhole).bare_name() == "n");
  CHECK(DimExpression::parse("n + n", kWhole).bare_name() == nullptr);
  CHECK(DimExpression::parse("n + n", kWhole).names() == std::vector<std::string>{"n"});
}
