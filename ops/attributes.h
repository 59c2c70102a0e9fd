// Attributes of ops: a closed set of values, and how the members of an op's struct become them.
//
// An op lists its attributes once,
//
//     static constexpr std::tuple attributes{Attribute{"axis", &Softmax::axis, "axis that sums to
//     one"}};
//
// and from that list come C++ defaults, decoding and encoding, the messages for wrong types and
// unknown names, and the documentation.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "fovea/tensor/dtype.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/shape.h"

namespace fovea {

/// Null, a bool, an integer (which may carry the name of a model's dimension), a real number, text
/// (also: the name of an enum's value), a dtype, or a list of these.
struct AttributeValue {
  using List = std::vector<AttributeValue>;
  std::variant<std::monostate, bool, Extent, double, std::string, DType, List> value;

  friend bool operator==(const AttributeValue& a, const AttributeValue& b);
};
/// As in a model file: `null`, `true`, `3`, `0.5`, `"tanh"`, `[1, null]`.
std::string to_string(const AttributeValue& value);

/// In the order of the op's list; an attribute that has no value is left out.
using AttributeMap = std::vector<std::pair<std::string, AttributeValue>>;

enum class AttributeKind { boolean, integer, real, text, dtype, choice, list };

/// What values an attribute takes.
struct AttributeType {
  AttributeKind kind = AttributeKind::integer;
  bool nullable = false;                    ///< null is a value of its own
  std::vector<std::string> choices = {};    ///< of a `choice`
  std::vector<AttributeType> element = {};  ///< of a `list`: exactly one entry
  std::optional<std::size_t> length = {};   ///< of a `list` of fixed length
  bool or_single = false;  ///< of a `list`: a single element may stand for a list of one
};
/// `integer`, `"none" | "tanh"`, `list of integer or null`.
std::string to_string(const AttributeType& type);

/// Specialise for an enum that is an attribute: `static constexpr std::array names{"none",
/// "tanh"};`, in the order of the enum's values, which count from 0.
template <class E>
struct EnumNames;

/// Axes of a reduction: one integer, a list `{0, 1}`, or none for all.
class Axes {
 public:
  Axes() = default;
  Axes(std::int64_t axis) : axes_(std::vector<std::int64_t>{axis}) {}
  Axes(std::initializer_list<std::int64_t> axes) : axes_(axes) {}
  explicit Axes(std::vector<std::int64_t> axes) : axes_(std::move(axes)) {}

  /// Nothing means all axes; an empty list means no axis.
  const std::optional<std::vector<std::int64_t>>& list() const { return axes_; }
  /// Ascending, without duplicates, not negative. Throws Error, naming `where`, if one is out of
  /// range or named twice.
  std::vector<std::int64_t> normalized(std::string_view where, std::int64_t rank) const;

