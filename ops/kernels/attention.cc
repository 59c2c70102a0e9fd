#include "fovea/ops/kernels/attention.h"

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/kernels/tasks.h"

namespace fovea::kernels {

template <class T>
std::size_t attention_forward_scratch(const AttentionProblem<T>& problem, int slots) {
  return loops<T>(kernels()).attention_forward_scratch(problem) * static_cast<std::size_t>(slots);
}

template <class T>
void attention_forward(const AttentionProblem<T>& problem, const AttentionResult<T>& result,
                       void* scratch, int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::int64_t panels = (problem.queries + kAttentionPanel<T> - 1) / kAttentionPanel<T>;
  for_each_task(
      problem.batch * problem.heads * panels, scratch, loop.attention_forward_scratch(problem),
      slots, [&](std::int64_t task, void* memory) {
        const std::int64_t head = task / panels;
        loop.attention_forward(problem, result, head / problem.heads, head % problem.heads,
                               task % panels * kAttentionPanel<T>, memory);
      });
}

template std::size_t attention_forward_scratch(const AttentionProblem<float>&, int);
template std::size_t attention_forward_scratch(const AttentionProblem<double>&, int);
template void attention_forward(const AttentionProblem<float>&, const AttentionResult<float>&,
                                void*, int);
template void attention_forward(const AttentionProblem<double>&, const AttentionResult<double>&,
                                void*, int);

}  // namespace fovea::kernels
