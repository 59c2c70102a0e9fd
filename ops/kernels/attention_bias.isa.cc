#include "fovea/ops/kernels/attention_backward.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
struct BiasScratch {
  T *q, *dy, *lse, *delta;  // one packed panel
  T *q_rows, *dy_rows;
  T *p, *ds;     // [keys][panel]
  double* sums;  // [keys of the cell][panel]; 1 key, 1 lane for an axis broadcast
  std::size_t bytes;

  BiasScratch(const AttentionProblem<T>& problem, void* memory) {
    Carver carver(memory);
    q = carver.take<T>(kPanel<T> * problem.dim);
    dy = carver.take<T>(kPanel<T> * problem.value_dim);
    lse = carver.take<T>(kPanel<T>);
    delta = carver.take<T>(kPanel<T>);
    q_rows = carver.take<T>(kPanel<T> * whole_vectors<T>(problem.dim));
    dy_rows = carver.take<T>(kPanel<T> * whole_vectors<T>(problem.value_dim));
    p = carver.take<T>(kBackwardKeys * kPanel<T>);
    ds = carver.take<T>(kBackwardKeys * kPanel<T>);
    sums = carver.take<double>(kPanel<T> * larger(1, smaller(kAttentionBiasKeys, problem.keys)));
    bytes = carver.used();
  }
};

// The gradient of one cell of the bias: a panel of queries (or all, where the bias is broadcast
// over them) by a range of keys (or all), summed in f64 over the batch items and heads it is
// broadcast over. Hidden values need no care here: dS is selected.
template <class T>
class BiasCell {
 public:
  BiasCell(const AttentionProblem<T>& p, const AttentionGradient<T>& g, const BiasTask& task,
           void* memory)
      : p_(p),
        g_(g),
        task_(task),
        scratch_(p, memory),
        by_query_(g.dbias.row != 0),
        by_key_(g.dbias.column != 0),
        keys_(by_key_ ? task.keys_end - task.keys_begin : 1),
        lanes_(by_query_ ? kPanel<T> : 1) {}

  void run() {
    fill_zero(scratch_.sums, keys_ * lanes_);
    for (std::int64_t b = task_.batch_begin; b < task_.batch_end; ++b) {
      for (std::int64_t h = task_.heads_begin; h < task_.heads_end; ++h) {
        for (std::int64_t i = task_.queries_begin; i < task_.queries_end; i += kPanel<T>)
          panel(b, h, i);
      }
    }
    T* out = g_.dbias.data + task_.batch_begin * g_.dbias.batch +
             task_.heads_begin * g_.dbias.head + task_.queries_begin * g_.dbias.row +
             task_.keys_begin * g_.dbias.column;
    const std::int64_t queries =
        by_query_ ? smaller(kPanel<T>, task_.queries_end - task_.queries_begin) : 1;
    for (std::int64_t j = 0; j < keys_; j += kBackwardKeys)
      store_sums(j, smaller(kBackwardKeys, keys_ - j), queries, out + j * g_.dbias.column);
  }

 private:
  void panel(std::int64_t batch, std::int64_t head, std::int64_t first) {
    const ScoreStage<T> scores(p_, batch, head);
    const std::int64_t count = smaller(kPanel<T>, task_.queries_end - first);
    const KeyRange all = scores.visibility().of(first, count);
    const KeyRange range{larger(all.begin, task_.keys_begin), smaller(all.end, task_.keys_end)};
    if (range.empty()) return;
    const BackwardHead<T> operands(p_, g_, batch, head);
    const QueryPanel<T> panel{scratch_.q,
                              scratch_.dy,
                              scratch_.lse,
                              scratch_.delta,
                              scratch_.q_rows,
                              scratch_.dy_rows,
                              whole_vectors<T>(p_.dim),
                              whole_vectors<T>(p_.value_dim)};
    pack_panel(p_, g_, operands, first, count, false, panel);
    for (std::int64_t j = range.begin; j < range.end; j += kBackwardKeys) {
      const ScoreTile<T> tile{
          scratch_.p, kPanel<T>, kPanel<T>, first, count, j, smaller(kBackwardKeys, range.end - j)};
      if (!scores.sees_any(tile)) continue;
      tile_gradients<T>(scores, tile, panel, RowMajor<T>{operands.k + j * p_.k.row, p_.k.row},
                        p_.dim, RowMajor<T>{operands.v + j * p_.v.row, p_.v.row}, p_.value_dim,
                        nullptr, scratch_.ds);
      add_tile(tile);
    }
  }

  // Keys [first, first + count) of the sums, rounded to T and by rows.
  void store_sums(std::int64_t first, std::int64_t count, std::int64_t queries, T* out) {
    T* rounded = scratch_.p;
    for (std::int64_t i = 0; i < count * lanes_; ++i)
      rounded[i] = static_cast<T>(scratch_.sums[first * lanes_ + i]);
    if (by_query_ && by_key_ && g_.dbias.column == 1) {
      transpose(rounded, lanes_, count, queries, out, g_.dbias.row);
      return;
    }
    for (std::int64_t i = 0; i < queries; ++i) {
      for (std::int64_t j = 0; j < count; ++j)
        out[i * g_.dbias.row + j * g_.dbias.column] = rounded[j * lanes_ + i];
    }
  }

  void add_tile(const ScoreTile<T>& t) {
    for (std::int64_t j = 0; j < t.keys; ++j) {
      const T* ds = scratch_.ds + j * t.stride;
      double* sums = scratch_.sums + (by_key_ ? t.first_key - task_.keys_begin + j : 0) * lanes_;
      if (by_query_) {
        for (std::int64_t i = 0; i < kPanel<T>; ++i) sums[i] += static_cast<double>(ds[i]);
      } else {
        double sum = 0;
        for (std::int64_t i = 0; i < t.queries; ++i) sum += static_cast<double>(ds[i]);
        *sums += sum;
      }
    }
  }

  const AttentionProblem<T>& p_;
  const AttentionGradient<T>& g_;
  const BiasTask& task_;
  const BiasScratch<T> scratch_;
  const bool by_query_, by_key_;
  const std::int64_t keys_, lanes_;
};

template <class T>
void bias_gradient(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
                   const BiasTask& task, void* memory) {
  BiasCell<T>(p, g, task, memory).run();
}

template <class T>
std::size_t scratch_bytes(const AttentionProblem<T>& p) {
  return BiasScratch<T>(p, nullptr).bytes;
}

template <class T>
void add(Loops<T>& loops) {
  loops.attention_bias = bias_gradient<T>;
  loops.attention_bias_scratch = scratch_bytes<T>;
}

}  // namespace

void add_attention_bias(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
