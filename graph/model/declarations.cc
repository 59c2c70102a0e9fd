// Reads what a model declares: dims, inputs, params, constants, weights.

#include <algorithm>
#include <cmath>
#include <limits>

#include "fovea/graph/model/reader.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

void Reader::read(const JsonValue& root) {
  if (!root.is(JsonKind::object)) {
    throw Error({.place = root.place(),
                 .op = {},
                 .text = format("{}; a model is an object", root.describe())});
  }
  check_keys(root, {"fovea", "$schema", "name", "seed", "dtype", "dims", "inputs", "params",
                    "constants", "nodes", "blocks", "outputs", "weights"});
  header(root);
  if (const JsonValue object = root.find("dims")) dims(object);
  if (const JsonValue value = root.find("weights")) weights(value);
  if (const JsonValue object = root.find("blocks")) blocks(object);
  declare(root, d_.body, false);
  resolve(root, d_.body);
}

void Reader::header(const JsonValue& root) {
  if (const JsonValue version = required(root, "fovea")) {
    if (!version.is(JsonKind::integer) || version.integer() != 1) {
      mistakes_.add(version, format("format version {}; 1 is required", version.describe()));
    }
  }
  if (const JsonValue value = root.find("name")) d_.name = text(value).value_or("");
  if (const JsonValue value = root.find("doc"); value.is(JsonKind::text)) d_.doc = value.text();
  if (const JsonValue value = root.find("seed")) {
    d_.seed = static_cast<std::uint64_t>(integer(value).value_or(0));
  }
  if (const JsonValue value = root.find("dtype")) {
    d_.dtype = dtype(value).value_or(f32);
    if (!is_float(d_.dtype)) {
      mistakes_.add(value, format("{} as the model's dtype; \"f32\" or \"f64\" is required",
                                  value.describe()));
      d_.dtype = f32;
    }
  }
}

void Reader::dims(const JsonValue& object) {
  const std::vector<JsonValue> members = named_members(object);
  for (JsonValue member : members) {
    if (!check_name(member)) continue;
    d_.dim_index.emplace(member.key(), static_cast<std::uint32_t>(d_.dims.size()));
    d_.dims.push_back({std::string(member.key()), member, {}});
  }
  std::vector<std::vector<std::uint32_t>> needs(d_.dims.size());
  for (std::size_t i = 0; i < d_.dims.size(); ++i) {
    Dim& dim = d_.dims[i];
    if (dim.at.is(JsonKind::null)) continue;
    std::optional<Size> value = size(dim.at);
    if (!value) continue;  // reported; open for the rest
    dim.value = std::move(value->value);
    for (const std::string& name : dim.value->names()) needs[i].push_back(d_.dim_index.at(name));
  }
  Ordering ordering = ordered(needs.size(), needs);
  const std::vector<std::uint32_t>& cycle = ordering.cycle;
  d_.dim_order = std::move(ordering.order);
  if (cycle.empty()) return;
  mistakes_.add(d_.dims[cycle.front()].at,
                format("the dims {} are a cycle; a dim may not depend on itself",
                       cycle_text(cycle, [&](std::uint32_t i) { return d_.dims[i].name; })));
  // The rest is checked as if the dims of the cycle were open.
  for (std::uint32_t i : cycle) d_.dims[i].value.reset();
  for (std::uint32_t i : cycle) needs[i].clear();
  d_.dim_order = ordered(needs.size(), needs).order;
}

void Reader::weights(const JsonValue& value) {
  Weights weights{value, {}, false};
  if (value.is(JsonKind::object)) {
    check_keys(value, {"file", "extra"});
    const JsonValue file = required(value, "file");
    if (file) weights.file = text(file).value_or("");
    if (file) weights.at = file;
    if (const JsonValue extra = value.find("extra")) {
      if (!extra.is(JsonKind::text) || extra.text() != "ignore") {
        mistakes_.add(extra, format("extra is {}; \"ignore\" is the one choice", extra.describe()));
      }
      weights.ignore_extra = true;
    }
    if (!file.is(JsonKind::text)) return;
  } else if (const auto file = text(value)) {
    weights.file = *file;
  } else {
    return;
  }
  if (!weights.file.ends_with(".safetensors")) {
    mistakes_.add(weights.at,
                  format("weights {}; a .safetensors file is required", quoted(weights.file)));
    return;
  }
  d_.weights = std::move(weights);
}

