// Sessions: params that are set and saved, weights of other makers, several threads at once.

#include "fovea/graph/model.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fovea/graph/gradients.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/files.h"
#include "tests/tensor/scratch.h"

using namespace fovea;

namespace {

// y = x w + b, twice: layers.0 and layers.1 in the file's words.
constexpr const char* kLayers = R"({
  "fovea": 1, "dims": {"rows": null, "width": 3},
  "inputs": {"x": {"shape": ["rows", "width"]}},
  "blocks": {"layer": {
    "inputs": {"h": {"shape": ["rows", "width"]}},
    "params": {"w": {"shape": ["width", "width"], "from": "model.layers.{i}.weight"},
               "b": {"shape": ["width"], "from": "model.layers.{i}.bias"}},
    "nodes": [{"name": "hw", "op": "matmul", "inputs": ["h", "w"]},
              {"name": "y", "op": "add", "inputs": ["hw", "b"]}],
    "outputs": {"y": "y"}}},
  "nodes": [{"name": "layers", "block": "layer", "inputs": ["x"], "repeat": 2}],
  "outputs": {"y": "layers", "inner": "layers.0.hw"}
  WEIGHTS
})";

std::string layers(const std::string& weights = "") {
  std::string text = kLayers;
  return text.replace(text.find("WEIGHTS"), 7, weights);
}

NamedTensors state_dict(double scale = 1) {
  NamedTensors all;
  for (const char* i : {"0", "1"}) {
    const std::string prefix = std::string("model.layers.") + i + ".";
    all[prefix + "weight"] = Tensor::full(f32, {3, 3}, scale);
    all[prefix + "bias"] = Tensor::full(f32, {3}, scale * (1 + std::stoi(i)));
  }
  return all;
}

Session two_layers(double scale = 1) {
  Model model = Model::parse(layers());
  model.set_weights(state_dict(scale));
  return model.bind({{"rows", 2}});
}

const Tensor kOnes = Tensor::full(f32, {2, 3}, 1);

// With w and b of `scale`: h = 3 s + s, y = 3 s h + 2 s.
float expected(float s) { return 3 * s * (4 * s) + 2 * s; }

// A file as PyTorch writes it: metadata, a mask of bytes, halves, an order of its own.
std::string foreign_file() {
  std::string header = R"({"__metadata__": {"format": "pt"},
    "model.layers.1.bias": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
    "mask": {"dtype": "U8", "shape": [2], "data_offsets": [6, 8]},
    "model.layers.0.bias": {"dtype": "F16", "shape": [3], "data_offsets": [8, 14]},
    "odd": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [14, 16]},
    "model.layers.1.weight": {"dtype": "F32", "shape": [3, 3], "data_offsets": [16, 52]},
    "model.layers.0.weight": {"dtype": "F64", "shape": [3, 3], "data_offsets": [52, 124]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string bytes = little_endian(header.size(), 8) + header;
  const auto repeat = [&](std::string_view element, int times) {
    for (int i = 0; i < times; ++i) bytes += unhex(element);
  };
  repeat("0040", 3);              // bf16 2
  repeat("01", 2);                // U8
  repeat("003c", 3);              // f16 1
  repeat("00", 2);                // F8
  repeat("0000803f", 9);          // f32 1
  repeat("000000000000f03f", 9);  // f64 1
  return bytes;
}

}  // namespace

TEST_CASE(
    "a state_dict of another maker loads by `from`; what is too much is ignored when allowed") {
  const Scratch folder;
  folder.put("w.safetensors", foreign_file());
  const std::string ignoring =
      layers(R"(, "weights": {"file": "w.safetensors", "extra": "ignore"})");
  const Session session = Model::parse(ignoring, folder.path("")).bind({{"rows", 2}});
  CHECK(session.run({{"x", kOnes}}).at("y").at<float>({0, 0}) == expected(1));
  CHECK(session.param("layers.1.b").to_vector<float>() == std::vector<float>{2, 2, 2});
  CHECK(session.params()[0].origin == Origin::weights);

  const std::string strict = layers(R"(, "weights": "w.safetensors")");
  const std::string error = error_of([&] { Model::parse(strict, folder.path("")); });
  CHECK(contains(error, "w.safetensors: \"mask\" "));
  CHECK(contains(error, "w.safetensors: \"odd\" "));
  CHECK(contains(error, "belongs to no param of model"));
  std::string wants_bytes = ignoring;
  wants_bytes.replace(wants_bytes.find("model.layers.{i}.bias"), 21, "mask");
  CHECK(contains(error_of([&] { Model::parse(wants_bytes, folder.path("")); }),
                 "dtype \"U8\"; F32, F64, I64, I32, BOOL, F16 or BF16 is required"));
}

