// Prints a model for each sample of each op, as a JSON list, after loading it: what the schema must
// accept.

#include <cstdio>
#include <string>

#include "fovea/graph/model.h"
#include "fovea/ops/op.h"
#include "fovea/ops/registry.h"

using namespace fovea;

namespace {

std::string model_of(const OpType& type, const AnySample& sample) {
  std::string inputs, operands, attributes;
  for (std::size_t i = 0; i < sample.in.size(); ++i) {
    const Arg& arg = sample.in[i];
    operands += i > 0 ? ", " : "";
    if (!arg) {
      operands += "null";
      continue;
    }
    const std::string name = "in" + std::to_string(i);
    std::string shape;
    for (const Extent& extent : arg.shape) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(extent.value());
    }
    inputs += (inputs.empty() ? "\"" : ", \"") + name + "\": {\"shape\": [" + shape +
              "], \"dtype\": \"" + std::string(name_of(arg.dtype)) + "\"}";
    operands += "\"" + name + "\"";
  }
  for (const auto& [name, value] : sample.op->attributes()) {
    attributes += (attributes.empty() ? "\"" : ", \"") + name + "\": " + to_string(value);
  }
  const std::string op(type.name);
  return "{\"fovea\": 1, \"inputs\": {" + inputs +
         "}, \"nodes\": [{\"name\": \"node\", \"op\": \"" + op + "\", \"inputs\": [" + operands +
         "], \"attrs\": {" + attributes + "}}], \"outputs\": [\"node\"]}";
}

}  // namespace

int main() {
  std::string all;
  try {
    const Registry registry = Registry::builtin();
    for (const OpType* type : registry.types()) {
      for (const AnySample& sample : type->samples()) {
        const std::string text = model_of(*type, sample);
        all += (all.empty() ? "[\n" : ",\n") + text;
        Model::parse(text);
      }
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n%s\n", all.c_str(), error.what());
    return 1;
  }
  std::printf("%s\n]\n", all.c_str());
}
