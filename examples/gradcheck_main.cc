// Is the gradient of an op of your own right? Link the ready main and say which ops there are: the
// program is `fovea gradcheck` that knows them.
//
//     bazel run //examples:gradcheck_main                              every op that add_ops adds
//     bazel run //examples:gradcheck_main -- --ops softsign --order 2  gradients of its gradients
//     bazel run //examples:gradcheck_main -- $PWD/my_model.json        a model that uses it
#include "fovea/cli/gradcheck_main.h"
#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/elementwise_base.h"

namespace fovea {

struct Softsign : Unary<Softsign> {
  static constexpr std::string_view name = "softsign", doc = "y = x / (1 + |x|)";

  template <class T>
  T formula(T x) const {
    return x / (T(1) + (x > T(0) ? x : -x));
  }
  Expr derivative(const Expr& x, const Expr&) const { return 1 / square(1 + abs(x)); }
  static std::vector<Sample<Softsign>> samples() {
    return {{{}, {arg::spread({2, 3})}}, {{}, {arg::normal({7})}, "normal"}};
  }
  static std::vector<Reject<Softsign>> rejects() { return {{{}, {arg::bernoulli({2})}, "bool"}}; }
};

void add_ops(Registry& registry) { registry.add<Softsign>(); }

}  // namespace fovea