TEST_CASE("weights are checked by their names and shapes while a dim is open") {
  Model model = Model::parse(layers());
  NamedTensors weights = state_dict();
  weights["model.layers.0.bias"] = Tensor::zeros(f32, {4});
  weights.erase("model.layers.1.weight");
  model.set_weights(weights);
  const std::string error = error_of([&] { model.check(); });
  CHECK(contains(error,
                 "weights: \"model.layers.0.bias\" is f32 (4,); f32 (width=3,) is required by the "
                 "param \"layers.0.b\" at model:7:16: /blocks/layer/params/b"));
  CHECK(contains(error, "weights: there is no \"model.layers.1.weight\" for the param"));
}

TEST_CASE("a weights file that vanishes or is cut off after it has been checked") {
  const Scratch folder;
  const auto bound = [&](const std::string& name) {
    Model model = Model::parse(layers());
    save_tensors(folder.path(name), state_dict());
    model.load_weights(folder.path(name));
    return model.bind({{"rows", 2}});
  };
  const Session removed = bound("a.safetensors");
  std::filesystem::remove(folder.path("a.safetensors"));
  CHECK(removed.run({{"x", kOnes}}).at("y").at<float>({0, 0}) == expected(1));  // it is open

  const Session cut = bound("b.safetensors");
  const std::string b = folder.path("b.safetensors");
  std::filesystem::resize_file(b, std::filesystem::file_size(b) - 100);
  const std::string error = error_of([&] { cut.run(); });
  CHECK(error == b + ": the file has become shorter while it was read");
  CHECK(error_of([&] { cut.run(); }) == error);

  const Session replaced = bound("c.safetensors");
  NamedTensors others = state_dict(2);
  save_tensors(folder.path("c.safetensors"), others);  // another file of this name
  CHECK(replaced.run({{"x", kOnes}}).at("y").at<float>({0, 0}) == expected(1));
}

TEST_CASE("bindings of a model share the arrays of its weights") {
  const Scratch folder;
  save_tensors(folder.path("w.safetensors"), state_dict());
  const Model model = Model::parse(layers(R"(, "weights": "w.safetensors")"), folder.path(""));
  const Session two = model.bind({{"rows", 2}}), five = model.bind({{"rows", 5}});
  CHECK(two.param("layers.0.w").raw() == five.param("layers.0.w").raw());
  CHECK(two.param("layers.0.w").raw() != two.param("layers.1.w").raw());
}

TEST_CASE("params are set for a session, and saved under the names that they came from") {
  Session session = two_layers();
  const Session copy = session, other = two_layers();
  CHECK(session.run({{"x", kOnes}}).at("y").at<float>({1, 2}) == expected(1));
  session.set_params({{"layers.0.b", Tensor::full(f64, {3}, 5)}});
  const float set = 3 * (3 + 5) + 2;
  CHECK(session.run({{"x", kOnes}}).at("y").at<float>({1, 2}) == set);
  CHECK(copy.run({{"x", kOnes}}).at("y").at<float>({1, 2}) == set);
  CHECK(other.run({{"x", kOnes}}).at("y").at<float>({1, 2}) == expected(1));

  const Scratch folder;
  session.save_params(folder.path("w.safetensors"));
  const NamedTensors saved = load_tensors(folder.path("w.safetensors"));
  CHECK(saved.size() == 4);
  CHECK(saved.at("model.layers.0.bias").to_vector<float>() == std::vector<float>{5, 5, 5});
  Model again = Model::parse(layers());
  again.load_weights(folder.path("w.safetensors"));
  CHECK(again.bind({{"rows", 2}}).run({{"x", kOnes}}).at("y").at<float>({1, 2}) == set);
  Session third = two_layers();
  third.set_params(saved);
  CHECK(third.run({{"x", kOnes}}).at("y").at<float>({1, 2}) == set);
  CHECK_THROWS_AS(session.save_params(folder.path("none/w.safetensors")), Error);
  CHECK(folder.files() == 1);
}

