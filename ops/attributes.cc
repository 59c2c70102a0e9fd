#include "fovea/ops/attributes.h"

#include <algorithm>
#include <cmath>

#include "fovea/tensor/format.h"

namespace fovea {

bool operator==(const AttributeValue& a, const AttributeValue& b) {
  if (a.value.index() != b.value.index()) return false;
  if (const auto* list = std::get_if<AttributeValue::List>(&a.value)) {
    return std::ranges::equal(*list, std::get<AttributeValue::List>(b.value));
  }
  if (const Extent* extent = std::get_if<Extent>(&a.value)) {
    return extent->value() == std::get<Extent>(b.value).value();
  }
  if (const double* number = std::get_if<double>(&a.value)) {
    const double other = std::get<double>(b.value);
    return *number == other || (std::isnan(*number) && std::isnan(other));
  }
  return a.value == b.value;
}

std::string to_string(const AttributeValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(const Extent& e) const { return format("{}", e); }
    std::string operator()(double d) const {
      return std::isfinite(d) ? format("{}", d) : format("\"{}\"", d);
    }
    std::string operator()(const std::string& s) const { return quoted(s); }
    std::string operator()(DType d) const { return format("\"{}\"", d); }
    std::string operator()(const AttributeValue::List& list) const {
      std::string text;
      for (const AttributeValue& entry : list)
        text += (text.empty() ? "" : ", ") + to_string(entry);
      return "[" + text + "]";
    }
  };
  return std::visit(Visitor{}, value.value);
}

std::string to_string(const AttributeType& type) {
  std::string text;
  switch (type.kind) {
    case AttributeKind::boolean:
      text = "true or false";
      break;
    case AttributeKind::integer:
      text = "integer";
      break;
    case AttributeKind::real:
      text = "number";
      break;
    case AttributeKind::text:
      text = "text";
      break;
    case AttributeKind::dtype:
      text = R"("f32" | "f64" | "i64" | "bool")";
      break;
    case AttributeKind::choice:
      for (const std::string& choice : type.choices) {
        text += format("{}\"{}\"", text.empty() ? "" : " | ", choice);
      }
      break;
    case AttributeKind::list: {
      const std::string element = to_string(type.element.front());
      if (type.length) {
        text = format("[{}]", fmt::join(std::vector(*type.length, element), ", "));
      } else {
        text = format("{}list of {}", type.or_single ? element + " or " : "", element);
      }
      break;
    }
  }
  return type.nullable ? text + " or null" : text;
}

namespace detail {

void wrong_attribute(const AttributeValue& given, const AttributeType& required) {
  std::string text = to_string(given);
  if (text.size() > 80) text = text.substr(0, 80) + "…";
  std::string hint;
  if (const auto* name = std::get_if<std::string>(&given.value)) {
    std::vector<std::string> names = required.choices;
    if (required.kind == AttributeKind::dtype) {
      for (DType dtype : {f32, f64, i64, boolean}) names.emplace_back(name_of(dtype));
    }
    hint = did_you_mean(*name, names);
  }
  throw Error("", format("{}; {} is required{}", text, to_string(required), hint));
}

void assign_attributes(std::string_view op, const AttributeMap& given,
                       const std::vector<AttributeSlot>& slots,
                       std::span<const std::string_view> reserved) {
  std::vector<Diagnostic> mistakes;
  const auto report = [&](const std::string& name, std::string text) {
    mistakes.push_back({.place = "/attrs/" + name, .op = std::string(op), .text = std::move(text)});
  };
  for (const auto& [name, value] : given) {
    const auto slot = std::ranges::find(slots, name, &AttributeSlot::name);
    if (std::ranges::find(reserved, name) != reserved.end()) {
      report(name,
             format("attribute \"{}\" is reserved and does not exist yet; leave it out", name));
      continue;
    }
    if (slot == slots.end()) {
      std::vector<std::string> known;
      for (const AttributeSlot& s : slots) known.emplace_back(s.name);
      report(name, format("unknown attribute {}; {}{}", quoted(name),
                          known.empty() ? "this op has none"
                                        : format("known are {}", fmt::join(known, ", ")),
                          did_you_mean(name, known)));
      continue;
    }
    try {
      slot->assign(value);
    } catch (const Error& error) {
      report(name, format("attribute \"{}\" is {}", name, error.diagnostics().front().text));
    }
  }
  if (!mistakes.empty()) throw Error(std::move(mistakes));
}

}  // namespace detail

AttributeType AttributeCodec<Axes>::type() {
  return {.kind = AttributeKind::list,
          .nullable = true,
          .element = {{.kind = AttributeKind::integer}},
          .or_single = true};
}

AttributeValue AttributeCodec<Axes>::encode(const Axes& axes) {
  if (!axes.list()) return {};
  return AttributeCodec<std::vector<std::int64_t>>::encode(*axes.list());
}

Axes AttributeCodec<Axes>::decode(const AttributeValue& value) {
  if (std::holds_alternative<std::monostate>(value.value)) return {};
  if (const Extent* axis = std::get_if<Extent>(&value.value)) return Axes(axis->value());
  if (!std::holds_alternative<AttributeValue::List>(value.value)) {
    detail::wrong_attribute(value, type());
  }
  return Axes(AttributeCodec<std::vector<std::int64_t>>::decode(value));
}

std::vector<std::int64_t> Axes::normalized(std::string_view where, std::int64_t rank) const {
  std::vector<std::int64_t> axes;
  if (!axes_) {
    for (std::int64_t axis = 0; axis < rank; ++axis) axes.push_back(axis);
    return axes;
  }
  for (std::int64_t axis : *axes_) axes.push_back(normalize_axis(where, axis, rank));
  std::ranges::sort(axes);
  if (const auto twice = std::ranges::adjacent_find(axes); twice != axes.end()) {
    fail(where, "axis {} is named twice; each axis at most once", *twice);
  }
  return axes;
}

}  // namespace fovea
