#include "nasty.h"

#include "fovea/ops/activations.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"
#include "fovea/tensor/random.h"

namespace fovea::mutation {

namespace {

using In = std::span<const Expr>;

NastyFunction of_one(std::string_view name, const Arg& x, Expr (*f)(const Expr&)) {
  return {name, {x}, [f](In in) { return f(in[0]); }};
}

Expr repeated(const Expr& x, int times, Expr (*f)(const Expr&)) {
  Expr y = x;
  for (int i = 0; i < times; ++i) y = f(y);
  return y;
}

Expr centred(const Expr& x) { return x - mean(x, {.axes = -1, .keep_dims = true}); }

Expr layer_norm_by_hand(const Expr& x) {
  const Expr c = centred(x);
  return c * rsqrt(mean(square(c), {.axes = -1, .keep_dims = true}) + 1e-12);
}

// (x - 1)^7, multiplied out.
Expr septic(const Expr& x) {
  Expr y = x - 7;
  for (double coefficient : {21.0, -35.0, 35.0, -21.0, 7.0, -1.0}) y = y * x + coefficient;
  return y;
}

std::vector<NastyFunction> scales() {
  const Arg normal = arg::normal({4});
  return {
      of_one("1e150 x", normal, [](const Expr& x) { return 1e150 * x; }),
      of_one("1e-150 x^2", normal, [](const Expr& x) { return 1e-150 * square(x); }),
      of_one("1e200 / x", arg::uniform({4}, 1, 2), [](const Expr& x) { return 1e200 / x; }),
      of_one("exp of 300", arg::uniform({4}, 300, 350), [](const Expr& x) { return exp(x); }),
      of_one("exp of -300", arg::uniform({4}, -350, -300), [](const Expr& x) { return exp(x); }),
      of_one("x^20.5", arg::uniform({4}, 0.5, 3), [](const Expr& x) { return pow(x, 20.5); }),
      of_one("log of 1e-11", arg::uniform({4}, 1e-12, 1e-11), [](const Expr& x) { return log(x); }),
      of_one("sqrt of 1e-11", arg::uniform({4}, 1e-12, 1e-11),
             [](const Expr& x) { return sqrt(x); }),
      of_one("1 / 1e-7", arg::uniform({4}, 1e-8, 1e-7),
             [](const Expr& x) { return reciprocal(x); }),
      {"rows of 1e8 and 1e-8",
       {arg::normal({2, 3}), arg::normal({3, 2})},
       [](In in) {
         const Expr scales = constant(Tensor::from(std::vector<double>{1e8, 1e-8}, {2, 1}));
         return matmul(scales * in[0], in[1]);
       }},
      {"x + 1e16 y",
       {arg::normal({4}), arg::normal({4})},
       [](In in) { return in[0] + 1e16 * in[1]; }},
      {"sum of x and 1e12 y",
       {arg::normal({3}), arg::normal({3})},
       [](In in) {
         return square(sum(concat({in[0], 1e12 * in[1]})));
       }},
  };
}

std::vector<NastyFunction> cancellations() {
  const Arg normal = arg::normal({4});
  return {
      of_one("((x + 1e8) - 1e8)^2", normal, [](const Expr& x) { return square((x + 1e8) - 1e8); }),
      of_one("(x + 1e6)^2 - 1e12 - 2e6 x", normal,
             [](const Expr& x) { return square(x + 1e6) - 1e12 - 2e6 * x; }),
      of_one("(x - 1)^7 multiplied out", arg::uniform({4}, 0.99, 1.01), septic),
      of_one("log(1 + 1e-13)", arg::uniform({4}, 1e-14, 1e-12),
             [](const Expr& x) { return log(1 + x); }),
      of_one("(1 - cos x) / x^2", arg::uniform({4}, 1e-6, 1e-4),
             [](const Expr& x) { return (1 - cos(x)) / square(x); }),
      of_one("variance around 1e6", arg::normal({8}),
             [](const Expr& x) { return mean(square(centred(x + 1e6))); }),
      of_one("layer norm of nearly equal values", arg::normal({2, 4}),
             [](const Expr& x) { return layer_norm_by_hand(3 + 1e-5 * x); }),
      of_one("layer norm of equal values", arg::normal({2, 1}),
             [](const Expr& x) { return layer_norm_by_hand(x) + x; }),
      of_one("x / (x + 1e-9)", arg::uniform({4}, 1, 2),
             [](const Expr& x) { return x / (x + 1e-9); }),
      {"a b - b a", {normal, normal}, [](In in) { return in[0] * in[1] - in[1] * in[0] + in[0]; }},
      of_one("relu(x) - relu(-x)", normal, [](const Expr& x) { return relu(x) - relu(-x); }),
  };
}

std::vector<NastyFunction> long_and_deep() {
  return {
      of_one("mean of 20,000", arg::normal({20000}), [](const Expr& x) { return mean(exp(x)); }),
      of_one("softmax over 3,000", arg::normal({3000}), [](const Expr& x) { return softmax(x); }),
      of_one("logsumexp over 3,000 around 1e5", arg::normal({3000}),
             [](const Expr& x) { return logsumexp(x + 1e5); }),
      {"matmul of 400 terms",
       {arg::normal({2, 400}), arg::normal({400, 2})},
       [](In in) { return matmul(in[0], in[1]); }},
      of_one("60 times tanh", arg::normal({4}),
             [](const Expr& x) {
               return repeated(x, 60, [](const Expr& y) { return tanh(1.1 * y); });
             }),
      of_one("the logistic map, 15 times", arg::uniform({4}, 0.1, 0.9),
             [](const Expr& x) {
               return repeated(x, 15, [](const Expr& y) { return 3.9 * y * (1 - y); });
             }),
      of_one("exp of the sum of logs", arg::uniform({12}, 0.5, 2),
             [](const Expr& x) { return exp(sum(log(x))); }),
  };
}

std::vector<NastyFunction> steep_and_flat() {
  const Arg normal = arg::normal({4});
  return {
      of_one("sin 1000 x", normal, [](const Expr& x) { return sin(1000 * x); }),
      of_one("sin(1 / x)", arg::uniform({4}, 0.01, 0.02), [](const Expr& x) { return sin(1 / x); }),
      of_one("softmax of 1e4 x", arg::normal({2, 4}),
             [](const Expr& x) { return softmax(1e4 * x); }),
      of_one("log softmax of 1e3 x", arg::normal({2, 4}),
             [](const Expr& x) { return log_softmax(1e3 * x); }),
      of_one("tanh of 20", arg::uniform({4}, 15, 25), [](const Expr& x) { return tanh(x); }),
      of_one("sigmoid of -650", arg::uniform({4}, -700, -600),
             [](const Expr& x) { return sigmoid(x); }),
      of_one("erf of 4.5", arg::uniform({4}, 4, 5), [](const Expr& x) { return erf(x); }),
      of_one("gelu of -7", arg::uniform({4}, -8, -6), [](const Expr& x) { return gelu(x); }),
      of_one("tanh of 1e5 x", normal, [](const Expr& x) { return tanh(1e5 * x); }),
      {"attention with logits of 300, causal",
       {arg::normal({5, 4}), arg::normal({5, 4}), arg::normal({5, 3})},
       [](In in) { return attention(in[0], in[1], in[2], {.scale = 300, .causal = true}); }},
      {"attention of 1e-100",
       {arg::normal({3, 4}), arg::normal({5, 4}), arg::normal({5, 3})},
       [](In in) { return attention(1e-100 * in[0], in[1], 1e-100 * in[2]); }},
  };
}

std::vector<NastyFunction> beside_kinks() {
  const Arg close = arg::uniform({4}, -1e-7, 1e-7);
  return {
      of_one("relu beside 0", close, [](const Expr& x) { return relu(x); }),
      of_one("abs beside 0", arg::uniform({4}, -1e-9, 1e-9), [](const Expr& x) { return abs(x); }),
      of_one("x |x|", close, [](const Expr& x) { return x * abs(x); }),
      of_one("max of nearly equal values", arg::normal({2, 5}),
             [](const Expr& x) { return max(1 + 1e-9 * x, {.axes = -1}); }),
      of_one("max of equal values", arg::values({1, 1, 0, 1}, {4}),
             [](const Expr& x) { return max(x); }),
      of_one("relu at 0", arg::values({0, 1, -1, 0}, {4}), [](const Expr& x) { return relu(x); }),
      of_one("where(x > 0, x^2, -x^3)", close,
             [](const Expr& x) { return where(greater(x, 0), square(x), -x * square(x)); }),
      {"maximum(x, x + 1e-12 y)",
       {arg::normal({4}), arg::normal({4})},
       [](In in) { return maximum(in[0], in[0] + 1e-12 * in[1]); }},
      of_one("sqrt(x^2 + 1e-20)", arg::uniform({4}, -1e-8, 1e-8),
             [](const Expr& x) { return sqrt(square(x) + 1e-20); }),
  };
}

}  // namespace

std::span<const NastyFunction> nasty_functions() {
  static const std::vector<NastyFunction> all = [] {
    std::vector<NastyFunction> functions;
    for (auto&& part :
         {scales(), cancellations(), long_and_deep(), steep_and_flat(), beside_kinks()}) {
      functions.insert(functions.end(), part.begin(), part.end());
    }
    return functions;
  }();
  return all;
}

GradientReport check(const NastyFunction& function, std::uint64_t seed) {
  std::vector<Expr> in;
  GradcheckOptions options;
  options.seed = seed;
  for (const Arg& made : function.in) {
    const Tensor value = make_tensor(made, f64, {seed, in.size()});
    in.push_back(input("x", f64, value.shape()));
    options.values.emplace_back(in.back(), value);
  }
  const Expr y = function.f(in);
  return check_gradients(std::span(&y, 1), in, options);
}

}  // namespace fovea::mutation
