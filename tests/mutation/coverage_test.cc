#include "coverage.h"

#include <doctest/doctest.h>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/registry.h"

namespace fovea {
namespace {

// `require` changes no value: it refuses two of attention's outputs, which every law wants.
constexpr std::string_view kExempt = "attribute require: \"fused\"";

TEST_CASE("samples exercise the gradient of every op, input and attribute") {
  const Registry registry = Registry::builtin();
  for (const OpType* type : registry.types()) {
    for (const std::string& what : mutation::not_covered(*type)) {
      if (what == kExempt) continue;
      FAIL_CHECK(type->name, ": no sample exercises the gradient of ", what);
    }
  }
}

// y = (negate ? -1 : 1) factor a, whose samples leave out b, `negate` and other factors.
struct HalfCovered {
  static constexpr std::string_view name = "half_covered", doc = "y = a, or -a";
  template <class T>
  using In = AB<T>;
  template <class T>
  using Out = Y<T>;
  bool negate = false;
  double factor = 1;
  static constexpr std::tuple<Attribute<HalfCovered, bool>, Attribute<HalfCovered, double>>
      attributes{{"negate", &HalfCovered::negate, "sign"},
                 {"factor", &HalfCovered::factor, "size"}};
  Out<Expr> decomposition(const In<Expr>& in) const {
    return {(negate ? -factor : factor) * in.a + 0 * in.b};
  }
  static std::vector<Sample<HalfCovered>> samples() {
    return {{{}, {arg::normal({2}), arg::normal({2})}}};
  }
  static std::vector<Reject<HalfCovered>> rejects() { return {}; }
};

TEST_CASE("what is left out is named") {
  CHECK(mutation::not_covered(op_type<HalfCovered>()) ==
        std::vector<std::string>{"input b", "attribute negate: true",
                                 "attribute factor: a value other than its default"});
}

}  // namespace
}  // namespace fovea
