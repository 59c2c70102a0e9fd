#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradcheck_files.h"
#include "fovea/graph/gradcheck_op.h"
#include "fovea/graph/model.h"
#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/files.h"
#include "wrong_ops.h"

namespace fovea {
namespace {

template <class Op>
Expr wrong_op(const Expr& x) {
  return apply(Op{}, {x}, Location("model.json:14:5: /nodes/3")).y;
}

// tanh, the wrong op, then more: the gradients of x and w are wrong, the op is to blame.
template <class Op>
GradientReport check_chain(const Shape& shape, GradcheckOptions options = {}) {
  const Expr x = input("x", f64, shape), w = input("w", f64, shape);
  return check_gradients(exp(0.1 * wrong_op<Op>(tanh(x) * w)), {x, w}, options);
}

TEST_CASE("the op to blame is named with its place, index, both values and their bars") {
  const GradientReport report = check_chain<wrong::WrongInLastRow>({4, 3});
  CHECK(report.verdict() == Verdict::fail);
  REQUIRE(report.culprits.size() == 1);
  const Culprit& culprit = report.culprits[0];
  CHECK(culprit.op == "wrong");
  CHECK(culprit.location == "model.json:14:5: /nodes/3");
  CHECK(culprit.row.name == "x");
  CHECK(culprit.row.worst.substr(0, 2) == "[3");
  CHECK(culprit.row.analytic == doctest::Approx(culprit.row.numeric * 1.005));
  CHECK(culprit.row.ulps > 1e9);
  const std::string text = to_string(report);
  CHECK(text.find("first op whose own gradient disagrees: wrong, model.json:14:5: /nodes/3") !=
        std::string::npos);
  CHECK(text.find("contradict the gradient: the gradient is wrong") != std::string::npos);
}

TEST_CASE("an op that is right is not blamed for one before or after it") {
  const Expr x = input("x", f64, {3}), s = input("s", f64, {3});
  const Expr y = apply(wrong::MissingTerm{}, {exp(x), s}, Location()).y;
  const GradientReport report = check_gradients(sin(y), {x, s});
  REQUIRE(report.culprits.size() == 1);
  CHECK(report.culprits[0].op == "wrong_rows");
  CHECK(report.culprits[0].row.name == "x");
}

TEST_CASE("an error in one of many elements is found by forward mode and located") {
  const GradientReport report = check_chain<wrong::WrongInLastRow>({60, 40});
  CHECK(report.verdict() == Verdict::fail);
  const GradientRow& row = report.rows[0];
  CHECK(row.checked < 100);
  CHECK(row.worst.substr(0, 3) == "[59");
  CHECK(row.worst_element >= 59 * 40);
}

// y = x² with a wrong derivative at a single place, for the checker to search.
struct OneWrong : wrong::Base<OneWrong> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    std::vector<double> two(static_cast<std::size_t>(in.x.shape().numel()), 2);
    two[1234] = 2 + 2e-5;
    return {constant(Tensor::from(two, in.x.shape())) * in.x * d.y};
  }
};

TEST_CASE("one wrong element of thousands, by a hundred-thousandth") {
  const Expr x = input("x", f64, {50, 100});
  const GradientReport report = check_gradients(wrong_op<OneWrong>(x), {x});
  CHECK(report.verdict() == Verdict::fail);
  CHECK(report.rows[0].worst == "[12, 34]");
}

TEST_CASE("sampled inputs state what may have been missed; a budget degrades openly") {
  const Expr x = input("x", f64, {40, 50});
  const GradientReport whole = check_gradients(sum(exp(x), {.axes = 0}), {x});
  CHECK(whole.passed());
  CHECK(whole.rows[0].missed > 0);
  CHECK(whole.rows[0].missed < 1e-6);
  CHECK(to_string(whole).find("no error in the") != std::string::npos);
  GradcheckOptions none;
  none.budget = 0;
  const GradientReport nothing = check_gradients(sum(exp(x), {.axes = 0}), {x}, none);
  CHECK(nothing.verdict() == Verdict::inconclusive);
  CHECK(nothing.rows[0].skipped > 0);
  CHECK(to_string(nothing).find("left out for lack of time") != std::string::npos);
}

