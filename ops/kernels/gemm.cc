#include "fovea/ops/kernels/gemm.h"

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/kernels/tasks.h"

namespace fovea::kernels {

template <class T>
std::size_t gemm_scratch(const GemmProblem<T>& problem, int slots) {
  return loops<T>(kernels()).gemm_scratch(problem) * static_cast<std::size_t>(slots);
}

template <class T>
void gemm(const GemmProblem<T>& problem, void* scratch, int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::int64_t row_tiles = (problem.m + kGemmRows - 1) / kGemmRows;
  const std::int64_t column_tiles = (problem.n + kGemmColumns<T> - 1) / kGemmColumns<T>;
  for_each_task(row_tiles * column_tiles, scratch, loop.gemm_scratch(problem), slots,
                [&](std::int64_t task, void* memory) {
                  loop.gemm_tile(problem, task % row_tiles * kGemmRows,
                                 task / row_tiles * kGemmColumns<T>, memory);
                });
}

template std::size_t gemm_scratch(const GemmProblem<float>&, int);
template std::size_t gemm_scratch(const GemmProblem<double>&, int);
template void gemm(const GemmProblem<float>&, void*, int);
template void gemm(const GemmProblem<double>&, void*, int);

}  // namespace fovea::kernels
