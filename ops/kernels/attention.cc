#include "fovea/ops/kernels/attention.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/kernels/tasks.h"

namespace fovea::kernels {

namespace {

// Where queries are few, k and v are read row by row, once for all heads of a group; lanes that are
// queries would mostly be empty. With many rows in a group it is no longer a matter of reading.
constexpr std::int64_t kDecodeQueries = 4, kDecodeRows = 64;

template <class T>
std::int64_t decode_rows(const AttentionProblem<T>& p) {
  return p.heads / std::max<std::int64_t>(1, p.kv_heads) * p.queries;
}

template <class T>
bool decodes(const AttentionProblem<T>& p) {
  return p.queries <= kDecodeQueries && decode_rows(p) <= kDecodeRows;
}

// Elements of the parts of one chunk.
template <class T>
std::int64_t decode_part(const AttentionProblem<T>& p) {
  constexpr std::int64_t kVector = 64 / static_cast<std::int64_t>(sizeof(T));
  return decode_rows(p) * ((p.value_dim + kVector - 1) / kVector + 1) * kVector;
}

// Chunks of keys, by shape alone: enough tasks for a few threads, of at least 256 keys each, as
// long as the parts take little memory.
template <class T>
std::int64_t decode_chunks(const AttentionProblem<T>& p) {
  constexpr std::int64_t kPartsBytes = 32 << 10;
  const std::int64_t heads = std::max<std::int64_t>(1, p.batch * p.kv_heads);
  const std::int64_t part = decode_part(p) * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t most =
      std::min((15 + heads) / heads, kPartsBytes / heads / std::max<std::int64_t>(1, part));
  return std::clamp<std::int64_t>(p.keys / 256, 1, std::max<std::int64_t>(1, most));
}

// Where heads have several chunks, all parts stand before the slots' scratch; else each slot has
// one.
template <class T>
std::size_t decode_parts_bytes(const AttentionProblem<T>& p) {
  const std::int64_t chunks = decodes(p) ? decode_chunks(p) : 1;
  if (chunks == 1) return 0;
  return static_cast<std::size_t>(p.batch * p.kv_heads * chunks * decode_part(p)) * sizeof(T);
}

template <class T>
std::size_t forward_slot(const AttentionProblem<T>& p) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::size_t panel = loop.attention_forward_scratch(p);
  if (!decodes(p)) return panel;
  const std::int64_t part = decode_chunks(p) == 1 ? decode_part(p) : 0;
  return std::max(panel,
                  static_cast<std::size_t>(part) * sizeof(T) + loop.attention_decode_scratch(p));
}

template <class T>
void run_decode(const AttentionProblem<T>& p, const AttentionResult<T>& result, void* scratch,
                int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::int64_t chunks = decode_chunks(p), part = decode_part(p);
  const std::int64_t blocks = (p.keys + kAttentionDecodeBlock - 1) / kAttentionDecodeBlock;
  T* all_parts = static_cast<T*>(scratch);
  void* memory = static_cast<std::byte*>(scratch) + decode_parts_bytes(p);
  const auto merge = [&](std::int64_t head, T* parts) {
    loop.attention_decode_merge(p, result, head / p.kv_heads, head % p.kv_heads, parts, chunks,
                                part);
  };
  for_each_task(p.batch * p.kv_heads * chunks, memory, forward_slot(p), slots,
                [&](std::int64_t task, void* slot) {
                  const std::int64_t chunk = task % chunks, head = task / chunks;
                  T* parts = chunks == 1 ? static_cast<T*>(slot) : all_parts + task * part;
                  const std::int64_t begin = blocks * chunk / chunks * kAttentionDecodeBlock,
                                     end = blocks * (chunk + 1) / chunks * kAttentionDecodeBlock;
                  loop.attention_decode(
                      p,
                      {head / p.kv_heads, head % p.kv_heads, begin, std::min(p.keys, end), parts},
                      static_cast<T*>(slot) + (chunks == 1 ? part : 0));
                  if (chunks == 1) merge(head, parts);
                });
  if (chunks == 1) return;
  parallel_for(p.batch * p.kv_heads,
               [&](std::int64_t head) { merge(head, all_parts + head * chunks * part); });
}

// Calls f(batch, head, first query, scratch of the slot) for each panel of queries.
template <class T, class F>
void for_each_panel(const AttentionProblem<T>& p, void* scratch, int slots, const F& f) {
  const std::int64_t panels = (p.queries + kAttentionPanel<T> - 1) / kAttentionPanel<T>;
  for_each_task(p.batch * p.heads * panels, scratch, forward_slot(p), slots,
                [&](std::int64_t task, void* memory) {
                  const std::int64_t head = task / panels;
                  f(head / p.heads, head % p.heads, task % panels * kAttentionPanel<T>, memory);
                });
}

}  // namespace

