#include "fovea/graph/model/mistakes.h"

#include <algorithm>

namespace fovea::model {

void Mistakes::keep(std::size_t order, Diagnostic diagnostic) {
  if (full()) return;
  if (seen_.emplace(diagnostic.place, diagnostic.text).second) {
    found_.push_back({order, std::move(diagnostic)});
    places_.insert(order);
  }
}

void Mistakes::add(const JsonValue& at, std::string text, std::string_view op) {
  keep(at.order(), {.place = at.place(), .op = std::string(op), .text = std::move(text)});
}

void Mistakes::add_key(const JsonValue& at, std::string text) {
  keep(at.order(), {.place = at.key_place(), .op = {}, .text = std::move(text)});
}

void Mistakes::add(const JsonValue& at, const Error& error) {
  for (Diagnostic diagnostic : error.diagnostics()) {
    if (diagnostic.place.empty()) diagnostic.place = at.place();
    keep(at.order(), std::move(diagnostic));
  }
}

void Mistakes::add(Diagnostic diagnostic) { keep(0, std::move(diagnostic)); }

void Mistakes::add_in(const std::string& file, const JsonValue& due_to, std::string text) {
  keep(due_to.order(), {.place = file, .op = {}, .text = std::move(text)});
}

bool Mistakes::contains(const JsonValue& at) const { return places_.contains(at.order()); }

std::vector<Diagnostic> Mistakes::sorted() const {
  std::vector<Found> found = found_;
  std::ranges::stable_sort(found, {}, &Found::order);
  std::vector<Diagnostic> diagnostics;
  for (Found& one : found) diagnostics.push_back(std::move(one.diagnostic));
  return diagnostics;
}

void Mistakes::throw_if_any() const {
  if (!empty()) throw Error(sorted());
}

void Mistakes::append(const Mistakes& other) {
  for (const Found& one : other.found_) keep(one.order, one.diagnostic);
}

}  // namespace fovea::model
