#include "fovea/tensor/json_arrays.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "fovea/tensor/random.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

Tensor load_one(std::string_view text, std::optional<DType> wanted = {}) {
  const Scratch scratch;
  const std::string file = scratch.put("x.json", text);
  return load_json_arrays(file, [&](std::string_view) { return wanted; }).at("a");
}

std::string load_error(std::string_view text, std::optional<DType> wanted = {}) {
  return error_of([&] { load_one(text, wanted); });
}

TEST_CASE("json arrays: plain numbers take the wanted dtype") {
  CHECK(equal_bits(load_one(R"({"a": [[1, 2.5], [-3, 1e2]]})", f32),
                   Tensor::from<float>({1, 2.5, -3, 100}, {2, 2})));
  CHECK(equal_bits(load_one(R"({"a": 7})", i64), Tensor::scalar(i64, 7)));
  CHECK(equal_bits(load_one(R"({"a": [7.0]})", i64), Tensor::from<std::int64_t>({7}, {1})));
  CHECK(equal_bits(load_one(R"({"a": [true, false]})", boolean),
                   Tensor::from<bool>({true, false}, {2})));
}

TEST_CASE("json arrays: without a wanted dtype, numbers are f64 and true and false bool") {
  CHECK(equal_bits(load_one(R"({"a": 0.1})"), Tensor::scalar(f64, 0.1)));
  CHECK(equal_bits(load_one(R"({"a": [[true]]})"), Tensor::from<bool>({true}, {1, 1})));
  const Scratch scratch;
  CHECK(load_json_arrays(scratch.put("x.json", R"({"a": 1, "b": [2]})")).size() == 2);
  CHECK(load_json_arrays(scratch.put("y.json", "{}")).empty());
}

TEST_CASE("json arrays: the long form") {
  CHECK(equal_bits(load_one(R"({"a": {"value": [1, 2], "dtype": "i64"}})", f32),
                   Tensor::from<std::int64_t>({1, 2}, {2})));
  CHECK(equal_bits(load_one(R"({"a": {"value": [1, 2], "shape": [2], "doc": "two"}})", f32),
                   Tensor::from<float>({1, 2}, {2})));
  CHECK(load_one(R"({"a": {"value": [], "dtype": "f64", "shape": [0, 3]}})").shape() ==
        Shape{0, 3});
  CHECK(load_one(R"({"a": {"value": [], "shape": [2, 0, 3]}})").shape() == Shape{2, 0, 3});
  CHECK(load_one(R"({"a": {"value": [[], []], "shape": [2, 0, 3]}})").shape() == Shape{2, 0, 3});
  CHECK(load_one(R"({"a": {"value": [[], []]}})").shape() == Shape{2, 0});
  CHECK(load_one(R"({"a": {"value": "-inf"}})", f32).item() == -HUGE_VAL);
}

TEST_CASE("json arrays: numbers that JSON lacks") {
  const auto values = load_one(R"({"a": ["inf", "-inf", "nan", -0.0]})", f32).to_vector<float>();
  CHECK(values[0] == HUGE_VALF);
  CHECK(values[1] == -HUGE_VALF);
  CHECK(std::isnan(values[2]));
  CHECK(std::signbit(values[3]));
}

