// Models that are written: the text keeps what was read, and what it means.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "fovea/graph/model.h"
#include "fovea/tensor/error.h"
#include "tests/tensor/scratch.h"

using namespace fovea;

namespace {

std::vector<std::string> valid_models() {
  std::ifstream file("tests/graph/model/valid_models.txt");
  std::vector<std::string> models;
  bool head = true;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("=== ")) {
      models.emplace_back();
      head = false;
    } else if (!head) {
      models.back() += line + "\n";
    }
  }
  return models;
}

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Sizes sizes_for(const std::string& text) {
  return text.find("\"batch\": null") == text.npos ? Sizes{} : Sizes{{"batch", 3}};
}

}  // namespace

TEST_CASE("valid models load, run, and are the same when written and read") {
  const std::vector<std::string> models = valid_models();
  REQUIRE(models.size() > 5);
  for (const std::string& text : models) {
    CAPTURE(text);
    const Model model = Model::parse(text);
    const std::string written = model.to_json();
    const Model again = Model::parse(written);
    CHECK(again.to_json() == written);
    CHECK(again.name() == model.name());
    CHECK(again.doc() == model.doc());
    const BindOptions draw{.draw = true};
    const Session one = model.bind(sizes_for(text), draw);
    const Session other = again.bind(sizes_for(text), draw);
    if (!one.params().empty() && one.params()[0].origin != Origin::init) continue;
    const NamedTensors results = one.run(), results_again = other.run();
    REQUIRE(results.size() == results_again.size());
    for (const auto& [name, tensor] : results) {
      CHECK(equal_bits(tensor, results_again.at(name)));
    }
  }
}

TEST_CASE("every example, saved and loaded, is the same model and gives the same results") {
  const Scratch folder;
  std::vector<std::filesystem::path> examples;
  for (const char* at : {"examples", "examples/from_pytorch"}) {
    for (const auto& entry : std::filesystem::directory_iterator(at)) {
      if (entry.is_directory()) continue;
      // Copies: in a sandbox they are links, and weights may not be behind one.
      const std::filesystem::path copy = folder.path(entry.path().filename().string());
      std::filesystem::copy_file(entry.path(), copy);
      if (copy.extension() == ".json") examples.push_back(copy);
    }
  }
  REQUIRE(examples.size() >= 6);
  for (const std::filesystem::path& path : examples) {
    CAPTURE(path.string());
    const Model model = Model::load(path.string());
    const std::string saved = folder.path("saved.json");
    model.save(saved);
    CHECK(nlohmann::json::parse(text_of(saved)) == nlohmann::json::parse(text_of(path)));
    const bool open = text_of(path).find("\"length\": null") != std::string::npos;
    const Sizes sizes = open ? Sizes{{"batch", 2}, {"length", 5}} : Sizes{};
    const Session one = model.bind(sizes, {.draw = true});
    const Model again = Model::load(saved);
    CHECK(again.to_json() == model.to_json());
    CHECK(again.to_json() == text_of(saved));
    const Session other = again.bind(sizes, {.draw = true});
    const NamedTensors results = one.run(), results_again = other.run();
    REQUIRE(results.size() == results_again.size());
    for (const auto& [name, tensor] : results) {
      CHECK(equal_bits(tensor, results_again.at(name)));
    }
  }
}

TEST_CASE("nothing that a model says is lost") {
  // Whatever the format has: read, written, and read by an independent parser.
  const std::string text = R"j({
    "$schema": "model.schema.json", "fovea": 1, "name": "all", "doc": "of it", "seed": -7, "dtype": "f64",
    "dims": {"doc": "sizes", "n": 2, "m": "2*n", "open": null, "layers": 3},
    "inputs": {"doc": "in", "x": {"doc": "x", "shape": ["n", "m/2"], "dtype": "f64", "value": [[1, "nan"], ["inf", -2.5]]},
               "i": {"shape": ["open"], "dtype": "i64", "init": {"integers": {"low": -3, "high": 9223372036854775807}}}},
    "params": {"w": {"shape": ["n", "n"], "init": {"normal": {"mean": 1e-3, "std": 0.5, "doc": "small"}}, "from": "a.b/c"}},
    "constants": {"c": {"value": [], "dtype": "i64", "shape": [0, 2], "doc": "none"}, "t": true},
    "blocks": {"doc": "pieces", "b": {"doc": "b", "inputs": {"h": {"shape": ["n", 2]}},
      "params": {"p": {"shape": [2], "init": "ones", "from": "l.{i}.p"}},
      "nodes": [{"name": "o", "op": "mul", "inputs": {"b": "p", "a": "h"}, "doc": "n"}], "outputs": {"o": "o"}}},
    "nodes": [{"name": "s", "block": "b", "inputs": ["x"], "repeat": "layers", "share": false},
              {"name": "q", "op": "matmul", "inputs": ["s", "w"], "attrs": {"transpose_b": false}},
              {"name": "z", "op": "scale", "inputs": ["q"], "attrs": {"factor": "1/sqrt(m)"}}],
    "outputs": {"y": "z", "mid": "s.1.o", "i": "i"}})j";
  const std::string written = Model::parse(text).to_json();
  CHECK(nlohmann::json::parse(written) == nlohmann::json::parse(text));
  CHECK(Model::parse(written).to_json() == written);
}

TEST_CASE("dims, expressions, docs and numbers stay as they were") {
  const std::string text = R"j({"fovea":1,"doc":"a \"b\" \\ ü \u0007","dims":{"n":null,"m":"2*n"},
    "inputs":{"x":{"shape":["n","m / 2"],"doc":""}},"constants":{"a":1.0,"b":1e30,"c":[0.1,-0.0,3]},
    "nodes":[{"name":"y","op":"scale","inputs":["x"],"attrs":{"factor":"1/sqrt(m)"}}],
    "outputs":["y"]})j";
  const std::string written = Model::parse(text).to_json();
  for (const char* part :
       {R"j("n": null)j", R"j("m": "2*n")j", R"j("m / 2")j", R"j("1/sqrt(m)")j",
        R"j("a \"b\" \\ ü \u0007")j", R"j("a": 1.0)j", R"j(1e+30)j", R"j([0.1, -0.0, 3])j"}) {
    CAPTURE(part);
    CHECK(written.find(part) != written.npos);
  }
}

TEST_CASE("a written model is for people: what fits stands on one line, nothing is wider") {
  std::string value = "0";
  for (int i = 1; i < 200; ++i) value += ", " + std::to_string(i);
  const std::string written =
      Model::parse(
          R"({"fovea": 1, "constants": {"c": [)" + value +
          R"(]}, "nodes": [{"name": "y", "op": "add", "inputs": ["c", 1]}], "outputs": ["y"]})")
          .to_json();
  CHECK(written.find("{\"name\": \"y\", \"op\": \"add\", \"inputs\": [\"c\", 1]}") != written.npos);
  std::istringstream lines(written);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) CHECK(line.size() <= 100);
  CHECK(count < 30);
}

TEST_CASE("saving is complete or leaves the file as it was") {
  const Scratch folder;
  const Model model =
      Model::parse(R"({"fovea": 1, "constants": {"c": 1}, "nodes": [], "outputs": ["c"]})");
  model.save(folder.path("m.json"));
  CHECK(Model::load(folder.path("m.json")).to_json() == model.to_json());
  CHECK_THROWS_AS(model.save(folder.path("none/m.json")), Error);
  CHECK_THROWS_AS(model.save("/dev/full"), Error);
}
