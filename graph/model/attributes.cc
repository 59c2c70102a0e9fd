// A node's attributes: from JSON to the values that its op takes.

#include <algorithm>

#include "fovea/graph/model/instance.h"
#include "fovea/graph/model/reader.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

class AttributeReader {
 public:
  AttributeReader(const Node& node, const DimValues& dims, const std::optional<DType>& dtype,
                  Mistakes& mistakes)
      : node_(node), dims_(dims), dtype_(dtype), mistakes_(mistakes) {}

  std::shared_ptr<const Op> read() {
    const std::size_t before = mistakes_.size();
    const OpType& type = *node_.op;
    bool complete = true;
    AttributeMap map;
    for (JsonValue member : node_.attributes) {
      const auto info = std::ranges::find(type.attributes, member.key(), &AttributeInfo::name);
      if (info == type.attributes.end()) {
        report_unknown(member);
      } else if (auto value = convert(member, info->type)) {
        map.emplace_back(member.key(), std::move(*value));
      } else {
        complete = false;
      }
    }
    std::shared_ptr<const Op> op;
    try {
      op = type.make(map);
    } catch (const Error& error) {
      place(error);
    }
    return complete && mistakes_.size() == before ? op : nullptr;
  }

 private:
  void report_unknown(const JsonValue& member) {
    if (member.key() == "doc" && member.is(JsonKind::text)) return;
    std::vector<std::string> known;
    for (const AttributeInfo& info : node_.op->attributes) known.emplace_back(info.name);
    mistakes_.add_key(
        member, format("{}: {}", node_.op->name,
                       unknown("attribute", member.key(), known, node_.op->reserved_attributes)));
  }

  // `/attrs/NAME` becomes the place of that attribute.
  void place(const Error& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      JsonValue at = node_.at;
      if (diagnostic.place.starts_with("/attrs/")) {
        if (const JsonValue found = node_.attributes.find(diagnostic.place.substr(7))) at = found;
      }
      mistakes_.add(at, diagnostic.text, node_.op->name);
    }
  }

  static std::string slot(const JsonValue& value) {
    return value.key().empty() ? "in a list" : format("for {}", quoted(value.key()));
  }

  std::optional<AttributeValue> convert(const JsonValue& value, const AttributeType& type) {
    switch (value.kind()) {
      case JsonKind::null:
        if (type.nullable) return AttributeValue{};
        mistakes_.add(value,
                      value.key().empty()
                          ? format("null in a list; {} is required", to_string(type))
                          : format("null for \"{}\"; leave it out to get its default, or give {}",
                                   value.key(), to_string(type)),
                      node_.op->name);
        return {};
      case JsonKind::boolean:
        return AttributeValue{value.boolean()};
      case JsonKind::integer:
        return AttributeValue{Extent(value.integer())};
      case JsonKind::real:
        if (type.kind == AttributeKind::integer) {
          mistakes_.add(
              value,
              format("{} {}; {} is required", value.describe(), slot(value), to_string(type)),
              node_.op->name);
          return {};
        }
        return AttributeValue{value.number()};
      case JsonKind::text:
        return convert_text(value, type);
      case JsonKind::array:
        return convert_list(value, type);
      case JsonKind::object:
        break;
    }
    mistakes_.add(value, format("an object {}; {} is required", slot(value), to_string(type)),
                  node_.op->name);
    return {};
  }

  std::optional<AttributeValue> convert_text(const JsonValue& value, const AttributeType& type) {
    const bool whole = type.kind == AttributeKind::integer ||
                       (type.kind == AttributeKind::list && type.or_single &&
                        type.element.front().kind == AttributeKind::integer);
    try {
      if (whole) {
        const auto expression = DimExpression::parse(value.text(), DimExpression::Kind::whole);
        if (!dims_.knows(value, expression, mistakes_)) return {};
        const auto extent = dims_.whole(value, expression, mistakes_);
        return extent ? std::optional(AttributeValue{*extent}) : std::nullopt;
      }
      if (type.kind == AttributeKind::real) {
        if (const auto number = special_number(value.text())) return AttributeValue{*number};
        const auto expression = DimExpression::parse(value.text(), DimExpression::Kind::real);
        if (!dims_.knows(value, expression, mistakes_)) return {};
        const auto real = dims_.real(value, expression, mistakes_);
        return real ? std::optional(AttributeValue{*real}) : std::nullopt;
      }
    } catch (const Error& error) {
      mistakes_.add(value, error);
      return {};
    }
    if (type.kind == AttributeKind::dtype) {
      if (const auto dtype = dtype_named(value.text())) {
        return AttributeValue{chosen(*dtype, dtype_)};
      }
    }
    return AttributeValue{std::string(value.text())};
  }

  std::optional<AttributeValue> convert_list(const JsonValue& value, const AttributeType& type) {
    static const AttributeType any;
    const AttributeType& element = type.element.empty() ? any : type.element.front();
    if (type.kind != AttributeKind::list) {
      mistakes_.add(value,
                    format("{} {}; {} is required", value.describe(), slot(value), to_string(type)),
                    node_.op->name);
      return {};
    }
    AttributeValue::List list;
    for (JsonValue child : value) {
      if (auto one = convert(child, element)) list.push_back(std::move(*one));
    }
    if (list.size() != value.size()) return {};
    return AttributeValue{std::move(list)};
  }

  const Node& node_;
  const DimValues& dims_;
  const std::optional<DType>& dtype_;
  Mistakes& mistakes_;
};

}  // namespace

DType chosen(DType dtype, const std::optional<DType>& choice) {
  return choice && is_float(dtype) ? *choice : dtype;
}

std::shared_ptr<const Op> make_op(const Node& node, const DimValues& dims,
                                  const std::optional<DType>& dtype, Mistakes& mistakes) {
  return AttributeReader(node, dims, dtype, mistakes).read();
}

}  // namespace fovea::model
