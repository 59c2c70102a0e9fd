#include "fovea/graph/model/write.h"

#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

constexpr std::size_t kWidth = 100;

std::string escaped(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

// A real number stays one: 1.0 is no integer.
std::string real(double number) {
  std::string text = format("{}", number);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

std::string scalar(const JsonValue& value) {
  switch (value.kind()) {
    case JsonKind::boolean:
      return value.boolean() ? "true" : "false";
    case JsonKind::integer:
      return format("{}", value.integer());
    case JsonKind::real:
      return real(value.number());
    case JsonKind::text:
      return escaped(value.text());
    default:
      return "null";
  }
}

bool is_container(const JsonValue& value) {
  return value.is(JsonKind::array) || value.is(JsonKind::object);
}

// Values are nested at most JsonDocument::kMaxNesting deep, so this may recurse.
class Writer {
 public:
  std::string write(const JsonValue& root) {
    value(root);
    return out_ + "\n";
  }

 private:
  static std::string key(const JsonValue& member) {
    return member.is_member() ? escaped(member.key()) + ": " : "";
  }

  // Appends the value on one line; false, with `line` unspecified, once it is longer than `most`.
  static bool one_line(const JsonValue& value, std::size_t most, std::string& line) {
    if (!is_container(value)) {
      line += scalar(value);
      return line.size() <= most;
    }
    const bool object = value.is(JsonKind::object);
    line += object ? '{' : '[';
    for (JsonValue child : value) {
      if (child.position() > 0) line += ", ";
      line += key(child);
      if (!one_line(child, most, line)) return false;
    }
    line += object ? '}' : ']';
    return line.size() <= most;
  }

  void value(const JsonValue& value) {
    std::string line;
    const std::size_t used = out_.size() - line_;
    if (!is_container(value)) {
      out_ += scalar(value);
    } else if (one_line(value, kWidth - std::min(used + 1, kWidth - 1), line)) {
      out_ += line;
    } else {
      lines(value);
    }
  }

  void new_line() {
    out_ += '\n';
    line_ = out_.size();
    out_.append(2 * depth_, ' ');
  }

  // Each child on lines of its own; numbers as many to a line as fit.
  void lines(const JsonValue& parent) {
    const bool object = parent.is(JsonKind::object);
    bool numbers = !object;
    for (JsonValue child : parent) numbers &= child.is_number();
    out_ += object ? '{' : '[';
    ++depth_;
    for (JsonValue child : parent) {
      const std::string text = numbers ? scalar(child) : "";
      if (child.position() > 0) out_ += ',';
      const bool same_line =
          numbers && child.position() > 0 && out_.size() - line_ + text.size() + 2 <= kWidth;
      if (same_line) {
        out_ += ' ' + text;
        continue;
      }
      new_line();
      out_ += key(child);
      value(child);
    }
    --depth_;
    new_line();
    out_ += object ? '}' : ']';
  }

  std::string out_;
  std::size_t line_ = 0, depth_ = 0;  // where the last line begins
};

}  // namespace

std::string to_json(const JsonDocument& document) { return Writer().write(document.root()); }

}  // namespace fovea::model
