#include "fovea/tensor/json_arrays.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/json_document.h"
#include "fovea/tensor/json_entry.h"

namespace fovea {

namespace {

// Parsed JSON takes twenty times the memory of its text.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 27;

[[noreturn]] void refuse(const std::string& place, std::string text) {
  throw Error({.place = place, .op = {}, .text = std::move(text)});
}

DType dtype_from_json(const JsonValue& value) {
  if (!value.is(JsonKind::text)) {
    refuse(value.place(), format("{} as a dtype; \"f32\", \"f64\", \"i64\" or \"bool\" is required",
                                 value.describe()));
  }
  if (const auto dtype = dtype_named(value.text())) return *dtype;
  refuse(value.place(),
         format("the dtype {}; f32, f64, i64 or bool is required{}", value.describe(),
                did_you_mean(value.text(), {"f32", "f64", "i64", "bool"})));
}

Shape shape_from_json(const JsonValue& value) {
  if (!value.is(JsonKind::array)) {
    refuse(value.place(), format("{} as a shape; a list of sizes is required", value.describe()));
  }
  std::vector<Extent> extents;
  for (JsonValue extent : value) {
    if (!extent.is(JsonKind::integer) || extent.integer() < 0) {
      refuse(extent.place(),
             format("{} as a size; a whole number of 0 or more is required", extent.describe()));
    }
    extents.emplace_back(extent.integer());
  }
  try {
    return Shape(std::move(extents));
  } catch (const Error& error) {
    throw error.at(value.place());
  }
}

// Without elements nesting cannot say all extents: `[]` stands for every empty shape.
Tensor with_shape(const Tensor& tensor, const Shape& shape, const JsonValue& entry) {
  if (tensor.shape() == shape) return tensor;
  const bool prefix =
      tensor.rank() <= shape.rank() &&
      std::ranges::equal(tensor.shape(),
                         shape.extents().first(static_cast<std::size_t>(tensor.rank())));
  if (tensor.numel() != 0 || shape.numel() != 0 || !(prefix || tensor.shape() == Shape{0})) {
    refuse(entry.find("value").place(),
           format("a value of shape {}, but \"shape\" says {}; they must agree", tensor.shape(),
                  shape));
  }
  return Tensor::empty(tensor.dtype(), shape);
}

// JSON keeps -0 only as a real number, and has no infinities and no NaN.
template <std::floating_point T>
void append_number(std::string& out, T value) {
  if (std::isnan(value)) {
    out += "\"nan\"";
  } else if (std::isinf(value)) {
    out += value < 0 ? "\"-inf\"" : "\"inf\"";
  } else if (value == 0) {
    out += std::signbit(value) ? "-0.0" : "0";
  } else {
    const std::string text = format("{}", value);
    // A reader goes from decimal to f64 to f32, which might round twice.
    double read = 0;
    std::from_chars(text.data(), text.data() + text.size(), read);
    out += static_cast<T>(read) == value ? text : format("{}", static_cast<double>(value));
  }
}
void append_number(std::string& out, std::int64_t value) { out += format("{}", value); }
void append_number(std::string& out, bool value) { out += value ? "true" : "false"; }

template <Element T>
const T* append_nested(std::string& out, const Shape& shape, std::int64_t axis, const T* data) {
  if (axis == shape.rank()) {
    append_number(out, *data);
    return data + 1;
  }
  out += '[';
  for (std::int64_t i = 0; i < shape[axis]; ++i) {
    if (i > 0) out += ", ";
    data = append_nested(out, shape, axis + 1, data);
  }
  out += ']';
  return data;
}

std::string entry_text(const std::string& path, const std::string& name, const Tensor& tensor) {
  if (!tensor) fail(path, "{}: a null tensor; one with elements is required", fovea::quoted(name));
  std::string key;
  try {
    key = nlohmann::json(name).dump();
  } catch (const nlohmann::json::exception&) {
    fail(path, "the name {}; names are UTF-8", fovea::quoted(name));
  }
  if (static_cast<std::uint64_t>(tensor.numel()) > kMostBytes / 2) {
    fail(path, "{}: {} elements; .npz or .safetensors is required", fovea::quoted(name),
         tensor.numel());
  }
  const std::vector<std::int64_t> extents(tensor.shape().begin(), tensor.shape().end());
  std::string text = format("{}: {{\"dtype\": \"{}\", \"shape\": [{}], \"value\": ", key,
                            tensor.dtype(), fmt::join(extents, ", "));
  if (tensor.numel() == 0) {
    text += "[]";
  } else {
    visit_dtype(tensor.dtype(), [&]<class T>(std::type_identity<T>) {
      const Tensor flat = tensor.contiguous();
      append_nested(text, flat.shape(), 0, flat.data<T>());
    });
  }
  return text + "}";
}

}  // namespace

Tensor tensor_from_json_entry(const JsonValue& entry, std::optional<DType> wanted,
                              DType number_dtype) {
  const auto dtype_of_value = [&](const JsonValue& value) {
    return wanted ? *wanted : json_is_boolean(value) ? boolean : number_dtype;
  };
  if (!entry.is(JsonKind::object)) return tensor_from_json(entry, dtype_of_value(entry));
  for (JsonValue member : entry) {
    if (member.key() != "value" && member.key() != "dtype" && member.key() != "shape" &&
        member.key() != "doc") {
      refuse(member.key_place(),
             format("unknown key {}; value, dtype, shape and doc are known{}",
                    fovea::quoted(member.key()),
                    did_you_mean(member.key(), {"value", "dtype", "shape", "doc"})));
    }
  }
  const JsonValue value = entry.find("value"), dtype = entry.find("dtype"),
                  shape = entry.find("shape"), doc = entry.find("doc");
  if (!value) refuse(entry.place(), "an object without \"value\"; an array has one");
  if (doc && !doc.is(JsonKind::text)) {
    refuse(doc.place(), format("{} as doc; a text is required", doc.describe()));
  }
  const Tensor tensor =
      tensor_from_json(value, dtype ? dtype_from_json(dtype) : dtype_of_value(value));
  return shape ? with_shape(tensor, shape_from_json(shape), entry) : tensor;
}

NamedTensors load_json_arrays(const std::string& path, const WantedDType& wanted) {
  const auto document = JsonDocument::parse(path, read_text_file(path, kMostBytes));
  const JsonValue root = document->root();
  if (!root.is(JsonKind::object)) {
    refuse(root.place(),
           format("{}; an object with one member for each array is required", root.describe()));
  }
  if (root.find("fovea") && root.find("nodes")) {
    refuse(path, "it is a model; a file of arrays, by name, is required");
  }
  NamedTensors tensors;
  for (JsonValue entry : root) {
    const std::string name(entry.key());
    tensors.emplace(
        name, tensor_from_json_entry(entry, wanted ? wanted(name) : std::optional<DType>(), f64));
  }
  return tensors;
}

std::string json_arrays_text(const NamedTensors& tensors) {
  std::string text = "{";
  for (const auto& [name, tensor] : tensors) {
    text += text.size() == 1 ? "\n  " : ",\n  ";
    text += entry_text("json", name, tensor);
  }
  return text + (tensors.empty() ? "}" : "\n}");
}

void save_json_arrays(const std::string& path, const NamedTensors& tensors,
                      const std::function<void()>& before_rename) {
  atomic_write(
      path,
      [&](FileWriter& out) {
        out.write("{");
        bool first = true;
        std::uint64_t bytes = 4, values = 0;
        for (const auto& [name, tensor] : tensors) {
          const std::string text = (first ? "\n  " : ",\n  ") + entry_text(path, name, tensor);
          bytes += text.size();
          values += 2 * static_cast<std::uint64_t>(tensor.numel()) + 8;
          if (bytes > kMostBytes || values > JsonDocument::kMaxValues) {
            fail(path,
                 "the arrays take more than {} bytes or {} values as JSON; .npz or .safetensors is "
                 "required",
                 kMostBytes, JsonDocument::kMaxValues);
          }
          out.write(text);
          first = false;
        }
        out.write(first ? "}\n" : "\n}\n");
      },
      before_rename);
}

}  // namespace fovea
