#include "fovea/tensor/json_document.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "fovea/tensor/format.h"
#include "fovea/tensor/json_syntax.h"

namespace fovea {

namespace {

// Tells how far the parser has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** read) : at_(at), read_(read) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *read_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** read_;
};

std::uint32_t narrow(std::size_t n) { return static_cast<std::uint32_t>(n); }

}  // namespace

// Receives the parser's events and appends entries to the document.
class JsonBuilder {
 public:
  explicit JsonBuilder(JsonDocument& document)
      : document_(document), read_(document.text_.data()), cursor_(read_) {}

  void build() {
    // The parser takes a NUL byte for the end of the text.
    if (const std::size_t nul = document_.text_.find('\0'); nul != std::string::npos) {
      report(nul, json_binary_error(document_.text_));
      throw Error(std::move(mistakes_));
    }
    const char* begin = document_.text_.data();
    const char* end = begin + document_.text_.size();
    nlohmann::json::sax_parse(CountingIterator(begin, &read_), CountingIterator(end, &read_), this);
    if (!mistakes_.empty()) throw Error(std::move(mistakes_));
  }

  bool null() {
    return scalar(JsonKind::null, [](auto&) {});
  }
  bool boolean(bool value) {
    return scalar(JsonKind::boolean, [&](auto& e) { e.boolean = value; });
  }
  bool number_integer(std::int64_t value) {
    return number(JsonKind::integer, [&](auto& e) { e.integer = value; });
  }
  bool number_unsigned(std::uint64_t value) {
    if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return number_integer(static_cast<std::int64_t>(value));
    }
    return number_float(static_cast<double>(value), {});
  }
  bool number_float(double value, const std::string&) {
    return number(JsonKind::real, [&](auto& e) { e.real = value; });
  }
  bool string(const std::string& value) {
    return scalar(JsonKind::text, [&](auto& e) { e.text = {pooled(value), narrow(value.size())}; });
  }
  bool binary(const std::vector<std::uint8_t>&) { return false; }
  bool start_object(std::size_t) { return open(JsonKind::object); }
  bool start_array(std::size_t) { return open(JsonKind::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(const std::string& text) {
    const std::uint32_t offset = token_start();
    key_ = narrow(document_.keys_.size());
    document_.keys_.push_back({offset, pooled(text), narrow(text.size())});
    cursor_ = read_;
    if (!open_keys_.back().insert(text).second && mistakes_.size() < kMostMistakes) {
      report(offset,
             format("the key {} stands twice in one object; keys are unique", fovea::quoted(text)));
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) {
    const std::size_t size = document_.text_.size();
    const std::size_t offset = std::min(position == 0 ? 0 : position - 1, size);
    mistakes_.clear();
    if (document_.text_.find_first_not_of(" \t\r\n") == std::string::npos) {
      report(offset, "the file is empty; one JSON value is required");
    } else if (error.id == 406) {
      report(token_start(), "the number is too large; numbers fit in f64");
    } else {
      // Inside a text the character is to blame, elsewhere the whole token.
      const std::string_view what = error.what();
      const bool in_text = what.find("invalid string") != what.npos;
      const std::size_t token = std::min<std::size_t>(token_start(), offset);
      report(in_text ? offset : token, json_syntax_error(document_.text_, token, what));
    }
    return false;
  }

 private:
  static constexpr std::size_t kMostMistakes = 1000;

  std::uint32_t token_start() const {
    const char* end = document_.text_.data() + document_.text_.size();
    const char* at = cursor_;
    if (at == document_.text_.data() && document_.text_.starts_with("\xEF\xBB\xBF")) at += 3;
    while (at != end &&
           (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n' || *at == ',' || *at == ':')) {
      ++at;
    }
    return narrow(static_cast<std::size_t>(at - document_.text_.data()));
  }

  std::uint32_t pooled(const std::string& text) {
    const std::uint32_t begin = narrow(document_.pool_.size());
    document_.pool_ += text;
    return begin;
  }

  void report(std::size_t offset, std::string text) {
    mistakes_.push_back(
        {.place = document_.line_and_column(offset), .op = {}, .text = std::move(text)});
  }

  JsonDocument::Entry& append(JsonKind kind) {
    JsonDocument::Entry entry;
    entry.kind = kind;
    entry.offset = token_start();
    if (!open_.empty()) {
      entry.parent = open_.back();
      entry.position = document_.entries_[open_.back()].children.size++;
    }
    entry.key = std::exchange(key_, JsonDocument::kNone);
    document_.entries_.push_back(entry);
    return document_.entries_.back();
  }

  bool is_full() {
    if (document_.entries_.size() < JsonDocument::kMaxValues) return false;
    mistakes_.clear();
    report(token_start(),
           format("more than {} values; that is the limit", JsonDocument::kMaxValues));
    return true;
  }

  template <class Set>
  bool scalar(JsonKind kind, const Set& set) {
    if (is_full()) return false;
    JsonDocument::Entry& entry = append(kind);
    set(entry);
    cursor_ = read_;
    return true;
  }

  // The parser has looked at one character behind a number, unless the text ended.
  template <class Set>
  bool number(JsonKind kind, const Set& set) {
    if (!scalar(kind, set)) return false;
    const char last = *(read_ - 1);
    if (!((last >= '0' && last <= '9') || last == '.')) --cursor_;
    return true;
  }

  bool open(JsonKind kind) {
    const std::uint32_t offset = token_start();
    if (open_.size() == JsonDocument::kMaxNesting) {
      mistakes_.clear();
      report(offset, format("arrays and objects are nested deeper than {}; that is the limit",
                            JsonDocument::kMaxNesting));
      return false;
    }
    if (is_full()) return false;
    append(kind).children = {0, 0};
    open_.push_back(narrow(document_.entries_.size() - 1));
    open_keys_.emplace_back();
    cursor_ = read_;
    return true;
  }

  bool close() {
    document_.entries_[open_.back()].children.end = narrow(document_.entries_.size());
    open_.pop_back();
    open_keys_.pop_back();
    cursor_ = read_;
    return true;
  }

  JsonDocument& document_;
  const char* read_;    // behind the last character that the parser took
  const char* cursor_;  // behind the last token
  std::uint32_t key_ = JsonDocument::kNone;
  std::vector<std::uint32_t> open_;
  std::vector<std::unordered_set<std::string>> open_keys_;
  std::vector<Diagnostic> mistakes_;
};

JsonDocument::JsonDocument(std::string name, std::string text)
    : name_(std::move(name)), text_(std::move(text)) {
  if (text_.size() > kMaxBytes) {
    throw Error({.place = name_,
                 .op = {},
                 .text = format("{} bytes of JSON; at most {} are read", text_.size(), kMaxBytes)});
  }
  Mark mark;
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (i % kStep == 0) marks_.push_back(mark);
    advance(mark, text_[i]);
  }
  if (text_.size() % kStep == 0) marks_.push_back(mark);
}

void JsonDocument::advance(Mark& mark, char c) {
  if (c == '\n') {
    ++mark.line;
    mark.column = 1;
  } else {
    // Columns count characters: bytes that continue one do not count.
    mark.column += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }
}

std::shared_ptr<const JsonDocument> JsonDocument::parse(std::string name, std::string text) {
  std::shared_ptr<JsonDocument> document(new JsonDocument(std::move(name), std::move(text)));
  JsonBuilder(*document).build();
  return document;
}

std::string JsonDocument::line_and_column(std::size_t offset) const {
  Mark mark = marks_[offset / kStep];
  for (std::size_t i = offset - offset % kStep; i < offset; ++i) advance(mark, text_[i]);
  return format("{}:{}:{}", name_, mark.line, mark.column);
}

std::string JsonDocument::pointer(std::uint32_t index) const {
  std::vector<std::string> segments;
  for (; entries_[index].parent != kNone; index = entries_[index].parent) {
    const Entry& entry = entries_[index];
    if (entry.key == kNone) {
      segments.push_back(format("/{}", entry.position));
      continue;
    }
    const Key& key = keys_[entry.key];
    const std::string text = quoted(std::string_view(pool_).substr(key.begin, key.size));
    std::string segment = "/";
    for (char c : text.substr(1, text.size() - 2)) {
      if (c == '~' || c == '/') {
        segment += c == '~' ? "~0" : "~1";
      } else {
        segment += c;
      }
    }
    segments.push_back(std::move(segment));
  }
  return format("{}", fmt::join(segments.rbegin(), segments.rend(), ""));
}

JsonKind JsonValue::kind() const { return document_->entries_[index_].kind; }
bool JsonValue::boolean() const { return document_->entries_[index_].boolean; }
std::int64_t JsonValue::integer() const { return document_->entries_[index_].integer; }

double JsonValue::number() const {
  const JsonDocument::Entry& entry = document_->entries_[index_];
  return entry.kind == JsonKind::integer ? static_cast<double>(entry.integer) : entry.real;
}

std::string_view JsonValue::text() const {
  const auto& text = document_->entries_[index_].text;
  return std::string_view(document_->pool_).substr(text.begin, text.size);
}

std::size_t JsonValue::size() const { return document_->entries_[index_].children.size; }

JsonValue JsonValue::find(std::string_view key) const {
  if (!is(JsonKind::object)) return {};
  for (JsonValue member : *this) {
    if (member.key() == key) return member;
  }
  return {};
}

std::string_view JsonValue::key() const {
  const std::uint32_t at = document_->entries_[index_].key;
  if (at == JsonDocument::kNone) return {};
  const JsonDocument::Key& key = document_->keys_[at];
  return std::string_view(document_->pool_).substr(key.begin, key.size);
}

bool JsonValue::is_member() const { return document_->entries_[index_].key != JsonDocument::kNone; }

std::size_t JsonValue::position() const { return document_->entries_[index_].position; }

std::string JsonValue::place() const {
  const std::string pointer = document_->pointer(index_);
  return document_->line_and_column(document_->entries_[index_].offset) +
         (pointer.empty() ? "" : ": " + pointer);
}

std::string JsonValue::key_place() const {
  const std::uint32_t key = document_->entries_[index_].key;
  if (key == JsonDocument::kNone) return place();
  return document_->line_and_column(document_->keys_[key].offset) + ": " +
         document_->pointer(index_);
}

std::string JsonValue::describe() const {
  switch (kind()) {
    case JsonKind::null:
      return "null";
    case JsonKind::boolean:
      return boolean() ? "true" : "false";
    case JsonKind::integer:
      return format("{}", integer());
    case JsonKind::real:
      // 1.0 is no integer, and shows why.
      return std::abs(number()) < 1e15 && number() == std::trunc(number())
                 ? format("{:.1f}", number())
                 : format("{}", number());
    case JsonKind::text:
      return quoted(text());
    case JsonKind::array:
      return size() == 0 ? "an empty list" : format("a list of {}", size());
    case JsonKind::object:
      break;
  }
  return "an object";
}

JsonValue::Iterator& JsonValue::Iterator::operator++() {
  const JsonDocument::Entry& entry = document_->entries_[index_];
  const bool container = entry.kind == JsonKind::array || entry.kind == JsonKind::object;
  index_ = container ? entry.children.end : index_ + 1;
  return *this;
}

JsonValue::Iterator JsonValue::begin() const {
  const bool container = is(JsonKind::array) || is(JsonKind::object);
  return {document_, container ? index_ + 1 : index_};
}

JsonValue::Iterator JsonValue::end() const {
  const bool container = is(JsonKind::array) || is(JsonKind::object);
  return {document_, container ? document_->entries_[index_].children.end : index_};
}

}  // namespace fovea
