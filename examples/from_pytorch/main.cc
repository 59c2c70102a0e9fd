// A layer that PyTorch made, inside a C++ program: encoder.json names the weights that make.py
// saved. Compares with what PyTorch computed; exit status 0 if all is well.
//
//     cmake -S examples/from_pytorch -B build -DCMAKE_PREFIX_PATH=~/fovea && cmake --build build
//     build/encoder examples/from_pytorch
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "fovea/fovea.h"

using namespace fovea;

namespace {

// The largest |given - expected| in units of what is allowed.
double worst(const std::vector<float>& given, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const double allowed = 1e-5 + 1e-5 * std::abs(expected[i]);
    worst = std::max(worst, std::abs(given[i] - expected[i]) / allowed);
  }
  return worst;
}

int run(const std::string& folder) {
  const Model model = Model::load(folder + "/encoder.json");

  // Your own memory, as your program has it: here it comes from a file.
  const NamedTensors inputs = load_tensors(folder + "/inputs.safetensors");
  const Shape shape = inputs.at("x").shape();  // (batch, length, width)
  const std::vector<float> x = inputs.at("x").to_vector<float>();
  const std::vector<std::int64_t> lengths = inputs.at("lengths").to_vector<std::int64_t>();
  std::vector<float> y(x.size());

  const Session session = model.bind({{"batch", shape[0]}, {"length", shape[1]}});
  session.run({{"x", Tensor::borrow(x.data(), f32, shape)},
               {"lengths", Tensor::borrow(lengths.data(), i64, {shape[0]})}},
              {{"y", Tensor::borrow(y.data(), f32, shape)}});

  const NamedTensors expected = load_tensors(folder + "/expected.safetensors");
  const double error = worst(y, expected.at("y").to_vector<double>());
  std::printf("y %s: %.2f of what is allowed\n", to_string(shape).c_str(), error);
  return error <= 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : ".");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
