// Rows and elementwise passes, through compiled graphs. Each stands beside a plain loop over the
// same memory.
#include <cstring>
#include <functional>

#include "bench/case.h"
#include "fovea/fovea.h"

namespace fovea::bench {

namespace {

using Function = std::function<Expr(const Expr&)>;

Call prepare(DType dtype, const Shape& shape, const Function& function) {
  const Expr x = input("x", dtype, shape);
  const Executable executable = compile({x}, {function(x)});
  const std::vector<Tensor> in{normals(dtype, shape)};
  const TensorSpec& spec = executable.outputs()[0];
  const std::vector<Tensor> out{Tensor::zeros(spec.dtype, spec.shape)};
  executable.run(in, out);
  return [=] { executable.run(in, out); };
}

Call prepare_copy(DType dtype, const Shape& shape) {
  const Tensor from = normals(dtype, shape), to = Tensor::zeros(dtype, shape);
  return [=] { std::memcpy(to.mutable_raw(), from.raw(), from.nbytes()); };
}

// The chain of three ops below, in one loop that the compiler vectorises.
Call prepare_plain_chain(const Shape& shape) {
  const Tensor from = normals(f32, shape), to = Tensor::zeros(f32, shape);
  return [=] {
    const auto* x = from.data<float>();
    auto* y = to.mutable_data<float>();
    for (std::int64_t i = 0, n = from.numel(); i < n; ++i) y[i] = (x[i] * 2 + 1) * x[i];
  };
}

struct RowCase {
  const char* what;
  Function function;
  std::int64_t rows, length;
  DType dtype = f32;
};

Case row_case(const RowCase& row) {
  const Shape shape{row.rows, row.length};
  Case c;
  c.what = row.what;
  c.dtype = row.dtype;
  c.m = row.rows;
  c.n = row.length;
  c.unit = "Gelem/s";
  c.work = static_cast<double>(row.rows * row.length);
  c.yardstick = Yardstick::call;
  c.yardstick_name = "copy";
  c.prepare = [=] { return prepare(row.dtype, shape, row.function); };
  c.yardstick_call = [=] { return prepare_copy(row.dtype, shape); };
  return c;
}

}  // namespace

void add_row_cases(std::vector<Case>& cases, Size size) {
  const std::int64_t scale = size == Size::full ? 1 : 8;
  const auto softmax_last = [](const Expr& x) { return softmax(x); };
  // x and y of 64 × 1024 f32 lie in an L2 cache of 1 MiB.
  const std::vector<RowCase> rows{
      {"softmax", softmax_last, 64, 1024},
      {"softmax", softmax_last, 4096 / scale, 4096 / scale},
      {"softmax", softmax_last, 64, 1024, f64},
      {"softmax_columns", [](const Expr& x) { return softmax(x, {.axis = 0}); }, 1024, 64},
      {"softmax_columns", [](const Expr& x) { return softmax(x, {.axis = 0}); }, 4096 / scale,
       4096 / scale},
      {"softmax_gradient",
       [](const Expr& x) {
         return gradients(std::vector{softmax(x)}, std::vector{x}, std::vector{x})[0];
       },
       64, 1024},
      {"softmax", softmax_last, 1024, 64},
      {"log_softmax", [](const Expr& x) { return log_softmax(x); }, 64, 1024},
      {"logsumexp", [](const Expr& x) { return logsumexp(x, {.axes = -1}); }, 64, 1024},
      {"sum_rows", [](const Expr& x) { return sum(x, {.axes = -1}); }, 64, 1024},
      {"sum_columns", [](const Expr& x) { return sum(x, {.axes = 0}); }, 64, 1024},
      {"max_rows", [](const Expr& x) { return max(x, {.axes = -1}); }, 64, 1024},
      {"exp", [](const Expr& x) { return exp(x); }, 64, 1024},
      {"tanh", [](const Expr& x) { return tanh(x); }, 64, 1024},
      {"erf", [](const Expr& x) { return erf(x); }, 64, 1024},
      {"sigmoid", [](const Expr& x) { return sigmoid(x); }, 64, 1024},
      {"gelu", [](const Expr& x) { return gelu(x); }, 64, 1024},
      {"layer_norm", [](const Expr& x) { return layer_norm(x); }, 64, 1024},
      {"rope", [](const Expr& x) { return rope(x); }, 512, 128},
      {"exp", [](const Expr& x) { return exp(x); }, 64, 1024, f64},
      {"tanh", [](const Expr& x) { return tanh(x); }, 64, 1024, f64},
      {"erf", [](const Expr& x) { return erf(x); }, 64, 1024, f64}};
  for (const RowCase& row : rows) cases.push_back(row_case(row));
  for (const std::int64_t count : {64L, 8192 / scale}) {
    Case chain =
        row_case({"elementwise_chain", [](const Expr& x) { return (x * 2 + 1) * x; }, count, 1024});
    chain.yardstick_name = "plain loop";
    chain.yardstick_call = [count] { return prepare_plain_chain({count, 1024}); };
    cases.push_back(std::move(chain));
  }
}

}  // namespace fovea::bench