template <class T>
std::size_t attention_forward_scratch(const AttentionProblem<T>& problem, int slots) {
  return decode_parts_bytes(problem) + forward_slot(problem) * static_cast<std::size_t>(slots);
}

template <class T>
void attention_forward(const AttentionProblem<T>& problem, const AttentionResult<T>& result,
                       void* scratch, int slots) {
  if (decodes(problem)) return run_decode(problem, result, scratch, slots);
  const auto function = loops<T>(kernels()).attention_forward;
  for_each_panel(problem, scratch, slots,
                 [&](std::int64_t batch, std::int64_t head, std::int64_t first, void* memory) {
                   function(problem, result, batch, head, first, memory);
                 });
}

template <class T>
void attention_scores(const AttentionProblem<T>& problem, ScoresStage stage,
                      const ScoreView<T>& scores, void* scratch, int slots) {
  const auto function = loops<T>(kernels()).attention_scores;
  for_each_panel(problem, scratch, slots,
                 [&](std::int64_t batch, std::int64_t head, std::int64_t first, void* memory) {
                   function(problem, {batch, head, first, stage, {}, scores}, memory);
                 });
}

template <class T>
void attention_probs(const AttentionProblem<T>& problem, const HeadView<const T>& lse,
                     const ScoreView<T>& probs, void* scratch, int slots) {
  const auto function = loops<T>(kernels()).attention_scores;
  for_each_panel(problem, scratch, slots,
                 [&](std::int64_t batch, std::int64_t head, std::int64_t first, void* memory) {
                   function(problem, {batch, head, first, ScoresStage::biased, lse, probs}, memory);
                 });
}

namespace {

// Heads are shared among threads where there are few. (They add to the same rows one after the
// other: every sum has its order whether they share or not.)
template <class T>
std::int64_t shared_tasks(const AttentionProblem<T>& p, int slots) {
  constexpr std::int64_t kHeadsPerSlot = 4;
  const std::int64_t heads = p.batch * p.kv_heads;
  if (slots == 1 || heads >= kHeadsPerSlot * slots) return 0;
  return heads * BackwardGroups<T>(p).count;
}

// The progress of tasks stands before the slots' scratch.
template <class T>
std::size_t progress_bytes(const AttentionProblem<T>& p, int slots) {
  const auto bytes = static_cast<std::size_t>(shared_tasks(p, slots)) * sizeof(Progress);
  return (bytes + 63) / 64 * 64;
}

template <class T>
void run_backward(const AttentionProblem<T>& p, const AttentionGradient<T>& g, Progress* progress,
                  void* scratch, int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::int64_t tasks = shared_tasks(p, slots), groups = BackwardGroups<T>(p).count;
  const std::size_t slot_bytes = loop.attention_backward_scratch(p);
  if (tasks == 0) {
    return for_each_task(
        p.batch * p.kv_heads, scratch, slot_bytes, slots, [&](std::int64_t head, void* memory) {
          loop.attention_backward(p, g, {head / p.kv_heads, head % p.kv_heads, 0, groups}, memory);
        });
  }
  std::uninitialized_default_construct_n(progress, tasks);
  std::atomic<std::int64_t> next = 0;  // tasks begin in order
  for_each_task(tasks, scratch, slot_bytes, slots, [&](std::int64_t, void* memory) {
    const std::int64_t task = next++, head = task / groups, group = task % groups;
    loop.attention_backward(p, g,
                            {head / p.kv_heads, head % p.kv_heads, group, group + 1,
                             group > 0 ? progress + task - 1 : nullptr, progress + task},
                            memory);
  });
}

// An axis cut into tasks: `step` apart where the bias has it, one for all where it is broadcast.
struct Cut {
  std::int64_t extent, step;

