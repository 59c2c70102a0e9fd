#include "fovea/graph/model.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "fovea/tensor/error.h"

using namespace fovea;

namespace {

std::string error_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kLinear = R"({
  "fovea": 1, "seed": 7,
  "dims": {"rows": null, "in": 3, "out": "2*in"},
  "inputs": {"x": {"shape": ["rows", "in"]}},
  "params": {"w": {"shape": ["in", "out"], "init": {"normal": {"std": 0.5}}},
             "b": {"shape": ["out"], "init": {"constant": 2}}},
  "nodes": [
    {"name": "y", "op": "add", "inputs": ["xw", "b"]},
    {"name": "xw", "op": "matmul", "inputs": ["x", "w"]}
  ],
  "outputs": {"y": "y"}
})";

}  // namespace

TEST_CASE("a model is a template: each binding has sizes of its own") {
  const Model model = Model::parse(kLinear);
  const Session two = model.bind({{"rows", 2}});
  const Session five = model.bind({{"rows", 5}, {"in", 4}});
  CHECK(two.outputs()[0].second.shape() == Shape{2, 6});
  CHECK(five.outputs()[0].second.shape() == Shape{5, 8});
  CHECK(to_string(two.outputs()[0].second.shape()) == "(rows=2, out=6)");
  CHECK(contains(error_of([&] { model.bind(); }),
                 "the dim \"rows\" has no size; say sizes[\"rows\"] = N"));
  CHECK(contains(error_of([&] { model.bind({{"rwos", 2}}); }), "did you mean \"rows\"?"));
  CHECK(contains(error_of([&] { model.bind({{"rows", -2}}); }), "sizes are 0 or more"));
}

TEST_CASE("a session computes by name, and into the caller's memory") {
  const Session session = Model::parse(kLinear).bind({{"rows", 1}});
  const Tensor zeros = Tensor::zeros(f32, {1, 3});
  const NamedTensors out = session.run({{"x", zeros}});
  CHECK(out.at("y").to_vector<float>() == std::vector<float>(6, 2.0f));
  const Tensor mine = Tensor::empty(f32, {1, 6});
  session.run({{"x", zeros}}, {{"y", mine}});
  CHECK(equal_bits(mine, out.at("y")));
  // A float array of another width is converted, nothing else.
  CHECK(equal_bits(session.run({{"x", zeros.astype(f64)}}).at("y"), mine));
  CHECK(contains(error_of([&] { session.run({{"x", zeros.astype(i64)}}); }), "i64 (1, 3)"));
  CHECK(contains(error_of([&] { session.run({{"xx", zeros}}); }), "did you mean \"x\"?"));
  CHECK(contains(error_of([&] { session.run({}, {{"z", mine}}); }), "run: unknown value \"z\""));
}

TEST_CASE("initial values depend on the seed and the param's name alone") {
  const Model model = Model::parse(kLinear);
  const auto w = [](const Session& session) { return session.tensor(session.params()[0]); };
  const Tensor first = w(model.bind({{"rows", 1}}));
  CHECK(equal_bits(first, w(model.bind({{"rows", 9}}))));
  CHECK_FALSE(equal_bits(first, w(model.bind({{"rows", 1}}, {.seed = 8}))));
  std::string renamed = kLinear;
  for (std::size_t at; (at = renamed.find("\"b\"")) != renamed.npos;)
    renamed.replace(at, 3, "\"c\"");
  CHECK(equal_bits(first, w(Model::parse(renamed).bind({{"rows", 1}}))));
}

TEST_CASE("the whole model can be f64") {
  const Session session = Model::parse(kLinear).bind({{"rows", 2}}, {.dtype = f64});
  CHECK(session.outputs()[0].second.dtype() == f64);
  const Session narrow = Model::parse(kLinear).bind({{"rows", 2}});
  CHECK(equal_bits(session.tensor(session.params()[0]).astype(f32),
                   narrow.tensor(narrow.params()[0])));
  const Model cast = Model::parse(R"({"fovea": 1, "inputs": {"n": {"shape": [2], "dtype": "i64"}},
    "nodes": [{"name": "y", "op": "cast", "inputs": ["n"], "attrs": {"dtype": "f32"}}],
    "outputs": ["y"]})");
  CHECK(cast.bind({}, {.dtype = f64, .draw = true}).run().at("y").dtype() == f64);
}

TEST_CASE("arrays of inputs bind dims") {
  const Model model = Model::parse(kLinear);
  const Session session = model.bind({}, {.inputs = {{"x", Tensor::zeros(f32, {4, 3})}}});
  CHECK(session.run().at("y").shape() == Shape{4, 6});
  // They override defaults, and what is computed from those follows.
  const Session wider = model.bind({}, {.inputs = {{"x", Tensor::zeros(f32, {4, 5})}}});
  CHECK(wider.run().at("y").shape() == Shape{4, 10});
  CHECK(contains(error_of([&] {
                   model.bind({{"rows", 3}}, {.inputs = {{"x", Tensor::zeros(f32, {4, 3})}}});
                 }),
                 "inputs: \"x\" is f32 (4, 3), so rows is 4; rows is 3 by sizes[\"rows\"] = 3"));
  CHECK(contains(error_of([&] {
                   model.bind({}, {.inputs = {{"w", Tensor::zeros(f32, {4})}}});
                 }),
                 "\"w\" is a param"));
}