TEST_CASE("values inside and gradients for given inputs") {
  const Session session = two_layers();
  const Tensor twos = Tensor::full(f32, {2, 3}, 2), inner = Tensor::zeros(f32, {2, 3});
  session.run({{"x", twos}}, {{"layers.0.y", inner}});
  CHECK(inner.at<float>({1, 2}) == 7);
  CHECK(session.compute(std::vector{session.value("layers.0.hw")}, {{"x", twos}})[0].at<float>(
            {0, 0}) == 6);
  const Expr loss = sum(session.value("layers")), b = session.value("layers.0.b");
  const auto d = session.compute(gradients(std::vector{loss}, std::vector{b}), {{"x", twos}});
  CHECK(d[0].to_vector<float>() == std::vector<float>{6, 6, 6});

  CHECK(error_of([&] { session.run(); }) ==
        "run: input \"x\" f32 (rows=2, width=3) is not given, and the model has no value for it");
  const auto refused = [&](const std::string& name, const Tensor& memory) {
    return error_of([&] { session.run({{"x", twos}}, {{name, memory}}); });
  };
  CHECK(contains(refused("layers.0.z", inner), "unknown value \"layers.0.z\""));
  CHECK(
      contains(refused("y", Tensor::zeros(f64, {2, 3})), "output \"y\": f64 (2, 3); f32 (rows=2"));
  CHECK(contains(refused("y", inner.read_only()), "output \"y\": read-only memory"));
  CHECK(contains(refused("y", Tensor()), "output \"y\": a null tensor"));
}

TEST_CASE("params that are refused leave the others as they were") {
  Session session = two_layers();
  const auto error = [&](const char* name, const Tensor& tensor) {
    return error_of([&] {
      session.set_params({{"layers.0.b", Tensor::full(f32, {3}, 9)}, {name, tensor}});
    });
  };
  CHECK(contains(error("layers.1.bb", kOnes), "did you mean \"layers.1.b\"?"));
  CHECK(contains(error("layers.1.b", kOnes), "f32 (2, 3); f32 (width=3,) is required"));
  CHECK(contains(error("layers.1.b", Tensor::zeros(i64, {3})), "i64 (3,)"));
  CHECK(contains(error("layers.1.b", Tensor()), "null tensor"));
  CHECK(session.param("layers.0.b").to_vector<float>() == std::vector<float>{1, 1, 1});
  CHECK(contains(error_of([&] { session.param("w"); }), "unknown param \"w\""));
}

TEST_CASE("params named alike in the file are saved once, if they are alike") {
  Model model = Model::parse(R"({"fovea": 1,
    "params": {"a": {"shape": [1], "init": "ones", "from": "w"}, "b": {"shape": [1], "init": "ones", "from": "w"}},
    "nodes": [], "outputs": ["a", "b"]})");
  Session session = model.bind();
  const Scratch folder;
  session.save_params(folder.path("w.safetensors"));
  CHECK(load_tensors(folder.path("w.safetensors")).size() == 1);
  session.set_params({{"b", Tensor::zeros(f32, {1})}});
  CHECK(contains(error_of([&] { session.save_params(folder.path("v.safetensors")); }), "differ"));
}

TEST_CASE("a training step: gradients are computed again and again for params that are set") {
  Session session = two_layers(0.1);
  const Expr loss = mean(square(session.value("layers")));
  std::vector<Expr> exprs{loss};
  for (const char* name : {"layers.0.w", "layers.1.w"}) exprs.push_back(session.value(name));
  const std::vector<Expr> d = gradients(std::vector{loss}, std::vector{exprs[1], exprs[2]});
  exprs.insert(exprs.end(), d.begin(), d.end());
  double before = 1e9;
  for (int step = 0; step < 5; ++step) {
    const std::vector<Tensor> values = session.compute(exprs, {{"x", kOnes}});
    CHECK(values[0].item() < before);
    before = values[0].item();
    const auto moved = [](const Tensor& w, const Tensor& dw) {
      return eval::apply(Sub{}, {w, eval::apply(Scale{.factor = 0.01}, {dw}).y}).y;
    };
    session.set_params(
        {{"layers.0.w", moved(values[1], values[3])}, {"layers.1.w", moved(values[2], values[4])}});
  }
}

