// Messages about models whose dims are open: they name the dims, not what stood in for them.

#include <doctest/doctest.h>

#include <string>

#include "fovea/graph/model.h"
#include "tests/tensor/scratch.h"

using namespace fovea;

namespace {

// A model with one node `y`, which is given x (rows, 8, cols) and w (8, width).
std::string error_with(const std::string& node) {
  return error_of([&] {
    Model::parse(R"({"fovea": 1, "dims": {"rows": null, "cols": null, "width": "2*cols", "n": 8},
      "inputs": {"x": {"shape": ["rows", "n", "cols"]}, "w": {"shape": ["n", "width"]}},
      "nodes": [{"name": "both", "op": "concat", "inputs": ["x", "x"], "attrs": {"axis": 0}},
                {"name": "more", "op": "concat", "inputs": ["w", "w"], "attrs": {"axis": 1}},
                {"name": "flat", "op": "reshape", "inputs": ["x"], "attrs": {"shape": ["rows", -1]}},
                )" +
                 node + R"(], "outputs": ["both", "more", "flat", "y"]})");
  });
}

}  // namespace

TEST_CASE("shapes in messages have the names of open dims") {
  const auto says = [](const std::string& node, const char* part) {
    const std::string error = error_with(node);
    CAPTURE(error);
    CHECK(contains(error, part));
    for (const char* digits : {"5040", "10080", "7920", "720", "40320"}) {
      CHECK_FALSE(contains(error, digits));
    }
  };
  const auto node = [](const std::string& op, const std::string& inputs,
                       const std::string& attrs = "{}") {
    return R"({"name": "y", "op": ")" + op + R"(", "inputs": )" + inputs + R"(, "attrs": )" +
           attrs + "}";
  };
  const auto masked = [&](const std::string& mask) {
    return node("masked_matmul", R"(["w", "more", ")" + mask + R"("])");
  };
  says(masked("x"), "mask is f32 (rows, n=8, cols); bool is required");
  says(masked("both"), "mask is f32 (2*rows, n=8, cols)");
  says(masked("more"), "mask is f32 (n=8, 2*width)");
  says(masked("flat"), "mask is f32 (rows, 4*width)");
  says(node("softmax", R"(["more"])", R"({"axis": 5})"), "rank 2");
}

TEST_CASE(
    "a block's inputs are checked where they do not depend on open dims, and so is the block") {
  const auto error_with = [](const std::string& shape, const std::string& axis) {
    return error_of([&] {
      Model::parse(R"({"fovea": 1, "dims": {"n": null, "m": null}, "inputs": {"x": {"shape": )" +
                   shape + R"(}},
        "blocks": {"b": {"inputs": {"h": {"shape": ["n", 4]}},
          "nodes": [{"name": "y", "op": "softmax", "inputs": ["h"], "attrs": {"axis": )" +
                   axis +
                   R"(}}], "outputs": ["y"]}},
        "nodes": [{"name": "s", "block": "b", "inputs": ["x"], "repeat": "m"}], "outputs": ["s"]})");
    });
  };
  CHECK(error_with(R"(["n", 4])", "1").empty());
  CHECK(error_with(R"(["n", "m"])", "1").empty());
  CHECK(error_with(R"(["m", 4])", "1").empty());
  CHECK(contains(error_with(R"(["n", 3])", "1"),
                 "block \"b\": input \"h\" is f32 (n, 3); f32 (n, 4) is required"));
  CHECK(contains(error_with(R"(["m", 3])", "1"), "input \"h\" is f32 (m, 3)"));
  CHECK(contains(error_with(R"(["n"])", "1"), "input \"h\" is f32 (n,); f32 (n, 4) is required"));
  // Inside, too, though what is given may not fit.
  CHECK(contains(error_with(R"(["n", "m"])", "2"), "axis 2 at rank 2"));
}
