// Nested arrays as tensors.

#include <cmath>
#include <limits>

#include "fovea/tensor/format.h"
#include "fovea/tensor/json_document.h"

namespace fovea {

namespace {

[[noreturn]] void refuse(const JsonValue& value, std::string text) {
  throw Error({.place = value.place(), .op = {}, .text = std::move(text)});
}

template <Element T>
T element(const JsonValue& value) {
  if constexpr (std::same_as<T, bool>) {
    if (value.is(JsonKind::boolean)) return value.boolean();
    refuse(value, format("{} as bool; true or false is required", value.describe()));
  } else if constexpr (std::same_as<T, std::int64_t>) {
    if (value.is(JsonKind::integer)) return value.integer();
    if (value.is(JsonKind::real)) {
      const double number = value.number();
      if (number == std::trunc(number) && std::abs(number) < 0x1p63) {
        return static_cast<std::int64_t>(number);
      }
    }
    refuse(value, format("{} as i64; a whole number in 64 bits is required", value.describe()));
  } else {
    if (value.is(JsonKind::text)) {
      if (const auto number = special_number(value.text())) return static_cast<T>(*number);
    }
    if (!value.is_number()) {
      refuse(value, format("{} as {}; a number, \"inf\", \"-inf\" or \"nan\" is required",
                           value.describe(), dtype_of<T>));
    }
    if (value.is(JsonKind::integer)) return static_cast<T>(value.integer());
    const double number = value.number();
    // What is halfway to the next power of two, or beyond, would round to infinity.
    if (std::same_as<T, float> && std::abs(number) >= 0x1.ffffffp127) {
      refuse(value, format("{} is too large for {}", value.describe(), dtype_of<T>));
    }
    return static_cast<T>(number);
  }
}

// Nesting is limited by the document, so recursion is too.
void check_nesting(const JsonValue& value, const Shape& shape, std::int64_t axis) {
  if (!value.is(JsonKind::array)) {
    refuse(value,
           format("{} among lists; a list of {} is required here", value.describe(), shape[axis]));
  }
  if (static_cast<std::int64_t>(value.size()) != shape[axis]) {
    refuse(value, format("{} beside a list of {}; lists of one level have one length",
                         value.describe(), shape[axis]));
  }
  if (axis + 1 == shape.rank()) return;
  for (JsonValue child : value) check_nesting(child, shape, axis + 1);
}

template <Element T>
T* fill(const JsonValue& value, std::int64_t depth, T* out) {
  if (depth == 0) {
    *out = element<T>(value);
    return out + 1;
  }
  for (JsonValue child : value) out = fill(child, depth - 1, out);
  return out;
}

JsonValue first_leaf(JsonValue value) {
  while (value.is(JsonKind::array) && value.size() > 0) value = *value.begin();
  return value;
}

}  // namespace

std::optional<double> special_number(std::string_view text) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  return {};
}

Shape json_shape(const JsonValue& value) {
  std::vector<Extent> extents;
  JsonValue level = value;
  while (level.is(JsonKind::array)) {
    extents.emplace_back(static_cast<std::int64_t>(level.size()));
    if (level.size() == 0) break;
    level = *level.begin();
  }
  try {
    return Shape(std::move(extents));
  } catch (const Error& error) {
    throw error.at(value.place());
  }
}

bool json_is_boolean(const JsonValue& value) { return first_leaf(value).is(JsonKind::boolean); }

Tensor tensor_from_json(const JsonValue& value, DType dtype) {
  const Shape shape = json_shape(value);
  // Before memory is taken: a short ragged text may promise a large shape.
  if (shape.rank() > 0) check_nesting(value, shape, 0);
  return visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
    Tensor tensor = Tensor::empty(dtype_of<T>, shape);
    fill(value, shape.rank(), tensor.mutable_data<T>());
    return tensor;
  });
}

}  // namespace fovea