TEST_CASE("oracles are counted, and a failure says which of them agree") {
  const Expr a = input("a", f64, {2, 3});
  const GradientReport three = check_gradients(softmax(a), {a});
  CHECK(three.rows[0].oracles.size() == 3);
  const GradientReport forward =
      check_gradients(apply(wrong::WrongForwardMode{}, {a}, Location()).y, {a});
  CHECK(forward.verdict() == Verdict::fail);
  CHECK(to_string(forward).find("forward mode is wrong") != std::string::npos);
  const GradientReport decomposition = check_op(op_type<wrong::WrongDecomposition>());
  CHECK(decomposition.verdict() == Verdict::fail);
  CHECK(to_string(decomposition).find("the decomposition is wrong") != std::string::npos);
}

TEST_CASE("kinks: ties of max and |x| at 0 are named, and stepped around") {
  const Expr x = input("x", f64, {3});
  GradcheckOptions options;
  options.values = {{x, Tensor::from({2.0, 2.0, 0.5}, {3})}};
  const GradientReport ties = check_gradients(max(x, {}), {x}, options);
  CHECK(ties.passed());
  CHECK(ties.rows[0].kinks == 2);
  CHECK(ties.rows[0].kinks_at[0].op == "max []");
  CHECK(to_string(ties).find("kinks were left out: [0] (max [])") != std::string::npos);
  options.values = {{x, Tensor::from({0.0, 1.0, -1.0}, {3})}};
  const GradientReport edge = check_gradients(relu(2 * x), {x}, options);
  CHECK(edge.passed());
  CHECK(edge.rows[0].kinks_at[0].op == "relu [0]");
}

// A gradient of -1 where x is not positive: wrong at the kink's side only.
struct WrongRelu : wrong::Base<WrongRelu> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    wrong::map_elements(in.x.contiguous(), out.y, [](auto v) { return v > 0 ? v : 0; });
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {where(greater(in.x, 0), d.y, 0.5 * d.y)};
  }
};

TEST_CASE("a wrong side of a kink is found beside it") {
  const Expr x = input("x", f64, {4});
  GradcheckOptions options;
  options.values = {{x, Tensor::zeros(f64, {4})}};
  CHECK(check_gradients(wrong_op<WrongRelu>(x), {x}, options).verdict() == Verdict::fail);
}

TEST_CASE("f32 gradients are held against f64 ones") {
  const Expr x = input("x", f32, {4, 5});
  const GradientReport right = check_gradients(softmax(3 * x), {x});
  CHECK(right.passed());
  REQUIRE(right.rows.size() == 2);
  CHECK(right.rows[1].name == "x (f32)");
  CHECK(right.rows[1].relative > 0);
  const GradientReport rough =
      check_gradients(exp(0.1 * apply(wrong::RoughInF32{}, {x}, Location()).y), {x});
  CHECK(rough.rows[0].verdict == Verdict::pass);
  CHECK(rough.rows[1].verdict == Verdict::fail);
}

TEST_CASE("second and third order, attention too") {
  const Expr x = input("x", f64, {3, 2});
  GradcheckOptions options;
  options.order = 2;
  CHECK(check_gradients(attention(x, tanh(x), x), {x}, options).passed());
  options.order = 3;
  CHECK(check_gradients(exp(x) * x, {x}, options).passed());
  options.order = 2;
  CHECK(check_gradients(wrong_op<wrong::WrongSecond>(x), {x}, options).verdict() == Verdict::fail);
  options.order = 0;
  CHECK_THROWS_AS(check_gradients(x, {x}, options), Error);
}

TEST_CASE("contracts beyond numbers") {
  const Expr x = input("x", f64, {3});
  GradcheckOptions options;
  options.contracts = true;
  CHECK(check_gradients(exp(x), {x}, options).passed());
  const auto contracts = [&](const Expr& y) { return check_gradients(y, {x}, options).failures; };
  CHECK_FALSE(contracts(wrong_op<wrong::NonlinearGradient>(x)).empty());
  CHECK(check_contracts(op_type<wrong::Honest>()).empty());
  CHECK_FALSE(check_contracts(op_type<wrong::NonlinearGradient>()).empty());
  CHECK_FALSE(check_contracts(op_type<wrong::SharedInputOnce>()).empty());
}

