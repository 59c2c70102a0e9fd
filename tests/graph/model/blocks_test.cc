// Blocks: pieces of a model that are applied, and repeated.

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "fovea/graph/model.h"
#include "fovea/tensor/error.h"
#include "tests/tensor/scratch.h"

using namespace fovea;

namespace {

// y = x·w + c, n times; the mask-like input c stays the same.
std::string repeated(const std::string& options, const std::string& outputs,
                     const std::string& from = "") {
  return R"({"fovea": 1, "dims": {"n": 3},
    "inputs": {"x": {"shape": [2], "value": [1, 2]}, "c": {"shape": [2], "value": [10, 20]}},
    "blocks": {"step": {
      "inputs": {"h": {"shape": [2]}, "c": {"shape": [2]}},
      "params": {"w": {"shape": [2], "init": {"constant": 2})" +
         from + R"(}},
      "nodes": [{"name": "hw", "op": "mul", "inputs": ["h", "w"]},
                {"name": "z", "op": "add", "inputs": ["hw", "c"]}],
      "outputs": {"z": "z"}}},
    "nodes": [{"name": "s", "block": "step", "inputs": ["x", "c"])" +
         options + R"(}],
    "outputs": )" +
         outputs + "}";
}

std::vector<float> value(const Session& session, const std::string& name) {
  return session.compute(std::vector{session.value(name)})[0].to_vector<float>();
}

std::vector<std::string> params(const Session& session) {
  std::vector<std::string> names;
  for (const ModelValue& param : session.params()) names.push_back(param.name);
  return names;
}

}  // namespace

TEST_CASE("a block is applied once") {
  const Session session = Model::parse(repeated("", R"(["s", "s.hw"])")).bind();
  CHECK(value(session, "s") == std::vector<float>{12, 24});
  CHECK(value(session, "s.z") == std::vector<float>{12, 24});
  CHECK(value(session, "s.hw") == std::vector<float>{2, 4});
  CHECK(params(session) == std::vector<std::string>{"s.w"});
}

TEST_CASE("repetitions feed their outputs back; further inputs stay the same") {
  const Session session = Model::parse(repeated(R"(, "repeat": "n")", R"({"y": "s"})")).bind();
  CHECK(value(session, "s") == std::vector<float>{78, 156});
  CHECK(value(session, "s.0.z") == std::vector<float>{12, 24});
  CHECK(value(session, "s.1.hw") == std::vector<float>{24, 48});
  CHECK(value(session, "s.2.z") == std::vector<float>{78, 156});
  CHECK(params(session) == std::vector<std::string>{"s.0.w", "s.1.w", "s.2.w"});
  CHECK_THROWS_AS(session.value("s.3.z"), Error);
  CHECK_THROWS_AS(session.value("s.w"), Error);
}

TEST_CASE("no repetition passes the inputs through") {
  const Session session = Model::parse(repeated(R"(, "repeat": 0)", R"({"y": "s"})")).bind();
  CHECK(value(session, "s") == std::vector<float>{1, 2});
  CHECK(params(session).empty());
}

TEST_CASE("repetitions may share their params") {
  const Session session =
      Model::parse(repeated(R"(, "repeat": 3, "share": true)", R"({"y": "s"})")).bind();
  CHECK(value(session, "s") == std::vector<float>{78, 156});
  CHECK(params(session) == std::vector<std::string>{"s.w"});
  CHECK(value(session, "s.w") == std::vector<float>{2, 2});
}

TEST_CASE("a param's name in the weights file may hold the repetition's index") {
  Model model = Model::parse(
      repeated(R"(, "repeat": 2)", R"({"y": "s"})", R"(, "from": "layer.{i}.weight")"));
  model.set_weights({{"layer.0.weight", Tensor::full(f32, {2}, 1)},
                     {"layer.1.weight", Tensor::full(f32, {2}, 3)}});
  CHECK(value(model.bind(), "s") == std::vector<float>{43, 86});
}

TEST_CASE("{i} is the index of the innermost repetition that has params of its own") {
  // The product of the weights that are used: 2, 3 and 5 are l.0.w, l.1.w and l.2.w.
  const auto product = [](const std::string& outer, const std::string& inner, int weights) {
    Model model = Model::parse(
        R"({"fovea": 1, "inputs": {"x": {"shape": [1], "value": [1]}}, "blocks": {
          "b": {"inputs": {"h": {"shape": [1]}}, "params": {"w": {"shape": [1], "from": "l.{i}.w"}},
                "nodes": [{"name": "y", "op": "mul", "inputs": ["h", "w"]}], "outputs": ["y"]},
          "c": {"inputs": {"h": {"shape": [1]}},
                "nodes": [{"name": "y", "block": "b", "inputs": ["h"])" +
        inner + R"(}], "outputs": ["y"]}}, "nodes": [{"name": "s", "block": "c", "inputs": ["x"])" +
        outer + R"(}], "outputs": ["s"]})");
    NamedTensors all;
    for (int i = 0; i < weights; ++i) {
      all["l." + std::to_string(i) + ".w"] = Tensor::full(f32, {1}, std::array{2, 3, 5}[i]);
    }
    model.set_weights(all);
    return value(model.bind(), "s")[0];
  };
  const std::string twice = R"(, "repeat": 2)", thrice = R"(, "repeat": 3)";
  const std::string share = R"(, "share": true)";
  CHECK(product(twice, "", 2) == 2 * 3);
  CHECK(product("", thrice, 3) == 2 * 3 * 5);
  CHECK(product(twice, thrice, 3) == 30 * 30);
  CHECK(product(twice, thrice + share, 2) == 8 * 27);
  CHECK(contains(error_of([&] { product("", "", 1); }),
                 "nothing repeats the block that is applied at model:5:"));
  CHECK(contains(error_of([&] { product("", thrice + share, 1); }),
                 "or its repetitions share their params"));
  CHECK(contains(error_of([&] { product(share, thrice, 3); }), "\"share\" without \"repeat\""));
}

TEST_CASE("blocks apply blocks") {
  const Session session = Model::parse(R"({"fovea": 1,
    "inputs": {"x": {"shape": [1], "value": [1]}},
    "blocks": {
      "outer": {"inputs": {"h": {"shape": [1]}},
        "nodes": [{"name": "i", "block": "inner", "inputs": ["h"], "repeat": 2}],
        "outputs": {"o": "i"}},
      "inner": {"inputs": {"h": {"shape": [1]}},
        "params": {"w": {"shape": [1], "init": {"constant": 3}}},
        "nodes": [{"name": "z", "op": "mul", "inputs": ["h", "w"]}],
        "outputs": {"z": "z"}}},
    "nodes": [{"name": "s", "block": "outer", "inputs": ["x"], "repeat": 2}],
    "outputs": ["s"]})")
                              .bind();
  CHECK(value(session, "s") == std::vector<float>{81});
  CHECK(value(session, "s.1.i.0.z") == std::vector<float>{27});
  CHECK(value(session, "s.1.i") == std::vector<float>{81});
  CHECK(params(session) ==
        std::vector<std::string>{"s.0.i.0.w", "s.0.i.1.w", "s.1.i.0.w", "s.1.i.1.w"});
}
