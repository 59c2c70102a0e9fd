// The models in examples/ give what their docs say.

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "fovea/graph/model.h"

using namespace fovea;

namespace {

void check_close(const Tensor& tensor, const std::vector<double>& expected, double tolerance) {
  const std::vector<double> values = tensor.astype(f64).to_vector<double>();
  REQUIRE(values.size() == expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(values[i] - expected[i]) <= tolerance);
  }
}

NamedTensors run(const std::string& name, DType dtype) {
  return Model::load("examples/" + name).bind({}, {.dtype = dtype}).run();
}

}  // namespace

// The expected values have 9 decimals; f32 has 24 bits.
TEST_CASE("the worked examples") {
  for (const auto& [dtype, ulp] : {std::pair{f64, 5e-10}, std::pair{f32, 1e-6}}) {
    check_close(run("worked_1.json", dtype).at("y"),
                {0.317277336, 0.417277336, 0.517277336, 0.342637138, 0.442637138, 0.542637138},
                ulp);
    check_close(run("worked_2.json", dtype).at("y"),
                {10.971667928, 11.971667928, 10.999899605, 11.999899605}, 12 * ulp);
  }
}

TEST_CASE("attention: the token before, and the mean of all so far") {
  const NamedTensors out = run("attention.json", f32);
  check_close(out.at("y"), {10, 10, 10, 15, 20, 20, 30, 25}, 1e-5);
  const Tensor& attends = out.at("attends");
  for (std::int64_t head = 0; head < 2; ++head) {
    for (std::int64_t i = 0; i < 4; ++i) {
      for (std::int64_t j = i + 1; j < 4; ++j) CHECK(attends.at<float>({0, head, i, j}) == 0);
    }
  }
  CHECK(attends.at<float>({0, 0, 3, 2}) == 1);
}

TEST_CASE("cross-attention: masks and lengths hide keys") {
  const NamedTensors out = run("cross_attention.json", f32);
  check_close(out.at("y"), {2, 8.0 / 3, 10, 10}, 1e-5);
}
