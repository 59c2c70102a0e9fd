#include "fovea/tensor/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fovea/tensor/random.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

std::string file_of(std::string_view header, std::string_view data) {
  return little_endian(header.size(), 8) + std::string(header) + std::string(data);
}

NamedTensors load(std::string_view bytes) {
  const Scratch scratch;
  return load_safetensors(scratch.put("x.safetensors", bytes));
}

std::string load_error(std::string_view bytes) {
  return error_of([&] { load(bytes); });
}

std::string entry(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return R"({"a": {"dtype": ")" + std::string(dtype) + R"(", "shape": )" + std::string(shape) +
         R"(, "data_offsets": )" + std::string(offsets) + "}}";
}

TEST_CASE("safetensors: dtypes, widened where needed") {
  const auto one = [](std::string_view dtype, std::string_view shape, std::string_view bytes) {
    const std::string offsets = "[0, " + std::to_string(bytes.size()) + "]";
    return load(file_of(entry(dtype, shape, offsets), bytes)).at("a");
  };
  CHECK(equal_bits(one("F32", "[1]", unhex("0000c03f")), Tensor::from<float>({1.5}, {1})));
  CHECK(equal_bits(one("F64", "[]", unhex("000000000000f8bf")), Tensor::scalar(f64, -1.5)));
  CHECK(equal_bits(one("I64", "[1, 1]", unhex("ffffffffffffffff")),
                   Tensor::from<std::int64_t>({-1}, {1, 1})));
  CHECK(equal_bits(one("I32", "[2]", unhex("ffffffff 07000000")),
                   Tensor::from<std::int64_t>({-1, 7}, {2})));
  CHECK(equal_bits(one("BOOL", "[2]", unhex("0001")), Tensor::from<bool>({false, true}, {2})));
  CHECK(equal_bits(one("F16", "[3]", unhex("003c 0100 00fc")),
                   Tensor::from<float>({1, 0x1p-24f, -HUGE_VALF}, {3})));
  CHECK(equal_bits(one("BF16", "[3]", unhex("803f c0bf 807f")),
                   Tensor::from<float>({1, -1.5, HUGE_VALF}, {3})));
  CHECK(one("F32", "[0, 5]", "").shape() == Shape{0, 5});
}

TEST_CASE("safetensors: tensors in any order of the header, with metadata") {
  const NamedTensors tensors = load(file_of(
      R"({"__metadata__": {"format": "pt"}, "b": {"dtype": "BOOL", "shape": [1], "data_offsets": [4, 5]},
          "empty": {"dtype": "F64", "shape": [0], "data_offsets": [4, 4]},
          "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}   )",
      unhex("0000803f 01")));
  CHECK(tensors.size() == 3);
  CHECK(tensors.at("a").item() == 1);
  CHECK(tensors.at("b").item() == 1);
  CHECK(tensors.at("empty").numel() == 0);
  CHECK(load(file_of("{}", "")).empty());
}

