// Models at the limits: long chains and many repetitions are read, bound and taken apart in time
// that grows with their size, and on a stack that does not.

#include <doctest/doctest.h>

#include <string>

#include "fovea/graph/model.h"
#include "tests/tensor/scratch.h"

using namespace fovea;

namespace {

std::string chain(int nodes, const char* size) {
  std::string text = R"({"fovea": 1, "dims": {"n": )" + std::string(size) +
                     R"(}, "inputs": {"x": {"shape": ["n"]}}, "nodes": [)";
  // The last node first: each needs the one that stands behind it.
  for (int i = nodes; i > 0; --i) {
    text += R"({"name": "v)" + std::to_string(i) + R"(", "op": "neg", "inputs": [")" +
            (i == 1 ? "x" : "v" + std::to_string(i - 1)) + (i == 1 ? "\"]}" : "\"]},\n");
  }
  return text + R"(], "outputs": {"y": "v)" + std::to_string(nodes) + "\"}}";
}

std::string repeated(const std::string& times, const char* inner = "1") {
  return R"({"fovea": 1, "inputs": {"x": {"shape": [2]}},
    "blocks": {
      "b": {"inputs": {"h": {"shape": [2]}}, "params": {"w": {"shape": [2], "init": "ones"}},
        "nodes": [{"name": "y", "op": "mul", "inputs": ["h", "w"]}], "outputs": ["y"]},
      "c": {"inputs": {"h": {"shape": [2]}},
        "nodes": [{"name": "y", "block": "b", "inputs": ["h"], "repeat": )" +
         std::string(inner) + R"(}], "outputs": ["y"]}},
    "nodes": [{"name": "s", "block": "c", "inputs": ["x"], "repeat": )" +
         times + R"(}], "outputs": ["s"]})";
}

}  // namespace

TEST_CASE("a chain of 100,000 nodes") {
  const Session session = Model::parse(chain(100000, "3")).bind();
  CHECK(session.outputs()[0].second.shape() == Shape{3});
  CHECK(to_string(session.value("v1").shape()) == "(n=3,)");
  Model::parse(chain(50000, "null"));
}

TEST_CASE("50,000 repetitions, each with params of its own") {
  const Session session = Model::parse(repeated("50000")).bind();
  CHECK(session.params().size() == 50000);
  CHECK(session.params()[49999].name == "s.49999.y.0.w");
  CHECK(session.value("s.49999.y.0.w").shape() == Shape{2});
}

TEST_CASE("what passes a limit is refused, and says which") {
  CHECK(contains(error_of([&] { Model::parse(repeated("100001")); }), "at most 100000"));
  CHECK(contains(error_of([&] { Model::parse(repeated("1001", "1000")); }), "1000000 nodes"));
}
