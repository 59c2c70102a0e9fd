// An op whose gradient is wrong in its last row, for the test of the ready main.
#include "fovea/cli/gradcheck_main.h"
#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"

namespace fovea {

struct Broken {
  static constexpr std::string_view name = "broken", doc = "y = factor x^2";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  double factor = 1;
  static constexpr std::tuple attributes{Attribute{"factor", &Broken::factor, "of the result"}};

  Out<Expr> decomposition(const In<Expr>& in) const { return {factor * square(in.x)}; }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    std::vector<double> rows(static_cast<std::size_t>(in.x.shape()[0]), 2 * factor);
    if (!rows.empty()) rows.back() *= 1.25;
    const Tensor factors = Tensor::from(rows, {in.x.shape()[0], 1}).astype(in.x.dtype());
    return {constant(factors) * in.x * d.y};
  }
  static std::vector<Sample<Broken>> samples() {
    return {{{}, {arg::normal({4, 3})}}, {{.factor = -2}, {arg::normal({6, 8})}, "scaled"}};
  }
  static std::vector<Reject<Broken>> rejects() { return {{{}, {arg::bernoulli({2})}, "bool"}}; }
};

void add_ops(Registry& registry) { registry.add<Broken>(); }

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Broken);