Declaration Reader::declaration(const JsonValue& member, bool is_param, bool in_block) {
  Declaration result;
  result.name = member.key();
  result.at = member;
  result.location = Location(member.place());
  result.dtype = d_.dtype;
  result.broken = true;
  if (!is_object(member)) return result;
  const std::size_t before = mistakes_.size();
  if (is_param) {
    check_keys(member, {"shape", "dtype", "init", "from"});
  } else if (in_block) {
    check_keys(member, {"shape", "dtype"});
  } else {
    check_keys(member, {"shape", "dtype", "value", "init"});
  }
  if (const JsonValue value = member.find("dtype")) {
    result.dtype = dtype(value).value_or(d_.dtype);
  }
  if (const JsonValue value = required(member, "shape")) {
    if (auto sizes = shape(value)) result.shape = std::move(*sizes);
  }
  if (!is_param && !in_block) result.value = member.find("value");
  if (const JsonValue value = member.find("init"); value && (is_param || !in_block)) {
    result.init = init(value, result.dtype, is_param, result.shape.size());
    if (result.value) {
      mistakes_.add(value, "both \"value\" and \"init\"; at most one of them is allowed");
    }
  }
  result.from = result.name;
  if (const JsonValue value = member.find("from"); value && is_param) {
    result.from = text(value).value_or("");
  }
  result.broken = mistakes_.size() != before;
  return result;
}

Constant Reader::constant(const JsonValue& member) {
  Constant result;
  result.name = member.key();
  result.at = result.value = member;
  const std::size_t before = mistakes_.size();
  std::optional<DType> given;
  if (member.is(JsonKind::object)) {
    check_keys(member, {"value", "dtype", "shape"});
    result.value = required(member, "value");
    if (const JsonValue value = member.find("dtype")) given = dtype(value);
    if (const JsonValue value = member.find("shape")) result.shape = shape(value);
  }
  result.broken = mistakes_.size() != before;
  if (!result.broken) {
    result.dtype = given.value_or(json_is_boolean(result.value) ? boolean : d_.dtype);
  }
  return result;
}

std::optional<Init> Reader::init(const JsonValue& value, DType dtype, bool is_param,
                                 std::size_t rank) {
  using enum Init::Kind;
  static const std::vector<std::pair<std::string, Init::Kind>> words{
      {"zeros", zeros},
      {"ones", ones},
      {"xavier_uniform", xavier_uniform},
      {"kaiming_uniform", kaiming_uniform}};
  std::optional<Init> result;
  if (value.is(JsonKind::text)) {
    const auto word = std::ranges::find(words, value.text(), &decltype(words)::value_type::first);
    if (word != words.end()) {
      result.emplace().kind = word->second;
    } else {
      std::vector<std::string> known;
      for (const auto& [name, kind] : words) known.push_back(name);
      mistakes_.add(value, unknown("init", value.text(), known));
    }
  } else if (value.is(JsonKind::object)) {
    result = init_object(value);
  } else {
    mistakes_.add(value, format("{} as init; text or an object is required", value.describe()));
  }
  if (!result) return {};
  result->at = value;
  if (!init_fits(*result, dtype, is_param, rank)) return {};
  return result;
}

