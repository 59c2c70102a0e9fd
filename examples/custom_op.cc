// An op of your own, in one place: leaky_relu. Once it stands in a registry it has everything that
// a built-in op has: C++, JSON, laws, gradient checks, documentation, and the whole `fovea`
// command.
//
//     bazel run //examples:custom_op                                  what main does below
//     bazel run //examples:custom_op -- ops leaky_relu                its documentation
//     bazel run //examples:custom_op -- gradcheck --ops leaky_relu    its gradients
#include <cstdio>
#include <exception>
#include <string>

#include "fovea/cli/main.h"
#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/laws.h"
#include "fovea/graph/model.h"
#include "fovea/ops/define.h"
#include "fovea/ops/elementwise_base.h"
#include "fovea/ops/logic.h"

using namespace fovea;

// ---- the op ------------------------------------------------------------------------------------

struct LeakyRelu : Unary<LeakyRelu> {
  static constexpr std::string_view name = "leaky_relu", doc = "y = x where x > 0, else slope * x";
  double slope = 0.01;
  static constexpr std::tuple attributes{
      Attribute{"slope", &LeakyRelu::slope, "slope where x is not positive"}};

  // Computed with float, double, and dual numbers of them: the last is forward mode.
  template <class T>
  T formula(T x) const {
    return x > T(0) ? x : static_cast<T>(slope) * x;
  }
  // dx = dy where x > 0, else slope dy
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {where(greater(in.x, 0), d.y, slope * d.y)};
  }
  static std::vector<Sample<LeakyRelu>> samples() {
    LeakyRelu steep;
    steep.slope = 0.5;
    return {{{}, {arg::spread({2, 3})}}, {steep, {arg::spread({7})}, "another slope"}};
  }
  static std::vector<Reject<LeakyRelu>> rejects() { return {{{}, {arg::bernoulli({2})}, "bool"}}; }
};

Expr leaky_relu(const Expr& x, double slope = 0.01,
                std::source_location at = std::source_location::current()) {
  LeakyRelu op;
  op.slope = slope;
  return apply(op, {x}, at).y;
}

// ---- what it can do now ------------------------------------------------------------------------

namespace {

constexpr const char* kModel = R"({
  "fovea": 1,
  "inputs": {"x": {"shape": [4], "value": [-2, -1, 0.5, 3]}},
  "nodes": [{"name": "y", "op": "leaky_relu", "inputs": ["x"], "attrs": {"slope": 0.1}}],
  "outputs": ["y"]
})";

int show(const Registry& registry) {
  const Expr x = input("x", f64, {2, 3});
  const GradientReport gradient = check_gradients(leaky_relu(x, 0.2) * x, {x});
  std::printf("In C++, checked numerically:\n%s\n", to_string(gradient).c_str());

  const Session session = Model::parse(kModel, ".", registry).bind();
  for (const auto& [name, value] : session.run()) {
    std::printf("From JSON:\n%s = %s\n\n", name.c_str(), to_string(value).c_str());
  }

  const LawReport laws = check_laws(op_type<LeakyRelu>());
  std::printf("The laws:\n%s", to_string(laws).c_str());
  return gradient.passed() && laws.passed() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Registry registry = Registry::builtin();
    registry.add<LeakyRelu>();
    return argc > 1 ? cli_main(argc, argv, registry) : show(registry);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