TEST_CASE("one session is used by several threads at once, each with inputs of its own") {
  Session session = two_layers();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const Tensor x = Tensor::full(f32, {2, 3}, t);
      const float hidden = 3.0f * static_cast<float>(t) + 1;
      for (int i = 0; i < 200; ++i) {
        if (i % 3 == 0) {
          const Tensor mine = Tensor::empty(f32, {2, 3});
          session.run({{"x", x}}, {{"y", mine}});
          wrong += mine.at<float>({1, 1}) != 3 * hidden + 2;
        } else if (i % 3 == 1) {
          wrong += session.run({{"x", x}}).at("inner").at<float>({0, 0}) != hidden - 1;
        } else {
          wrong += session.param("layers.1.b").at<float>({0}) != 2;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a run works with the params that are set when it begins") {
  Session session = two_layers();
  std::atomic<bool> done = false;
  std::thread setter([&] {
    for (int i = 0; i < 200; ++i) {
      NamedTensors params;
      const double s = 1 + i % 2;
      for (const auto& [name, value] :
           {std::pair{"layers.0.w", 3}, {"layers.1.w", 3}, {"layers.0.b", 0}, {"layers.1.b", 0}}) {
        const Shape shape = value == 3 ? Shape{3, 3} : Shape{3};
        const double element = std::string(name) == "layers.1.b" ? 2 * s : s;
        params[name] = Tensor::full(f32, shape, element);
      }
      session.set_params(params);
    }
    done = true;
  });
  int mixed = 0;
  while (!done) {
    const float y = session.run({{"x", kOnes}}).at("y").at<float>({0, 0});
    mixed += y != expected(1) && y != expected(2);
  }
  setter.join();
  CHECK(mixed == 0);
}

TEST_CASE("bindings share the packed forms of weights, which go with the last of them") {
  // Weights that are as they are in the file, and transposed ones.
  Model model = Model::parse(R"({"fovea": 1, "dims": {"rows": null},
    "inputs": {"x": {"shape": ["rows", 48]}},
    "params": {"a": {"shape": [48, 80], "init": "xavier_uniform"},
               "b": {"shape": [16, 80], "init": "xavier_uniform"},
               "c": {"shape": [16, 16], "init": "xavier_uniform"}},
    "nodes": [{"name": "h", "op": "matmul", "inputs": ["x", "a"]},
              {"name": "g", "op": "matmul", "inputs": ["h", "b"], "attrs": {"transpose_b": true}},
              {"name": "ct", "op": "transpose", "inputs": ["c"]},
              {"name": "y", "op": "matmul", "inputs": ["g", "ct"]}],
    "outputs": ["y"]})");
  for (const bool given : {false, true}) {
    if (given) {
      const Session session = model.bind({{"rows", 1}}, {.draw = true});
      NamedTensors weights;
      for (const ModelValue& p : session.params()) weights[p.name] = session.tensor(p).copy();
      model.set_weights(weights);
    }
    auto first = std::make_unique<Session>(model.bind({{"rows", 2}}, {.draw = true}));
    CHECK(first->packed_bytes() == 0);
    const Tensor x = Tensor::full(f32, {2, 48}, 0.25);
    first->run({{"x", x}});
    const std::size_t bytes = first->packed_bytes();
    CHECK(bytes >= 4 * (48 * 80 + 16 * 80 + 16 * 16));
    CHECK(first->explain().find("(b packed)") != std::string::npos);
    const std::vector<Expr> exprs{first->value("y")};
    CHECK(equal_bits(first->compute(exprs)[0], first->run().at("y")));  // that is not packed

    const Session second = model.bind({{"rows", 7}}, {.draw = true});
    second.run();
    CHECK(second.packed_bytes() == bytes);
    CHECK(second.param("a").raw() == first->param("a").raw());
    first.reset();
    CHECK(second.packed_bytes() == bytes);
  }
  CHECK(model.bind({{"rows", 1}}).packed_bytes() == 0);
}

TEST_CASE("what is packed is never older than what is set, and other sessions keep theirs") {
  Model model = Model::parse(layers());
  model.set_weights(state_dict());
  Session session = model.bind({{"rows", 2}});
  const Session other = model.bind({{"rows", 2}}), copy = session;
  const auto y = [](const Session& s) { return s.run({{"x", kOnes}}).at("y").at<float>({1, 2}); };
  // Runs before and after each of them: the first after a set reads params, the second packs them.
  for (int s = 1; s < 4; ++s) {
    for (int runs = 0; runs < 3; ++runs) {
      const Tensor w = Tensor::full(f32, {3, 3}, s);
      session.set_params({{"layers.0.w", w}, {"layers.1.w", w}});
      const float hidden = 3 * static_cast<float>(s) + 1;
      const float want = 3 * static_cast<float>(s) * hidden + 2;
      for (int i = 0; i < runs; ++i) CHECK(y(session) == want);
      CHECK(y(copy) == want);
      CHECK(y(other) == expected(1));
      // The caller's memory is the caller's.
      w.copy_from(Tensor::zeros(f32, {3, 3}));
      CHECK(y(session) == want);
      CHECK(y(session) == want);
    }
  }
  CHECK_FALSE(session.param("layers.0.w").is_writable());
  CHECK_FALSE(other.param("layers.0.w").is_writable());
}

TEST_CASE("params that are set for every run are not packed; those that stay are") {
  Session session = two_layers();
  session.run({{"x", kOnes}});
  CHECK(session.packed_bytes() > 0);
  for (int i = 0; i < 3; ++i) {
    session.set_params({{"layers.0.w", Tensor::full(f32, {3, 3}, i)},
                        {"layers.1.w", Tensor::full(f32, {3, 3}, i)}});
    session.run({{"x", kOnes}});
    CHECK(session.packed_bytes() == 0);
  }
  session.run({{"x", kOnes}});
  CHECK(session.packed_bytes() > 0);
}

TEST_CASE("where memory does not allow packed forms, a session runs without") {
  const char* text = R"({"fovea": 1, "inputs": {"x": {"shape": [4, 256]}},
    "params": {"w": {"shape": [256, 256], "init": "xavier_uniform"}},
    "nodes": [{"name": "y", "op": "matmul", "inputs": ["x", "w"]}], "outputs": ["y"]})";
  const Model model = Model::parse(text);
  const Session roomy = model.bind({}, {.draw = true});
  const Tensor y = roomy.run().at("y");
  const std::size_t own = 4 * (256 * 256 + 4 * 256) + roomy.peak_bytes();
  const Model again = Model::parse(text);
  const Session tight = again.bind({}, {.draw = true, .max_memory = own});
  CHECK(equal_bits(tight.run().at("y"), y));
  CHECK(tight.packed_bytes() == 0);
  CHECK(roomy.packed_bytes() > 0);
  CHECK(contains(error_of([&] { again.bind({}, {.draw = true, .max_memory = own - 1}).run(); }),
                 "BindOptions::max_memory"));
}

TEST_CASE("gradients are computed for params as they are, whatever has been packed") {
  Model model = Model::parse(layers());
  model.set_weights(state_dict());
  Session session = model.bind({}, {.inputs = {{"x", kOnes}}});
  const Expr w = session.value("layers.0.w");
  const std::vector<Expr> d = gradients(std::vector{sum(session.value("layers"))}, std::vector{w});
  session.run();
  // y = (x w₀ + b₀) w₁ + b₁: dw₀ = xᵀ 1 w₁ᵀ, each element 2 rows × 3 columns × w₁.
  CHECK(session.compute(d)[0].at<float>({0, 0}) == 6);
  session.set_params({{"layers.1.w", Tensor::full(f32, {3, 3}, 2)}});
  CHECK(session.compute(d)[0].at<float>({0, 0}) == 12);
}

TEST_CASE("sessions tell what they plan") {
  const Session session = two_layers();
  CHECK(session.peak_bytes() > 0);
  CHECK(contains(session.explain(), "matmul"));
}