TEST_CASE("json arrays: refusals say where") {
  CHECK(contains(load_error("{\"a\": [1,\n 0.5]}", i64), "x.json:2:2: /a/1: 0.5 as i64"));
  CHECK(contains(load_error(R"({"a": 1})", boolean), "x.json:1:7: /a: 1 as bool"));
  CHECK(contains(load_error(R"({"a": true})", f32), "true as f32"));
  CHECK(contains(load_error(R"({"a": "Inf"})", f32), "\"Inf\" as f32"));
  CHECK(contains(load_error(R"({"a": "inf"})", i64), "\"inf\" as i64"));
  CHECK(contains(load_error(R"({"a": 9223372036854775808})", i64), "as i64"));
  CHECK(contains(load_error(R"({"a": 1e39})", f32), "too large for f32"));
  CHECK(contains(load_error(R"({"a": [1, true]})"), "/a/1: true as f64"));
  CHECK(contains(load_error(R"({"a": [true, 1]})"), "/a/1: 1 as bool"));
  CHECK(contains(load_error(R"({"a": [[1], [2, 3]]})"), "/a/1: a list of 2 beside"));
  CHECK(contains(load_error(R"({"a": null})"), "null as f64"));
  CHECK(contains(load_error(R"({"a": 1, "a": 2})"), "x.json:1:10: the key \"a\" stands twice"));
  CHECK(contains(load_error(R"({"a": {"value": 1, "value": 2}})"), "stands twice"));
  CHECK(contains(load_error(R"({"a": {"dtype": "f32"}})"), "without \"value\""));
  CHECK(contains(load_error(R"({"a": {"value": 1, "dtpe": "f32"}})"), "did you mean \"dtype\"?"));
  CHECK(contains(load_error(R"({"a": {"value": 1, "dtype": "f16"}})"), "the dtype \"f16\""));
  CHECK(contains(load_error(R"({"a": {"value": 1, "dtype": 32}})"), "32 as a dtype"));
  CHECK(contains(load_error(R"({"a": {"value": [1], "shape": [2]}})"), "they must agree"));
  CHECK(contains(load_error(R"({"a": {"value": [], "shape": [2]}})"), "they must agree"));
  CHECK(contains(load_error(R"({"a": {"value": [[]], "shape": [2, 0]}})"), "they must agree"));
  CHECK(contains(load_error(R"({"a": {"value": [], "shape": [-1]}})"), "-1 as a size"));
  CHECK(contains(load_error(R"({"a": {"value": [], "shape": [0.5]}})"), "0.5 as a size"));
  CHECK(contains(load_error(R"({"a": {"value": [], "shape": 0}})"), "0 as a shape"));
  CHECK(contains(load_error(R"({"a": {"value": [], "shape": [0, 4611686018427387904]}})"),
                 "too many elements"));
  CHECK(contains(load_error("[1]"), "x.json:1:1: a list of 1; an object"));
  CHECK(contains(load_error(""), "the file is empty"));
  CHECK(contains(load_error(R"({"a": 1} 2)"), "x.json:1:10"));
  CHECK(contains(load_error(R"({"a": )" + std::string(100'000, '[')), "nested deeper than 100"));
  CHECK(contains(load_error("{\"a\": \"\xff\"}"), "UTF-8"));
}

TEST_CASE("json arrays: a large file is refused before it is read") {
  const Scratch scratch;
  const std::string file = scratch.put("x.json", "{");
  std::filesystem::resize_file(file, std::uintmax_t{1} << 40);
  CHECK(contains(error_of([&] { load_json_arrays(file); }),
                 "1099511627776 bytes; at most 134217728"));
}

TEST_CASE("json arrays: what is written reads back as the same bits") {
  const Scratch scratch;
  const std::string file = scratch.path("x.json");
  NamedTensors tensors;
  // Every exponent of f32 and f64, both signs.
  std::vector<float> floats;
  std::vector<double> doubles;
  const std::vector<double> uniform = random_uniform(f64, {5000}, -2, 2, {}).to_vector<double>();
  for (std::size_t i = 0; i < uniform.size(); ++i) {
    floats.push_back(std::ldexp(static_cast<float>(uniform[i]), static_cast<int>(i % 277) - 149));
    doubles.push_back(std::ldexp(uniform[i], static_cast<int>(i % 2098) - 1074));
  }
  tensors["floats"] = Tensor::from(floats, {50, 100});
  tensors["doubles"] = Tensor::from(doubles, {5000});
  using Limits = std::numeric_limits<float>;
  tensors["special"] = Tensor::from<float>(
      {0.0f, -0.0f, Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), Limits::max(),
       Limits::lowest(), Limits::denorm_min(), Limits::min()},
      {3, 3});
  tensors["integers"] = Tensor::from<std::int64_t>(
      {0, -1, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()},
      {2, 2});
  tensors["bools"] = Tensor::from<bool>({true, false}, {2, 1});
  tensors["scalar"] = Tensor::scalar(f64, 0.1);
  tensors["empty"] = Tensor::zeros(i64, {0, 1 << 20, 7});
  tensors["view"] = tensors["floats"].transpose({1, 0}).slice(0, {}, {}, -3);
  tensors["a \"name\"\n/ä"] = Tensor::zeros(f32, {1});
  tensors[""] = Tensor::zeros(f32, {1});
  save_json_arrays(file, tensors);
  const NamedTensors loaded = load_json_arrays(file);
  CHECK(loaded.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(equal_bits(tensor, loaded.at(name)));
  }
}

TEST_CASE("json arrays: the long form as text") {
  const Scratch scratch;
  const std::string file = scratch.path("x.json");
  save_json_arrays(file, {{"y", Tensor::from<float>({0.1f, 1, -HUGE_VALF, 1e-20f}, {2, 2})},
                          {"n", Tensor::scalar(i64, -3)}});
  CHECK(Scratch::get(file) ==
        "{\n"
        "  \"n\": {\"dtype\": \"i64\", \"shape\": [], \"value\": -3},\n"
        "  \"y\": {\"dtype\": \"f32\", \"shape\": [2, 2], \"value\": [[0.1, 1], [\"-inf\", "
        "1e-20]]}\n"
        "}\n");
  save_json_arrays(file, {});
  CHECK(Scratch::get(file) == "{}\n");
}

TEST_CASE("json arrays: what cannot be written leaves the file as it was") {
  const Scratch scratch;
  const std::string file = scratch.put("x.json", "before");
  CHECK(contains(error_of([&] {
                   save_json_arrays(file, {{"\xff", Tensor::zeros(f32, {1})}});
                 }),
                 "names are UTF-8"));
  CHECK(contains(error_of([&] { save_json_arrays(file, {{"a", Tensor()}}); }), "null tensor"));
  const Tensor huge = Tensor::scalar(f32, 1).broadcast_to({1 << 20, 1 << 20});
  CHECK(contains(error_of([&] {
                   save_json_arrays(file, {{"a", huge}});
                 }),
                 "1099511627776 elements; .npz or .safetensors is required"));
  CHECK(Scratch::get(file) == "before");
  CHECK(scratch.files() == 1);
  const Tensor deep =
      Tensor::scalar(f32, 1).reshape(Shape(std::vector<Extent>(std::size_t{64}, Extent(1))));
  save_json_arrays(file, {{"a", deep}});
  CHECK(load_json_arrays(file).at("a").rank() == 64);
}

}  // namespace
}  // namespace fovea
