// A JSON text in which every value knows its place, so that messages can say where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/tensor.h"

namespace fovea {

enum class JsonKind : std::uint8_t { null, boolean, integer, real, text, array, object };

class JsonDocument;

/// A value of a document, which must outlive it. A default-constructed one is absent: `if (value)`
/// is false. Children of arrays and objects are visited in order:
///
///     for (JsonValue child : value) use(child.key(), child);
class JsonValue {
 public:
  JsonValue() = default;
  JsonValue(const JsonDocument* document, std::uint32_t index)
      : document_(document), index_(index) {}

  explicit operator bool() const { return document_ != nullptr; }
  JsonKind kind() const;
  bool is(JsonKind kind) const { return document_ != nullptr && this->kind() == kind; }
  bool is_number() const { return is(JsonKind::integer) || is(JsonKind::real); }

  bool boolean() const;
  /// Of an integer that fits in 64 bits; others are real.
  std::int64_t integer() const;
  /// Of any number.
  double number() const;
  std::string_view text() const;

  /// Number of elements or members.
  std::size_t size() const;
  /// A member, or an absent value.
  JsonValue find(std::string_view key) const;
  /// The name under which this stands in its object; empty in an array.
  std::string_view key() const;
  /// Whether it stands in an object.
  bool is_member() const;
  /// Grows from one value of a document to the next.
  std::size_t order() const { return index_; }
  /// Which child of its parent this is, from 0.
  std::size_t position() const;

  /// `model.json:14:38: /nodes/3/inputs/1`.
  std::string place() const;
  /// The same with the line and column of the key.
  std::string key_place() const;
  /// The value as it may stand in a message: `"text"`, `0.5`, `a list of 3`, `an object`.
  std::string describe() const;

  class Iterator {
   public:
    Iterator(const JsonDocument* document, std::uint32_t index)
        : document_(document), index_(index) {}
    JsonValue operator*() const { return {document_, index_}; }
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const JsonDocument* document_;
    std::uint32_t index_;
  };
  Iterator begin() const;
  Iterator end() const;

 private:
  const JsonDocument* document_ = nullptr;
  std::uint32_t index_ = 0;
};

/// A parsed text: one flat array of values, children behind their parents.
class JsonDocument {
 public:
  static constexpr std::size_t kMaxNesting = 100;
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 28;
  /// So that any text is parsed in less than 2 GiB of memory.
  static constexpr std::size_t kMaxValues = std::size_t{1} << 23;

  /// `name` stands in messages. Throws Error, with line and column, for anything that is not one
  /// JSON value in UTF-8 (a byte order mark is allowed), for duplicate keys, nesting deeper than
  /// kMaxNesting, numbers that f64 cannot hold, and more than kMaxBytes or kMaxValues.
  static std::shared_ptr<const JsonDocument> parse(std::string name, std::string text);

  JsonValue root() const { return {this, 0}; }
  const std::string& name() const { return name_; }

 private:
  friend class JsonValue;
  friend class JsonBuilder;

  static constexpr std::uint32_t kNone = 0xffffffff;
  struct Entry {
    JsonKind kind = JsonKind::null;
    std::uint32_t parent = kNone;
    std::uint32_t position = 0;  // among its siblings
    std::uint32_t offset = 0;    // of its first byte in the text
    std::uint32_t key = kNone;   // in keys_
    union {
      bool boolean;
      std::int64_t integer = 0;
      double real;
      struct {
        std::uint32_t begin, size;
      } text;  // in pool_
      struct {
        std::uint32_t end, size;
      } children;  // the entry behind the last descendant, number of children
    };
  };
  struct Key {
    std::uint32_t offset, begin, size;
  };
  // Line and column, from 1, at every kStep-th byte: a text may be one long line.
  struct Mark {
    std::uint32_t line = 1, column = 1;
  };
  static constexpr std::size_t kStep = 256;

  JsonDocument(std::string name, std::string text);
  static void advance(Mark& mark, char c);
  std::string line_and_column(std::size_t offset) const;
  std::string pointer(std::uint32_t index) const;

  std::string name_, text_, pool_;
  std::vector<Entry> entries_;
  std::vector<Key> keys_;
  std::vector<Mark> marks_;
};

/// The shape of nested arrays; a number or bool has rank 0. Only first elements are looked at.
Shape json_shape(const JsonValue& value);
/// Whether the first element is `true` or `false`.
bool json_is_boolean(const JsonValue& value);
/// Nested arrays as a tensor. Floats may be the texts "inf", "-inf", "nan". Throws Error, placed at
/// the element, if the nesting is ragged, or if an element is not exactly what `dtype` can hold (a
/// float is rounded, but must not overflow).
Tensor tensor_from_json(const JsonValue& value, DType dtype);
/// "inf", "-inf" and "nan".
std::optional<double> special_number(std::string_view text);

}  // namespace fovea