TEST_CASE("inputs that nothing gives are drawn") {
  const Model model = Model::parse(R"({"fovea": 1,
    "inputs": {"x": {"shape": [1000]}, "n": {"shape": [2], "dtype": "i64"},
               "m": {"shape": [2], "dtype": "bool"},
               "k": {"shape": [3], "init": "ones"}, "v": {"shape": [2], "value": [1, "inf"]}},
    "nodes": [], "outputs": ["x", "n", "m", "k", "v"]})");
  CHECK(error_of([&] {
          model.bind().run({{"m", Tensor::zeros(DType::boolean, {2})}});
        }) == "run: input \"x\" f32 (1000,) is not given, and the model has no value for it");
  const Session session = model.bind({}, {.draw = true});
  const NamedTensors out = session.run();
  double square = 0;
  for (float x : out.at("x").to_vector<float>()) square += x * x;
  CHECK(square / 1000 > 0.8);
  CHECK(square / 1000 < 1.2);
  CHECK(out.at("n").to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 0});
  CHECK(out.at("m").to_vector<bool>() == std::vector<bool>{true, true});
  CHECK(out.at("v").to_vector<float>() == std::vector<float>{1, HUGE_VALF});
  CHECK(session.inputs()[0].origin == Origin::drawn);
  CHECK(session.inputs()[3].origin == Origin::init);
  CHECK(session.inputs()[4].origin == Origin::stated);
}

TEST_CASE("weights give exactly the params, under their own names") {
  Model model = Model::parse(kLinear);
  const Tensor w = Tensor::full(f64, {3, 6}, 1), b = Tensor::zeros(f32, {6});
  model.set_weights({{"w", w}, {"b", b}});
  const NamedTensors out = model.bind({{"rows", 1}}).run({{"x", Tensor::full(f32, {1, 3}, 1)}});
  CHECK(out.at("y").to_vector<float>() == std::vector<float>(6, 3.0f));
  model.set_weights({{"w", w}});
  CHECK(contains(error_of([&] {
                   model.bind({{"rows", 1}});
                 }),
                 "weights: there is no \"b\" for the param \"b\""));
  model.set_weights({{"w", w}, {"b", b}, {"c", b}});
  CHECK(contains(error_of([&] {
                   model.bind({{"rows", 1}});
                 }),
                 "weights: \"c\" f32 (6,) belongs to no param"));
  model.set_weights({{"w", Tensor::zeros(f32, {6, 3})}, {"b", b}});
  CHECK(contains(error_of([&] { model.bind({{"rows", 1}}); }), "is it transposed?"));
}

TEST_CASE("values inside a model have dotted names") {
  const Session session = Model::parse(kLinear).bind({{"rows", 1}});
  CHECK(session.value("xw").shape() == Shape{1, 6});
  CHECK(session.value("xw.y").shape() == Shape{1, 6});
  CHECK(session.value("w").shape() == Shape{3, 6});
  for (const char* name : {"xv", "xw.", "xw.z", "x.y", "", "."}) {
    CAPTURE(name);
    CHECK_FALSE(error_of([&] { session.value(name); }).empty());
  }
}

TEST_CASE("memory is refused before it is taken") {
  const Model model = Model::parse(kLinear);
  CHECK(contains(error_of([&] {
                   model.bind({{"rows", 1 << 20}}, {.max_memory = 1 << 20}).run();
                 }),
                 "BindOptions::max_memory"));
  CHECK(contains(error_of([&] {
                   model.bind({{"rows", std::int64_t{1} << 50}}).run();
                 }),
                 "BindOptions::max_memory"));
}

TEST_CASE("documentation is allowed everywhere") {
  Model::parse(R"({"fovea": 1, "doc": "a", "$schema": "b",
    "dims": {"doc": "c", "n": 2},
    "inputs": {"doc": "d", "x": {"doc": "e", "shape": ["n"], "init": {"doc": "f", "normal": {"doc": "g"}}}},
    "params": {"doc": "h", "w": {"doc": "i", "shape": ["n"], "init": "ones"}},
    "constants": {"doc": "j", "c": {"doc": "k", "value": 1}},
    "nodes": [{"doc": "l", "name": "a", "op": "add", "inputs": {"doc": "m", "a": "x", "b": "w"}},
              {"name": "y", "op": "softmax", "inputs": ["a"], "attrs": {"doc": "n"}}],
    "outputs": {"doc": "the result", "y": "y"}})")
      .bind()
      .run();
}
