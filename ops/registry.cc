#include "fovea/ops/registry.h"

#include <algorithm>
#include <cctype>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

bool is_name(std::string_view text) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
  };
  return !text.empty() && std::ranges::all_of(text, word) && !(text[0] >= '0' && text[0] <= '9');
}

}  // namespace

void Registry::add(const OpType& type) {
  if (!is_name(type.name)) {
    fail("registry", "op name {}; letters, digits and _ are required, no digit first",
         quoted(type.name));
  }
  const auto at = std::ranges::lower_bound(types_, type.name, {}, &OpType::name);
  if (at != types_.end() && (*at)->name == type.name) {
    fail("registry", "there is an op \"{}\" already; names are unique", type.name);
  }
  types_.insert(at, &type);
}

const OpType* Registry::find(std::string_view name) const {
  const auto at = std::ranges::lower_bound(types_, name, {}, &OpType::name);
  return at != types_.end() && (*at)->name == name ? *at : nullptr;
}

const OpType& Registry::get(std::string_view name) const {
  if (const OpType* type = find(name)) return *type;
  std::vector<std::string> names;
  for (const OpType* type : types_) names.emplace_back(type->name);
  fail("registry", "unknown op {}{}", quoted(name), did_you_mean(name, names));
}

}  // namespace fovea
