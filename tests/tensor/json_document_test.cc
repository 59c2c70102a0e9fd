#include "fovea/tensor/json_document.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace fovea;

namespace {

std::string error_of(const std::string& text) {
  try {
    JsonDocument::parse("m.json", text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string tensor_error(const std::string& text, DType dtype) {
  const auto document = JsonDocument::parse("m.json", text);
  try {
    tensor_from_json(document->root(), dtype);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("every value knows its line, column and pointer") {
  const auto document = JsonDocument::parse(
      "m.json", "{\"a\": 1,\n  \"b/c\": [true, -2.5,\n \"\xC3\xA4\", {\"d\": null}],\"\": 7}");
  const JsonValue root = document->root();
  CHECK(root.place() == "m.json:1:1");
  CHECK(root.size() == 3);
  CHECK(root.find("a").place() == "m.json:1:7: /a");
  CHECK(root.find("a").integer() == 1);
  const JsonValue list = root.find("b/c");
  CHECK(list.key_place() == "m.json:2:3: /b~1c");
  CHECK(list.place() == "m.json:2:10: /b~1c");
  std::vector<std::string> places;
  for (JsonValue child : list) places.push_back(child.place());
  CHECK(places == std::vector<std::string>{"m.json:2:11: /b~1c/0", "m.json:2:17: /b~1c/1",
                                           "m.json:3:2: /b~1c/2", "m.json:3:7: /b~1c/3"});
  // Columns count characters, not bytes.
  CHECK((*(++ ++ ++list.begin())).find("d").place() == "m.json:3:13: /b~1c/3/d");
  CHECK(root.find("").integer() == 7);
  CHECK_FALSE(root.find("absent"));
}

TEST_CASE("a byte order mark is allowed and no part of a column") {
  const auto document = JsonDocument::parse("m.json", "\xEF\xBB\xBF[3]");
  CHECK((*document->root().begin()).integer() == 3);
}

TEST_CASE("texts that are not one JSON value are refused with their place") {
  CHECK(contains(error_of(""), "m.json:1:1: the file is empty"));
  CHECK(contains(error_of(" \n "), "the file is empty"));
  CHECK(contains(error_of("{\"a\": 1,}"),
                 "m.json:1:9: not JSON: unexpected \"}\"; a key in double quotes"));
  CHECK(contains(error_of("{} x"), "m.json:1:4: "));
  CHECK(contains(error_of("[1,\n 2"), "m.json:2:3: "));
  CHECK(contains(error_of("[\"\xff\"]"), "UTF-8"));
  CHECK(contains(error_of(std::string("[1]\n\0", 5)), "m.json:2:1: not JSON: a NUL byte"));
  CHECK(contains(error_of("[1,\n1e999]"), "m.json:2:1: the number is too large"));
  CHECK(contains(error_of("{\"a\": 1, \"b\": {\"a\": 2},\n\"a\": 3}"),
                 "m.json:2:1: the key \"a\" stands twice"));
  CHECK(contains(error_of(std::string(101, '[')), "m.json:1:101: "));
  CHECK(contains(error_of(std::string(1000000, '[')), "nested deeper than 100"));
  CHECK(error_of(std::string(100, '[') + std::string(100, ']')).empty());
}

TEST_CASE("a text has a limit of values, so that it needs a limit of memory") {
  std::string text = "[";
  for (std::size_t i = 1; i < JsonDocument::kMaxValues; ++i) text += "1,";
  CHECK(error_of(text.substr(0, text.size() - 1) + "]").empty());  // with the list itself
  CHECK(contains(error_of(text + "\n1]"), "m.json:2:1: more than 8388608 values"));
  CHECK(contains(error_of(text + "[]]"), "more than 8388608 values"));
}

TEST_CASE("numbers") {
  const auto document =
      JsonDocument::parse("m.json", "[9223372036854775807, 9223372036854775808, 1e2,3]");
  auto at = document->root().begin();
  CHECK((*at).integer() == 9223372036854775807);
  ++at;
  CHECK((*at).kind() == JsonKind::real);
  ++at;
  CHECK((*at).number() == 100.0);
  ++at;
  CHECK((*at).integer() == 3);
}

TEST_CASE("nested arrays become tensors") {
  const auto document = JsonDocument::parse("m.json", "[[1, 2.5, \"inf\"], [-3, \"nan\", 0]]");
  const Tensor t = tensor_from_json(document->root(), f32);
  CHECK(t.shape() == Shape{2, 3});
  CHECK(t.at<float>({0, 1}) == 2.5f);
  CHECK(t.at<float>({0, 2}) == HUGE_VALF);
  CHECK(std::isnan(t.at<float>({1, 1})));
  CHECK(tensor_from_json(JsonDocument::parse("m", "[[], []]")->root(), i64).shape() == Shape{2, 0});
  CHECK(tensor_from_json(JsonDocument::parse("m", "true")->root(), boolean).at<bool>({}));
  CHECK(tensor_from_json(JsonDocument::parse("m", "[2.0]")->root(), i64).at<std::int64_t>({0}) ==
        2);
}

TEST_CASE("arrays that are no tensor are refused at the element") {
  CHECK(contains(tensor_error("[[1, 2], [3]]", f32), "m.json:1:10: /1: a list of 1 beside"));
  CHECK(contains(tensor_error("[[1, 2], 3]", f32), "m.json:1:10: /1: 3 among lists"));
  CHECK(contains(tensor_error("[1, [2]]", f32), "m.json:1:5: /1: a list of 1 as f32"));
  CHECK(contains(tensor_error("[0.5]", i64), "/0: 0.5 as i64; a whole number"));
  CHECK(contains(tensor_error("[1e39]", f32), "too large for f32"));
  CHECK(contains(tensor_error("[1]", boolean), "1 as bool; true or false"));
  CHECK(contains(tensor_error("[true]", f64), "true as f64"));
  // 1e5 lists, the first of 1e5 elements, promise 1e10 elements.
  std::string liar = "[[0";
  for (int i = 1; i < 100000; ++i) liar += ",0";
  liar += "]";
  for (int i = 1; i < 100000; ++i) liar += ",0";
  CHECK(contains(tensor_error(liar + "]", f32), "0 among lists; a list of 100000"));
}
