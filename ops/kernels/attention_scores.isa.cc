#include "fovea/ops/kernels/attention_stage.h"
#include "fovea/ops/kernels/exp2.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kBlock =
    64;  // keys; no more than in the forward pass, whose scratch this is

template <class T>
struct ScoresScratch {
  T *q, *s;  // Qᵀ[dim][panel], Sᵀ[keys][panel]

  ScoresScratch(const AttentionProblem<T>& p, void* memory) {
    Carver carver(memory);
    q = carver.take<T>(p.dim * kPanel<T>);
    s = carver.take<T>(kBlock * kPanel<T>);
  }
};

// P = exp(s − lse), 0 where hidden even if lse is NaN or the query sees nothing.
template <class T>
void exponentiate(const ScoreTile<T>& t, const T* lse) {
  const Vec<T> hidden = broadcast(-kInfinity<T>), zero = broadcast(T(0));
  for (std::int64_t i = 0; i < t.keys * t.stride; i += kLanes<T>) {
    const Vec<T> s = load(t.s + i);
    store(t.s + i, select(s == hidden, zero, exp(s - load(lse + i % t.stride))));
  }
}

template <class T>
void scores_panel(const AttentionProblem<T>& p, const ScoresTask<T>& task, void* memory) {
  const ScoresScratch<T> scratch(p, memory);
  const ScoreStage<T> scores(p, task.batch, task.head);
  const std::int64_t count = smaller(kPanel<T>, p.queries - task.first_query);
  const std::int64_t kv_head = task.head / (p.heads / p.kv_heads);
  const T* q =
      p.q.data + task.batch * p.q.batch + task.head * p.q.head + task.first_query * p.q.row;
  const T* k = p.k.data + task.batch * p.k.batch + kv_head * p.k.head;
  T* out = task.out.data + task.batch * task.out.batch + task.head * task.out.head +
           task.first_query * task.out.row;
  pack_scaled(q, p.q.row, count, p.dim, p.scale, scratch.q, kPanel<T>);
  T lse[kPanel<T>] = {};
  for (std::int64_t i = 0; task.lse.data && i < count; ++i) {
    lse[i] = task.lse.data[task.batch * task.lse.batch + task.head * task.lse.head +
                           (task.first_query + i) * task.lse.row];
    // Products of −inf are not to pass for hidden keys.
    for (std::int64_t d = 0; lse[i] != lse[i] && d < p.dim; ++d)
      scratch.q[d * kPanel<T> + i] = lse[i];
  }
  for (std::int64_t j = 0; j < p.keys; j += kBlock) {
    const ScoreTile<T> tile{
        scratch.s, kPanel<T>, kPanel<T>, task.first_query, count, j, smaller(kBlock, p.keys - j)};
    const RowMajor<T> rows{k + j * p.k.row, p.k.row};
    const StoreRows<T> to_tile{{tile.s, tile.stride}, Store::assign};
    if (task.stage == ScoresStage::biased) {
      multiply_scores<T>(scores, tile, p.dim, rows, {scratch.q, kPanel<T>}, {}, nullptr, to_tile,
                         to_tile);
    } else {
      multiply_into<T>(to_tile, tile.keys, kPanelVectors<T>, p.dim, rows, {scratch.q, kPanel<T>});
      if (task.stage == ScoresStage::capped && scores.capped()) scores.cap(tile, nullptr);
    }
    if (task.lse.data) exponentiate(tile, lse);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t x = 0; x < tile.keys; ++x)
        out[i * task.out.row + (j + x) * task.out.column] = tile.s[x * tile.stride + i];
    }
  }
}

template <class T>
void add(Loops<T>& loops) {
  loops.attention_scores = scores_panel<T>;
}

}  // namespace

void add_attention_scores(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
