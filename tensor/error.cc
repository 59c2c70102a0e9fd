#include "fovea/tensor/error.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "fovea/tensor/format.h"

namespace fovea {

std::string Diagnostic::message() const {
  std::string message;
  for (const std::string* part : {&place, &op}) {
    if (!part->empty()) message += *part + ": ";
  }
  return message + text;
}

struct Error::Payload {
  std::vector<Diagnostic> diagnostics;
  std::string text;
};

Error::Error(std::vector<Diagnostic> diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (!text.empty()) text += '\n';
    text += diagnostic.message();
  }
  payload_ = std::make_shared<const Payload>(Payload{std::move(diagnostics), std::move(text)});
}

Error::Error(Diagnostic diagnostic) : Error(std::vector{std::move(diagnostic)}) {}

Error::Error(std::string_view where, std::string_view text)
    : Error(Diagnostic{.place = {}, .op = std::string(where), .text = std::string(text)}) {}

Error::Error(const Error&) noexcept = default;
Error& Error::operator=(const Error&) noexcept = default;
Error::~Error() = default;

const char* Error::what() const noexcept { return payload_->text.c_str(); }

const std::vector<Diagnostic>& Error::diagnostics() const noexcept { return payload_->diagnostics; }

Error Error::at(std::string_view place) const {
  std::vector<Diagnostic> placed = diagnostics();
  for (Diagnostic& diagnostic : placed) {
    if (diagnostic.place.empty()) diagnostic.place = place;
  }
  return Error(std::move(placed));
}

namespace {

// Levenshtein distance with one row of memory; a swap of neighbours counts as one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] =
          std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        next[j] = std::min(next[j], before[j - 2] + 1);
      }
    }
    std::swap(before, row);
    std::swap(row, next);
  }
  return row[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view given, const std::vector<std::string>& candidates) {
  if (given.size() > 80) return {};
  const std::string* best = nullptr;
  std::size_t least = std::max<std::size_t>(1, given.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 80) continue;
    const std::size_t distance = edit_distance(given, candidate);
    if (distance < least && distance < std::max(given.size(), candidate.size())) {
      least = distance;
      best = &candidate;
    }
  }
  return best ? format("; did you mean \"{}\"?", *best) : std::string();
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "\"";
  for (char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  // Never end inside a UTF-8 sequence.
  if (text.size() > kLongest) {
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();
    if (static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
    out += "…";
  }
  return out + "\"";
}

}  // namespace fovea
