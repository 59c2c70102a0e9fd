// Models that are written: the text keeps what was read, and what it means.

#include <doctest/doctest.h>

#include <fstream>
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
    const Session one = model.bind(sizes_for(text)), other = again.bind(sizes_for(text));
    if (!one.params().empty() && one.params()[0].origin != Origin::init) continue;
    const NamedTensors results = one.run(), results_again = other.run();
    REQUIRE(results.size() == results_again.size());
    for (const auto& [name, tensor] : results) {
      CHECK(equal_bits(tensor, results_again.at(name)));
    }
  }
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
