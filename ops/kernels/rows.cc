#include "fovea/ops/kernels/rows.h"

#include <algorithm>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/tensor/parallel.h"

namespace fovea::kernels {

namespace {

template <class T>
void run(RowsFunction<T> function, const RowsProblem<T>& problem) {
  constexpr std::int64_t kElements = 16384;  // of a task
  const std::int64_t rows =
      std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, problem.length));
  parallel_for((problem.rows + rows - 1) / rows, [&](std::int64_t task) {
    function(problem, task * rows, std::min(rows, problem.rows - task * rows));
  });
}

}  // namespace

template <class T>
void softmax_rows(const RowsProblem<T>& problem) {
  run(loops<T>(kernels()).softmax_rows, problem);
}

template <class T>
void log_softmax_rows(const RowsProblem<T>& problem) {
  run(loops<T>(kernels()).log_softmax_rows, problem);
}

template <class T>
void logsumexp_rows(const RowsProblem<T>& problem) {
  run(loops<T>(kernels()).logsumexp_rows, problem);
}

template <class T>
void sum_rows(const RowsProblem<T>& problem) {
  run(loops<T>(kernels()).sum_rows, problem);
}

double sum(const float* x, std::int64_t length, std::int64_t stride) {
  return kernels().f32.sum(x, length, stride);
}

double sum(const double* x, std::int64_t length, std::int64_t stride) {
  return kernels().f64.sum(x, length, stride);
}

template void softmax_rows(const RowsProblem<float>&);
template void softmax_rows(const RowsProblem<double>&);
template void log_softmax_rows(const RowsProblem<float>&);
template void log_softmax_rows(const RowsProblem<double>&);
template void logsumexp_rows(const RowsProblem<float>&);
template void logsumexp_rows(const RowsProblem<double>&);
template void sum_rows(const RowsProblem<float>&);
template void sum_rows(const RowsProblem<double>&);

}  // namespace fovea::kernels