 private:
  std::optional<std::vector<std::int64_t>> axes_;
};

/// One line of an op's list of attributes.
template <class Op, class T>
struct Attribute {
  std::string_view name;
  T Op::*member;
  std::string_view help;
};
template <class Op, class T>
Attribute(const char*, T Op::*, const char*) -> Attribute<Op, T>;

/// How a C++ type is said as an AttributeValue. Decoding throws Error with the text alone. A null
/// or missing value is the caller's business unless `type().nullable`.
template <class T>
struct AttributeCodec;

namespace detail {
[[noreturn]] void wrong_attribute(const AttributeValue& given, const AttributeType& required);
}

template <class T>
requires std::same_as<T, bool> || std::same_as<T, std::string> || std::same_as<T, DType>
struct AttributeCodec<T> {
  static AttributeType type() {
    return {.kind = std::same_as<T, bool>    ? AttributeKind::boolean
                    : std::same_as<T, DType> ? AttributeKind::dtype
                                             : AttributeKind::text};
  }
  static AttributeValue encode(const T& value) { return {value}; }
  static T decode(const AttributeValue& value) {
    if constexpr (std::same_as<T, DType>) {
      if (const auto* text = std::get_if<std::string>(&value.value)) {
        if (const std::optional<DType> dtype = dtype_named(*text)) return *dtype;
      }
    }
    const T* held = std::get_if<T>(&value.value);
    if (held == nullptr) detail::wrong_attribute(value, type());
    return *held;
  }
};

template <class T>
requires std::same_as<T, std::int64_t> || std::same_as<T, Extent>
struct AttributeCodec<T> {
  static AttributeType type() { return {.kind = AttributeKind::integer}; }
  static AttributeValue encode(const T& value) { return {Extent(value)}; }
  static T decode(const AttributeValue& value) {
    const Extent* held = std::get_if<Extent>(&value.value);
    if (held == nullptr) detail::wrong_attribute(value, type());
    return *held;
  }
};

template <>
struct AttributeCodec<double> {
  static AttributeType type() { return {.kind = AttributeKind::real}; }
  static AttributeValue encode(double value) { return {value}; }
  static double decode(const AttributeValue& value) {
    if (const Extent* integer = std::get_if<Extent>(&value.value)) {
      return static_cast<double>(integer->value());
    }
    const double* held = std::get_if<double>(&value.value);
    if (held == nullptr) detail::wrong_attribute(value, type());
    return *held;
  }
};

template <class E>
requires std::is_enum_v<E> &&(!std::same_as<E, DType>)struct AttributeCodec<E> {
  static AttributeType type() {
    return {.kind = AttributeKind::choice,
            .choices = {EnumNames<E>::names.begin(), EnumNames<E>::names.end()}};
  }
  static AttributeValue encode(E value) {
    return {std::string(EnumNames<E>::names[static_cast<std::size_t>(value)])};
  }
  static E decode(const AttributeValue& value) {
    if (const auto* text = std::get_if<std::string>(&value.value)) {
      for (std::size_t i = 0; i < EnumNames<E>::names.size(); ++i) {
        if (EnumNames<E>::names[i] == *text) return static_cast<E>(i);
      }
    }
    detail::wrong_attribute(value, type());
  }
};

template <class T>
struct AttributeCodec<std::vector<T>> {
  static AttributeType type() {
    return {.kind = AttributeKind::list, .element = {AttributeCodec<T>::type()}};
  }
  static AttributeValue encode(const std::vector<T>& values) {
    AttributeValue::List list;
    for (const T& value : values) list.push_back(AttributeCodec<T>::encode(value));
    return {std::move(list)};
  }
  static std::vector<T> decode(const AttributeValue& value) {
    const auto* list = std::get_if<AttributeValue::List>(&value.value);
    if (list == nullptr) detail::wrong_attribute(value, type());
    std::vector<T> values;
    for (const AttributeValue& entry : *list) values.push_back(AttributeCodec<T>::decode(entry));
    return values;
  }
};

/// An attribute without a default: left out means that it has no value; null is refused.
template <class T>
struct AttributeCodec<std::optional<T>> {
  static AttributeType type() { return AttributeCodec<T>::type(); }
  static AttributeValue encode(const std::optional<T>& value) {
    return value ? AttributeCodec<T>::encode(*value) : AttributeValue{};
  }
  static std::optional<T> decode(const AttributeValue& value) {
    return AttributeCodec<T>::decode(value);
  }
};

template <>
struct AttributeCodec<Axes> {
  static AttributeType type();
  static AttributeValue encode(const Axes& axes);
  static Axes decode(const AttributeValue& value);
};

/// An attribute as documentation and loaders see it.
struct AttributeInfo {
  std::string_view name;
  std::string_view help;
  AttributeType type;
  std::optional<AttributeValue> standard;  ///< the default; nothing when it has none
};

namespace detail {

template <class Op>
constexpr auto attribute_list() {
  if constexpr (requires { Op::attributes; }) {
    return Op::attributes;
  } else {
    return std::tuple<>{};
  }
}

template <class Op>
constexpr std::span<const std::string_view> reserved_attributes() {
  if constexpr (requires { Op::reserved_attributes; }) {
    return Op::reserved_attributes;
  } else {
    return {};
  }
}

// Assigns the given values to members by name; collects the mistakes and throws them together.
struct AttributeSlot {
  std::string_view name;
  AttributeType type;
  std::function<void(const AttributeValue&)> assign;
};
void assign_attributes(std::string_view op, const AttributeMap& given,
                       const std::vector<AttributeSlot>& slots,
                       std::span<const std::string_view> reserved);

}  // namespace detail

/// The attributes of an op's struct.
template <class Op>
AttributeMap encode_attributes(const Op& op) {
  AttributeMap map;
  const auto add = [&]<class Owner, class T>(const Attribute<Owner, T>& attribute) {
    AttributeValue value = AttributeCodec<T>::encode(op.*attribute.member);
    const bool absent = std::holds_alternative<std::monostate>(value.value);
    if (absent && !AttributeCodec<T>::type().nullable) return;
    map.emplace_back(attribute.name, std::move(value));
  };
  std::apply([&](const auto&... attribute) { (add(attribute), ...); },
             detail::attribute_list<Op>());
  return map;
}

/// An op's struct with the attributes given, the others at their defaults. Throws Error with one
/// Diagnostic for each mistake (unknown name, wrong type); its place is `/attrs/NAME`.
template <class Op>
Op decode_attributes(const AttributeMap& given) {
  Op op{};
  std::vector<detail::AttributeSlot> slots;
  const auto add = [&]<class Owner, class T>(const Attribute<Owner, T>& attribute) {
    slots.push_back({attribute.name, AttributeCodec<T>::type(),
                     [&op, member = attribute.member](const AttributeValue& value) {
                       op.*member = AttributeCodec<T>::decode(value);
                     }});
  };
  std::apply([&](const auto&... attribute) { (add(attribute), ...); },
             detail::attribute_list<Op>());
  detail::assign_attributes(Op::name, given, slots, detail::reserved_attributes<Op>());
  return op;
}

template <class Op>
std::vector<AttributeInfo> describe_attributes() {
  std::vector<AttributeInfo> infos;
  const Op standard{};
  const auto add = [&]<class Owner, class T>(const Attribute<Owner, T>& attribute) {
    AttributeInfo info{attribute.name, attribute.help, AttributeCodec<T>::type(), {}};
    AttributeValue value = AttributeCodec<T>::encode(standard.*attribute.member);
    if (info.type.nullable || !std::holds_alternative<std::monostate>(value.value)) {
      info.standard = std::move(value);
    }
    infos.push_back(std::move(info));
  };
  std::apply([&](const auto&... attribute) { (add(attribute), ...); },
             detail::attribute_list<Op>());
  return infos;
}

}  // namespace fovea