TEST_CASE("safetensors: refusals") {
  const std::string four(4, '\0');
  CHECK(contains(load_error(""), "x.safetensors: 0 bytes; a header's length of 8"));
  CHECK(contains(load_error(little_endian(100, 8) + "{}"), "a header of 100 bytes, but only 2"));
  CHECK(contains(load_error(little_endian(~std::uint64_t{0}, 8)), "but only 0 are there"));
  CHECK(contains(load_error(file_of(" {}", "")), "does not begin with '{'"));
  CHECK(contains(load_error(file_of("{", "")), "x.safetensors:1:2: "));
  CHECK(contains(load_error(file_of("{}", "x")),
                 "1 bytes of elements; the header describes exactly 0"));
  const auto refused = [&](std::string_view dtype, std::string_view shape,
                           std::string_view offsets) {
    return load_error(file_of(entry(dtype, shape, offsets), four));
  };
  CHECK(refused("F32", "[1]", "[0, 4]").empty());
  CHECK(contains(refused("U8", "[4]", "[0, 4]"), "\"a\": dtype \"U8\"; F32, F64"));
  CHECK(contains(refused("F32", "[2]", "[0, 4]"), "4 bytes for shape (2,); exactly 8"));
  CHECK(contains(refused("F32", "[1]", "[4, 0]"), "data_offsets [4, 0]"));
  CHECK(contains(refused("F32", "[1]", "[0, 4, 4]"), "[begin, end]"));
  CHECK(contains(refused("F32", "[1]", "[-4, 0]"), "-4 in data_offsets"));
  CHECK(contains(refused("F32", "[1]", "[0, 4.0]"), "in data_offsets; a whole number"));
  CHECK(contains(refused("F32", "[1]", "[0, 18446744073709551615]"), "in data_offsets"));
  CHECK(contains(refused("F32", "[1]", "[4, 8]"), "begin at 4; 0 is required"));
  CHECK(contains(refused("F32", "[-1]", "[0, 4]"), "-1 in shape"));
  CHECK(contains(refused("F32", "1", "[0, 4]"), "no list shape"));
  CHECK(contains(refused("F32", "[4294967296, 4294967296]", "[0, 4]"), "too many elements"));
  CHECK(contains(refused("BOOL", "[0]", "[0, 0]"), "4 bytes of elements"));
  CHECK(contains(load_error(file_of(entry("BOOL", "[1]", "[0, 1]"), "\2")), "the byte 2"));
  CHECK(contains(load_error(file_of(R"({"a": 1})", "")), "\"a\": 1; an object"));
  CHECK(contains(load_error(file_of("{\"a\": {\"shape\": [], \"data_offsets\": [0, 4]}}", four)),
                 "dtype missing"));
  CHECK(contains(load_error(file_of("{\"a\": {\"strides\": []}}", four)), "the key \"strides\""));
  CHECK(contains(load_error(file_of("{\"__metadata__\": {\"a\": 1}}", "")), "\"a\" is 1; a text"));
  CHECK(contains(load_error(file_of("{\"__metadata__\": []}", "")), "\"__metadata__\": an empty"));
  const std::string a = R"("a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})";
  CHECK(contains(load_error(file_of("{" + a + ", " + a + "}", four)), "stands twice"));
  std::string b = a;
  b[1] = 'b';
  CHECK(contains(load_error(file_of("{" + a + ", " + b + "}", four)), "without gap or overlap"));
  CHECK(
      contains(load_error(file_of("{\"a\": " + std::string(100'000, '['), "")), "deeper than 100"));
}

TEST_CASE("safetensors: what is written reads back, and every tensor is aligned") {
  const Scratch scratch;
  const std::string file = scratch.path("x.safetensors");
  const Tensor w = random_normal(f32, {3, 5}, 0, 1, {});
  const NamedTensors tensors{{"b", w.astype(boolean)},
                             {"w", w},
                             {"v", w.transpose({1, 0})},
                             {"n \"ä\"", w.astype(i64)},
                             {"d", w.astype(f64).slice(1, {}, {}, -2)},
                             {"s", Tensor::scalar(f32, 2)},
                             {"e", Tensor::zeros(i64, {0, 4})}};
  save_safetensors(file, tensors);
  const NamedTensors loaded = load_safetensors(file);
  CHECK(loaded.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) CHECK(equal_bits(tensor, loaded.at(name)));

  save_safetensors(file, {{"b", Tensor::from<bool>({true}, {1})}, {"f", Tensor::scalar(f32, 1)}});
  const std::string header = R"({"f":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"BOOL","shape":[1],"data_offsets":[4,5]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(Scratch::get(file) == file_of(padded, unhex("0000803f01")));
  save_safetensors(file, {});
  CHECK(load_safetensors(file).empty());
}

TEST_CASE("safetensors: what cannot be written leaves the file as it was") {
  const Scratch scratch;
  const std::string file = scratch.put("x.safetensors", "before");
  const Tensor t = Tensor::zeros(f32, {2});
  CHECK(contains(error_of([&] { save_safetensors(file, {{"__metadata__", t}}); }), "reserves it"));
  CHECK(contains(error_of([&] { save_safetensors(file, {{"\xff", t}}); }), "names are UTF-8"));
  CHECK(contains(error_of([&] { save_safetensors(file, {{"a", Tensor()}}); }), "null tensor"));
  CHECK(Scratch::get(file) == "before");
  CHECK(scratch.files() == 1);
}

}  // namespace
}  // namespace fovea
