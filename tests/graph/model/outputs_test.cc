// Ops without inputs and with a number of outputs that depends on their attributes, in models.
#include <doctest/doctest.h>

#include <string>

#include "fovea/graph/model.h"
#include "fovea/tensor/error.h"

using namespace fovea;

namespace {

std::string error_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// `{}` stands for the nodes, then the outputs.
Model model(const std::string& nodes, const std::string& outputs) {
  return Model::parse(R"({"fovea": 1, "dims": {"width": null, "heads": 2},
  "inputs": {"x": {"shape": [2, "3*width"]}},
  "nodes": [)" + nodes +
                      R"(], "outputs": )" + outputs + "}");
}

const Tensor& six() {
  static const Tensor x = Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {2, 6});
  return x;
}

std::vector<float> numbers(const Model& m, const Tensor& x, const std::string& output) {
  return m.bind({{"width", x.shape()[1] / 3}}).run({{"x", x}}).at(output).to_vector<float>();
}

TEST_CASE("the pieces of a split are s.0, s.1, and s is s.0; sizes are expressions of dims") {
  const Model m = model(R"({"name": "s", "op": "split", "inputs": ["x"],
    "attrs": {"axis": 1, "sizes": ["width", "2*width - 1", 1]}})",
                        R"({"first": "s", "again": "s.0", "second": "s.1", "last": "s.2"})");
  CHECK(numbers(m, six(), "first") == std::vector<float>{1, 2, 7, 8});
  CHECK(numbers(m, six(), "again") == std::vector<float>{1, 2, 7, 8});
  CHECK(numbers(m, six(), "second") == std::vector<float>{3, 4, 5, 9, 10, 11});
  CHECK(numbers(m, six(), "last") == std::vector<float>{6, 12});
}

TEST_CASE("parts may be an expression too") {
  const Model m = model(R"({"name": "s", "op": "split", "inputs": ["x"],
    "attrs": {"axis": -1, "parts": "3*heads"}})",
                        R"({"last": "s.5"})");
  CHECK(numbers(m, six(), "last") == std::vector<float>{6, 12});
}

TEST_CASE("pieces that there are not") {
  const std::string split = R"({"name": "s", "op": "split", "inputs": ["x"],
    "attrs": {"axis": 1, "parts": 3}})";
  const auto text = [&](const std::string& output) {
    return error_of([&] { model(split, output).bind({{"width", 2}}); });
  };
  CHECK(text(R"(["s.3"])").find("\"s.3\" names output 3 of split; there are 3") !=
        std::string::npos);
  CHECK(text(R"(["s.ys"])").find("unknown value \"s.ys\"; split gives 0, 1, …") !=
        std::string::npos);
  CHECK(text(R"(["s.-1"])").find("unknown value \"s.-1\"") != std::string::npos);
  CHECK(text(R"(["s.99999999999999999999"])").find("unknown value") != std::string::npos);
}

TEST_CASE("an op without inputs needs no list of them") {
  for (const char* inputs : {"", R"("inputs": [],)", R"("inputs": {},)"}) {
    const Model m = model(std::string(R"({"name": "i", "op": "iota", )") + inputs +
                              R"("attrs": {"extent": "3*width", "dtype": "f32"}},
    {"name": "y", "op": "add", "inputs": ["x", "i"]})",
                          R"(["y"])");
    CHECK(numbers(m, six(), "y") == std::vector<float>{1, 3, 5, 7, 9, 11, 7, 9, 11, 13, 15, 17});
  }
  const std::string text = error_of([] {
    model(R"({"name": "y", "op": "iota", "inputs": ["x"], "attrs": {"extent": 3}})", R"(["y"])");
  });
  CHECK(text.find("1 inputs; iota takes none") != std::string::npos);
}

}  // namespace