TEST_CASE("attention's edges are tried with the node's attributes") {
  const Expr q = input("q", f64, {4, 2}), k = input("k", f64, {4, 2}), v = input("v", f64, {4, 3});
  const Expr y = attention(q, k, v, {.softcap = 3, .causal = true});
  const GradientReport report = check_attention_edges(std::span(&y, 1));
  CHECK_MESSAGE(report.passed(), to_string(report));
  CHECK(report.rows.size() > 60);
  // Composed attention is attention too.
  const Expr composed = matmul(softmax(matmul(q, transpose(k, {.perm = {1, 0}})) * 0.5), v);
  CHECK(check_attention_edges(std::span(&composed, 1)).rows.size() > 60);
  const Expr none = exp(q);
  CHECK(check_attention_edges(std::span(&none, 1)).rows.empty());
}

TEST_CASE("an op is checked with another rule than its own") {
  OpCheck check(op_type<Softmax>());
  CHECK(check.run().passed());
  const GradientReport wrong = check.run([](const Op& op, auto in, auto out, auto d) {
    std::vector<Expr> dx = own_gradient(op, in, out, d);
    for (Expr& g : dx) {
      if (g) g = 1.0001 * g;
    }
    return dx;
  });
  REQUIRE(wrong.rows.size() == 1);
  CHECK(wrong.rows[0].name == "softmax.x");
  CHECK(wrong.rows[0].verdict == Verdict::fail);
  CHECK(check.run(own_gradient).passed());
  CHECK(check_op(op_type<Gelu>(), own_gradient).passed());
}

std::filesystem::path fresh_folder(const char* name) {
  const char* root = std::getenv("TEST_TMPDIR");
  const std::filesystem::path folder =
      std::filesystem::path(root != nullptr ? root : "/tmp") / name;
  std::filesystem::remove_all(folder);
  return folder;
}

TEST_CASE("a reproducer fails the same way") {
  const GradientReport report = check_chain<wrong::ForgetsFactor>({2, 3});
  CHECK(report.passed());  // its factor is 1
  const Expr x = input("x", f64, {2, 3});
  wrong::ForgetsFactor op;
  op.factor = -1.0 / 3;
  const GradientReport scaled = check_gradients(sin(apply(op, {exp(x)}, Location()).y), {x});
  REQUIRE(scaled.culprits.size() == 1);
  const std::filesystem::path folder = fresh_folder("reproducer");
  const std::string command = write_reproducer(folder.string(), scaled.culprits[0], 7);
  CHECK(command.find("--seed 7") != std::string::npos);
  Registry registry = Registry::builtin();
  registry.add<wrong::ForgetsFactor>();
  const Model model = Model::load((folder / "model.json").string(), registry);
  const Session session =
      model.bind({}, {.inputs = load_tensors((folder / "inputs.safetensors").string())});
  const Expr y = session.outputs()[0].second, in = session.inputs()[0].expr;
  GradcheckOptions options;
  options.values = {{in, session.tensor(session.inputs()[0])}};
  const GradientReport again = check_gradients(y, {in}, options);
  CHECK(again.verdict() == Verdict::fail);
  CHECK(again.rows[0].worst == scaled.culprits[0].row.worst);
  CHECK(again.rows[0].analytic == doctest::Approx(scaled.culprits[0].row.analytic).epsilon(1e-12));
}

TEST_CASE("reports as JSON, JUnit and a picture") {
  GradientReport report = check_chain<wrong::WrongInLastRow>({4, 3});
  report.command = "fovea gradcheck <a> & \"b\"";
  const auto json = nlohmann::json::parse(report_as_json(report));
  CHECK(json.at("verdict") == "FAIL");
  CHECK(json.at("rows").size() == 2);
  CHECK(json.at("rows")[0].at("findings").size() >= 2);
  CHECK(json.at("culprits")[0].at("op") == "wrong");
  CHECK(json.at("rows")[0].at("errors").size() == 12);
  CHECK(json.at("rows")[0].at("errors")[0].get<double>() < 1e-12);
  CHECK(json.at("rows")[0].at("errors")[10].get<double>() > 1e-4);
  const std::string junit = report_as_junit(report);
  CHECK(junit.find("tests=\"2\" failures=\"2\"") != std::string::npos);
  CHECK(junit.find("&lt;a&gt; &amp; &quot;b&quot;") != std::string::npos);
  CHECK(report_as_svg(report).find("<rect") != std::string::npos);
  CHECK(report_as_svg(check_gradients(input("x", f64, {}), {})).find("no map") !=
        std::string::npos);
}

}  // namespace
}  // namespace fovea
