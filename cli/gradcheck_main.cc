#include "fovea/cli/gradcheck_main.h"

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/cli/main.h"

namespace {

// The names that `add_ops` adds, as --ops takes them.
std::string added_names(const fovea::Registry& all) {
  const fovea::Registry builtin = fovea::Registry::builtin();
  std::string names;
  for (const fovea::OpType* type : all.types()) {
    if (builtin.find(type->name) == nullptr) {
      names += (names.empty() ? "" : ",") + std::string(type->name);
    }
  }
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    fovea::Registry registry = fovea::Registry::builtin();
    fovea::add_ops(registry);
    std::vector<std::string> words = {argc > 0 ? argv[0] : "fovea", "gradcheck"};
    bool chosen = false;  // what is checked
    for (int i = 1; i < argc; ++i) {
      words.emplace_back(argv[i]);
      const std::string& word = words.back();
      // A file after an option is that option's: `--report x.json`.
      const std::string_view before = i > 1 ? argv[i - 1] : "";
      const bool is_value = before.starts_with("--") && before.find('=') == before.npos &&
                            before != "--edges" && before != "--laws" && before != "--quiet" &&
                            before != "--json";
      chosen = chosen || word.starts_with("--ops") || word == "--help" || word == "-h" ||
               (word.ends_with(".json") && !is_value);
    }
    if (!chosen) {
      words.emplace_back("--ops");
      words.push_back(added_names(registry));
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    return fovea::cli_main(static_cast<int>(words.size()), arguments.data(), registry);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
