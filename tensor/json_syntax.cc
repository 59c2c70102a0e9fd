#include "fovea/tensor/json_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "fovea/tensor/error.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr std::string_view kValue = "a value is required";
constexpr std::string_view kObject = "a comma or } is required";
constexpr std::string_view kList = "a comma or ] is required";

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return std::isalnum(byte) != 0 || byte >= 0x80 ||
         std::string_view("_.+-").find(c) != std::string_view::npos;
}

// The word at `token`, or the one character that stands there.
std::string_view word_at(std::string_view text, std::size_t token) {
  const std::string_view rest = text.substr(token);
  const auto* end = std::ranges::find_if_not(rest, is_word);
  return rest.substr(0, std::max<std::size_t>(1, static_cast<std::size_t>(end - rest.begin())));
}

// The part of the parser's message between its context and its quotation of what it read.
std::string_view reason_of(std::string_view what) {
  const std::size_t context = what.find("while parsing ");
  if (context == what.npos) return what;
  const std::size_t begin = what.find(" - ", context);
  if (begin == what.npos) return what;
  const std::string_view reason = what.substr(begin + 3);
  return reason.substr(0, reason.find("; last read"));
}

// What the parser would have taken.
std::string_view required(std::string_view what) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kExpected{
      {{"string literal", "a key in double quotes is required"},
       {"':'", "a colon is required behind a key"},
       {"'}'", kObject},
       {"']'", kList},
       {"end of input", "nothing may follow the value"}}};
  constexpr std::string_view kBefore = "; expected ";
  const std::size_t at = what.rfind(kBefore);
  for (const auto& [expected, text] : kExpected) {
    if (at != what.npos && what.substr(at + kBefore.size()) == expected) return text;
  }
  return kValue;
}

// What people write who are used to another language; empty if it is nothing of the kind.
std::string_view likely_cause(std::string_view before, std::string_view word,
                              std::string_view required) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kWords{
      {{"True", "it is true in JSON"},
       {"False", "it is false in JSON"},
       {"None", "it is null in JSON"},
       {"NaN", "write \"nan\""},
       {"nan", "write \"nan\""},
       {"inf", "write \"inf\""},
       {"Infinity", "write \"inf\""},
       {"-inf", "write \"-inf\""},
       {"-Infinity", "write \"-inf\""},
       {"'", "texts stand in double quotes"},
       {"/", "JSON has no comments; a \"doc\" is allowed everywhere"},
       {"#", "JSON has no comments; a \"doc\" is allowed everywhere"}}};
  const auto* known =
      std::ranges::find(kWords, word, &std::pair<std::string_view, std::string_view>::first);
  if (known != kWords.end()) return known->second;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const std::size_t last = before.find_last_not_of(" \t\r\n");
  if ((word == "}" || word == "]") && last != before.npos && before[last] == ',') {
    return "remove the comma before it";
  }
  const bool in_number = last != before.npos && last + 1 == before.size() && digit(before[last]);
  if (in_number || (required == kValue && (digit(word[0]) || word.find_first_of("+-.") == 0))) {
    return "numbers look like 1, 0.5 or -2e-3";
  }
  if ((required == kObject || required == kList) &&
      (is_word(word[0]) || word.find_first_of("\"[{") == 0)) {
    return "is a comma missing before it?";
  }
  return {};
}

}  // namespace

std::string json_syntax_error(std::string_view text, std::size_t token, std::string_view what) {
  const std::string_view reason = reason_of(what);
  if (reason.starts_with("invalid string") || reason.starts_with("invalid BOM")) {
    return format("not JSON: {}", reason.substr(0, reason.find("; expected ")));
  }
  if (token >= text.size()) {
    return format("not JSON: the text ends; {}; is the file complete?", required(what));
  }
  const std::string_view word = word_at(text, token);
  const std::string_view cause = likely_cause(text.substr(0, token), word, required(what));
  return format("not JSON: unexpected {}; {}{}{}", word == "\"" ? "text" : fovea::quoted(word),
                required(what), cause.empty() ? "" : "; ", cause);
}

std::string json_binary_error(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kBegins{
      {{"\xff\xfe", "it is UTF-16; UTF-8 is required"},
       {"\xfe\xff", "it is UTF-16; UTF-8 is required"},
       {"PK", "it is a zip archive"},
       {"\x93NUMPY", "it is a NumPy array"}}};
  for (const auto& [begin, kind] : kBegins) {
    if (text.starts_with(begin)) return format("not JSON: {}", kind);
  }
  if (text.substr(0, 10).ends_with("{\"")) return "not JSON: it is a safetensors file";
  return "not JSON: a NUL byte; JSON is text in UTF-8";
}

}  // namespace fovea
