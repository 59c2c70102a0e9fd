// Every message about a broken model, compared with a file that shows them all.

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "fovea/graph/model.h"

using namespace fovea;

namespace {

constexpr const char* kFile = "tests/graph/model/broken_models.txt";

struct Case {
  std::string name, model, messages;
};

// `=== name`, the model, `---`, the messages, an empty line.
std::vector<Case> read_cases(std::string& head) {
  std::ifstream file(kFile);
  std::vector<Case> cases;
  std::string* part = &head;
  bool in_model = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("=== ")) {
      cases.push_back({line.substr(4), {}, {}});
      part = &cases.back().model;
      in_model = true;
    } else if (line == "---" && in_model) {
      part = &cases.back().messages;
      in_model = false;
    } else if (!line.empty() || in_model) {
      *part += line + "\n";
    }
  }
  for (Case& one : cases) one.model.pop_back();  // the line's end before `---`
  return cases;
}

std::string messages_for(const std::string& text) {
  try {
    Model::parse(text, "tests/graph/model").bind();
  } catch (const Error& error) {
    std::string messages;
    for (const Diagnostic& diagnostic : error.diagnostics())
      messages += diagnostic.message() + "\n";
    return messages;
  }
  return "no error\n";
}

}  // namespace

TEST_CASE("every broken model gets its messages") {
  std::string head;
  std::vector<Case> cases = read_cases(head);
  REQUIRE(cases.size() > 100);
  std::string all = head;
  for (const Case& one : cases) {
    CAPTURE(one.name);
    const std::string messages = messages_for(one.model);
    CHECK(messages == one.messages);
    CHECK(messages != "no error\n");
    all += "\n=== " + one.name + "\n" + one.model + "\n---\n" + messages;
  }
  if (const char* update = std::getenv("FOVEA_UPDATE")) std::ofstream(update) << all;
}