  Cut(std::int64_t extent, std::int64_t step, std::int64_t stride)
      : extent(extent), step(stride == 0 ? std::max<std::int64_t>(1, extent) : step) {}
  std::int64_t tasks(std::int64_t stride) const {
    return stride == 0 ? 1 : (extent + step - 1) / step;
  }
  std::int64_t begin(std::int64_t task) const { return task * step; }
  std::int64_t end(std::int64_t task) const { return std::min(extent, (task + 1) * step); }
};

template <class T>
void run_bias(const AttentionProblem<T>& p, const AttentionGradient<T>& g, void* scratch,
              int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const ScoreView<T>& out = g.dbias;
  const Cut batch(p.batch, 1, out.batch), heads(p.heads, 1, out.head);
  const Cut queries(p.queries, kAttentionPanel<T>, out.row),
      keys(p.keys, kAttentionBiasKeys, out.column);
  const std::int64_t nb = batch.tasks(out.batch), nh = heads.tasks(out.head),
                     nq = queries.tasks(out.row), nk = keys.tasks(out.column);
  for_each_task(nb * nh * nq * nk, scratch, loop.attention_bias_scratch(p), slots,
                [&](std::int64_t task, void* memory) {
                  const std::int64_t k = task % nk, q = task / nk % nq, h = task / nk / nq % nh,
                                     b = task / nk / nq / nh;
                  loop.attention_bias(
                      p, g,
                      {batch.begin(b), batch.end(b), heads.begin(h), heads.end(h), queries.begin(q),
                       queries.end(q), keys.begin(k), keys.end(k)},
                      memory);
                });
}

}  // namespace

template <class T>
std::size_t attention_backward_scratch(const AttentionProblem<T>& problem, int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const std::size_t slot =
      std::max(loop.attention_backward_scratch(problem), loop.attention_bias_scratch(problem));
  return progress_bytes(problem, slots) + slot * static_cast<std::size_t>(slots);
}

template <class T>
void attention_backward(const AttentionProblem<T>& problem, const AttentionGradient<T>& gradient,
                        void* scratch, int slots) {
  void* slots_scratch = static_cast<std::byte*>(scratch) + progress_bytes(problem, slots);
  if (gradient.dq.data || gradient.dk.data || gradient.dv.data) {
    run_backward(problem, gradient, static_cast<Progress*>(scratch), slots_scratch, slots);
  }
  if (gradient.dbias.data) run_bias(problem, gradient, slots_scratch, slots);
}

template std::size_t attention_forward_scratch(const AttentionProblem<float>&, int);
template std::size_t attention_forward_scratch(const AttentionProblem<double>&, int);
template std::size_t attention_backward_scratch(const AttentionProblem<float>&, int);
template std::size_t attention_backward_scratch(const AttentionProblem<double>&, int);
template void attention_forward(const AttentionProblem<float>&, const AttentionResult<float>&,
                                void*, int);
template void attention_forward(const AttentionProblem<double>&, const AttentionResult<double>&,
                                void*, int);
template void attention_backward(const AttentionProblem<float>&, const AttentionGradient<float>&,
                                 void*, int);
template void attention_backward(const AttentionProblem<double>&, const AttentionGradient<double>&,
                                 void*, int);
template void attention_scores(const AttentionProblem<float>&, ScoresStage, const ScoreView<float>&,
                               void*, int);
template void attention_scores(const AttentionProblem<double>&, ScoresStage,
                               const ScoreView<double>&, void*, int);
template void attention_probs(const AttentionProblem<float>&, const HeadView<const float>&,
                              const ScoreView<float>&, void*, int);
template void attention_probs(const AttentionProblem<double>&, const HeadView<const double>&,
                              const ScoreView<double>&, void*, int);

}  // namespace fovea::kernels
