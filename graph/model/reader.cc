#include "fovea/graph/model/reader.h"

#include <algorithm>
#include <cmath>

#include "fovea/tensor/format.h"

namespace fovea::model {

std::string unknown(std::string_view what, std::string_view given,
                    const std::vector<std::string>& known,
                    std::span<const std::string_view> reserved) {
  if (std::ranges::find(reserved, given) != reserved.end()) {
    return format("{} {} is reserved and does not exist yet; leave it out", what, quoted(given));
  }
  constexpr std::size_t kMost = 12;
  std::string list = known.empty() ? "; there are none" : "";
  if (!known.empty() && known.size() <= kMost) {
    list = format("; known are {}", fmt::join(known, ", "));
  }
  return format("unknown {} {}{}{}", what, quoted(given), list, did_you_mean(given, known));
}

bool Reader::is_object(const JsonValue& value) {
  if (value.is(JsonKind::object)) return true;
  mistakes_.add(value, format("{}; an object is required", value.describe()));
  return false;
}

bool Reader::check_doc(const JsonValue& member) {
  if (member.is(JsonKind::text)) return true;
  mistakes_.add(member, format("doc is {}; text is required", member.describe()));
  return false;
}

void Reader::check_keys(const JsonValue& object, std::initializer_list<std::string_view> known) {
  for (JsonValue member : object) {
    if (mistakes_.full()) return;
    if (member.key() == "doc") {
      check_doc(member);
    } else if (std::ranges::find(known, member.key()) == known.end()) {
      mistakes_.add_key(member, unknown("key", member.key(), {known.begin(), known.end()}));
    }
  }
}

bool Reader::check_name(const JsonValue& member) {
  if (is_model_name(member.key())) return true;
  mistakes_.add_key(member, format("{} as a name; letters, digits and _ are required, no digit "
                                   "first",
                                   quoted(member.key())));
  return false;
}

JsonValue Reader::required(const JsonValue& object, std::string_view key) {
  const JsonValue value = object.find(key);
  if (!value) mistakes_.add(object, format("the key \"{}\" is missing; it is required", key));
  return value;
}

std::optional<std::string> Reader::text(const JsonValue& value) {
  if (value.is(JsonKind::text)) return std::string(value.text());
  mistakes_.add(value, format("{}; text is required", value.describe()));
  return {};
}

std::optional<DType> Reader::dtype(const JsonValue& value) {
  if (value.is(JsonKind::text)) {
    if (const auto dtype = dtype_named(value.text())) return dtype;
    mistakes_.add(value, unknown("dtype", value.text(), {"f32", "f64", "i64", "bool"}));
  } else {
    mistakes_.add(value, format("{} as a dtype; \"f32\", \"f64\", \"i64\" or \"bool\" is required",
                                value.describe()));
  }
  return {};
}

std::optional<double> Reader::real(const JsonValue& value) {
  if (value.is_number()) return value.number();
  if (value.is(JsonKind::text)) {
    if (const auto number = special_number(value.text())) return number;
  }
  mistakes_.add(value, format("{}; a number is required", value.describe()));
  return {};
}

std::optional<std::int64_t> Reader::integer(const JsonValue& value) {
  if (value.is(JsonKind::integer)) return value.integer();
  mistakes_.add(value, format("{}; an integer in 64 bits is required", value.describe()));
  return {};
}

bool all_known(const Description& description, const JsonValue& at, const DimExpression& expression,
               Mistakes& mistakes) {
  bool all = true;
  for (const std::string& name : expression.names()) {
    if (description.dim_index.contains(name)) continue;
    std::vector<std::string> known;
    for (const Dim& dim : description.dims) known.push_back(dim.name);
    mistakes.add(at, unknown("dim", name, known));
    all = false;
  }
  return all;
}

std::optional<Size> Reader::size(const JsonValue& value) {
  if (value.is(JsonKind::integer)) {
    if (value.integer() >= 0) return Size{value, DimExpression(value.integer())};
    mistakes_.add(value, format("the size {}; sizes are 0 or more", value.integer()));
    return {};
  }
  if (value.is(JsonKind::real) && std::abs(value.number()) >= 0x1p63) {
    mistakes_.add(value, format("the size {}; sizes must fit in 63 bits", value.describe()));
    return {};
  }
  if (!value.is(JsonKind::text)) {
    mistakes_.add(value, format("{} as a size; an integer, a dim or an expression of dims is "
                                "required",
                                value.describe()));
    return {};
  }
  try {
    Size size{value, DimExpression::parse(value.text(), DimExpression::Kind::whole)};
    if (!all_known(d_, value, size.value, mistakes_)) return {};
    return size;
  } catch (const Error& error) {
    mistakes_.add(value, error);
    return {};
  }
}

std::optional<std::vector<Size>> Reader::shape(const JsonValue& value) {
  if (!value.is(JsonKind::array)) {
    mistakes_.add(value, format("{} as a shape; a list of sizes is required", value.describe()));
    return {};
  }
  std::vector<Size> shape;
  for (JsonValue extent : value) {
    if (auto one = size(extent)) shape.push_back(std::move(*one));
  }
  if (shape.size() != value.size()) return {};
  return shape;
}

std::vector<JsonValue> Reader::named_members(const JsonValue& object) {
  std::vector<JsonValue> members;
  if (!object || !is_object(object)) return members;
  for (JsonValue member : object) {
    const bool doc = member.key() == "doc" && member.is(JsonKind::text);
    if (!doc) members.push_back(member);
  }
  return members;
}

std::shared_ptr<const Description> read(std::string file, std::string folder, std::string text,
                                        const Registry& registry) {
  auto description = std::make_shared<Description>();
  description->document = JsonDocument::parse(std::move(file), std::move(text));
  description->folder = std::move(folder);
  Reader(*description, registry).read(description->document->root());
  return description;
}

}  // namespace fovea::model