std::optional<Init> Reader::init_object(const JsonValue& object) {
  const std::size_t before = mistakes_.size();
  check_keys(object, {"constant", "normal", "uniform", "integers", "bernoulli"});
  std::vector<JsonValue> kinds;
  for (JsonValue member : object) {
    if (member.key() != "doc") kinds.push_back(member);
  }
  if (mistakes_.size() != before) return {};
  if (kinds.size() != 1) {
    mistakes_.add(object, format("init has {} kinds; exactly one is required", kinds.size()));
    return {};
  }
  const JsonValue value = kinds.front();
  const auto number = [&](std::string_view key, double& out) {
    if (const JsonValue given = value.find(key)) out = real(given).value_or(out);
  };
  Init result;
  if (value.key() == "constant") {
    result.kind = Init::Kind::constant;
    result.first = real(value).value_or(0);
  } else if (value.key() == "bernoulli") {
    result.kind = Init::Kind::bernoulli;
    result.first = real(value).value_or(0);
    if (!(result.first >= 0 && result.first <= 1)) {
      mistakes_.add(value, format("the probability {}; 0 to 1 is required", value.describe()));
    }
  } else if (!is_object(value)) {
    return {};
  } else if (value.key() == "normal") {
    result.kind = Init::Kind::normal;
    check_keys(value, {"mean", "std"});
    number("mean", result.first);
    number("std", result.second);
    if (!(result.second >= 0)) {
      mistakes_.add(value, format("std is {}; 0 or more is required", result.second));
    }
  } else if (value.key() == "uniform") {
    result.kind = Init::Kind::uniform;
    check_keys(value, {"low", "high"});
    number("low", result.first);
    number("high", result.second);
    if (!(result.first <= result.second)) {
      mistakes_.add(value, format("low is {} and high is {}; low may not be above high",
                                  result.first, result.second));
    }
  } else if (value.key() == "integers") {
    result.kind = Init::Kind::integers;
    check_keys(value, {"low", "high"});
    if (const JsonValue low = required(value, "low")) result.low = integer(low).value_or(0);
    if (const JsonValue high = required(value, "high")) result.high = integer(high).value_or(1);
    if (result.low >= result.high && mistakes_.size() == before) {
      mistakes_.add(value, format("low is {} and high is {}; low must be below high", result.low,
                                  result.high));
    }
  }
  if (mistakes_.size() != before) return {};
  return result;
}

bool Reader::init_fits(const Init& init, DType dtype, bool is_param, std::size_t rank) {
  using enum Init::Kind;
  const bool draws_floats = init.kind == xavier_uniform || init.kind == kaiming_uniform ||
                            init.kind == normal || init.kind == uniform;
  const bool fan = init.kind == xavier_uniform || init.kind == kaiming_uniform;
  const bool only_inputs = init.kind == integers || init.kind == bernoulli;
  const std::size_t before = mistakes_.size();
  if (draws_floats && !is_float(dtype)) {
    mistakes_.add(init.at, format("this init makes floats; the dtype is {}", dtype));
  }
  const double most =
      dtype == f32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  const auto finite = [&](double number) { return std::abs(number) <= most; };
  if (init.kind == normal && !(finite(init.first) && finite(init.second))) {
    mistakes_.add(init.at, format("mean {} and std {}; finite numbers in {} are required",
                                  init.first, init.second, dtype));
  }
  if (init.kind == uniform &&
      !(finite(init.first) && finite(init.second) && finite(init.second - init.first))) {
    mistakes_.add(init.at, format("low {} and high {}; numbers that are finite in {}, and whose "
                                  "difference is, are required",
                                  init.first, init.second, dtype));
  }
  if (init.kind == integers && dtype != i64) {
    mistakes_.add(init.at, format("\"integers\" makes i64; the dtype is {}", dtype));
  }
  if (init.kind == bernoulli && dtype != boolean) {
    mistakes_.add(init.at, format("\"bernoulli\" makes bool; the dtype is {}", dtype));
  }
  if (only_inputs && is_param) {
    mistakes_.add(init.at, "\"integers\" and \"bernoulli\" are for inputs only");
  }
  if (init.kind == constant && dtype == i64 &&
      !(init.first == std::trunc(init.first) && std::abs(init.first) < 0x1p63)) {
    mistakes_.add(init.at,
                  format("the constant {}; i64 requires a whole number in 64 bits", init.first));
  }
  if (init.kind == constant && dtype == boolean && init.first != 0 && init.first != 1) {
    mistakes_.add(init.at, format("the constant {}; bool requires 0 or 1", init.first));
  }
  if (fan && rank < 2) {
    mistakes_.add(init.at, format("{} needs a shape (in, out) of rank 2 and up; the rank is {}",
                                  init.at.describe(), rank));
  }
  return mistakes_.size() == before;
}

}  // namespace fovea::model
