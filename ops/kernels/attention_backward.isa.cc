#include "fovea/ops/kernels/attention_backward.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kPanels = 4;  // that share the packed rows and the tiles of P and dS

template <class T>
struct BackwardScratch {
  std::int64_t panels, width;  // of a group of panels: width = panels · kPanel
  std::int64_t q_stride, dy_stride;
  T *q, *dy, *dq;       // [panels][dim or value_dim][panel]
  T *q_rows, *dy_rows;  // [width][stride]
  T *lse, *delta;       // [width]
  T *p, *ds, *tanh;     // [keys][width]
  T* sum;               // [keys][stride], of one block
  T *k, *v;             // copies of a block with finite values only
  std::size_t bytes;

  BackwardScratch(const AttentionProblem<T>& problem, void* memory) {
    panels = smaller(kPanels, (problem.queries + kPanel<T> - 1) / kPanel<T>);
    width = panels * kPanel<T>;
    q_stride = whole_vectors<T>(problem.dim);
    dy_stride = whole_vectors<T>(problem.value_dim);
    Carver carver(memory);
    q = carver.take<T>(width * problem.dim);
    dy = carver.take<T>(width * problem.value_dim);
    dq = carver.take<T>(width * problem.dim);
    q_rows = carver.take<T>(width * q_stride);
    dy_rows = carver.take<T>(width * dy_stride);
    lse = carver.take<T>(width);
    delta = carver.take<T>(width);
    p = carver.take<T>(kBackwardKeys * width);
    ds = carver.take<T>(kBackwardKeys * width);
    tanh = carver.take<T>(kBackwardKeys * width);
    sum = carver.take<T>(kBackwardKeys * larger(q_stride, dy_stride));
    k = carver.take<T>(kBackwardKeys * problem.dim);
    v = carver.take<T>(kBackwardKeys * problem.value_dim);
    bytes = carver.used();
  }

  QueryPanel<T> panel(const AttentionProblem<T>& problem, std::int64_t index) const {
    const std::int64_t first = index * kPanel<T>;
    return {q + first * problem.dim,   dy + first * problem.value_dim, lse + first, delta + first,
            q_rows + first * q_stride, dy_rows + first * dy_stride,    q_stride,    dy_stride};
  }
};

// The gradients that pass through keys [begin, end) of one KV head: dk and dv of those keys, and
// their part of dq. With kCareful, values that are not finite are taken out of the products; see
// pack_panel for how they come back.
template <class T, bool kCareful>
class BackwardRange {
 public:
  BackwardRange(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
                const BackwardTask<T>& task, const BackwardScratch<T>& scratch)
      : p_(p), g_(g), task_(task), scratch_(scratch) {
    if (g.dk.data) dk_ = g.dk.data + task.batch * g.dk.batch + task.kv_head * g.dk.head;
    if (g.dv.data) dv_ = g.dv.data + task.batch * g.dv.batch + task.kv_head * g.dv.head;
  }

  // False if a gradient is not finite, so that the careful way is needed.
  bool run() {
    for (std::int64_t j = task_.begin; j < task_.end; ++j) {
      if (dk_) fill_zero(dk_ + j * g_.dk.row, p_.dim);
      if (dv_) fill_zero(dv_ + j * g_.dv.row, p_.value_dim);
    }
    const std::int64_t group = p_.heads / p_.kv_heads;
    for (std::int64_t h = task_.kv_head * group; h < (task_.kv_head + 1) * group; ++h) {
      for (std::int64_t i = 0; i < p_.queries; i += scratch_.width) queries(h, i);
    }
    for (std::int64_t j = task_.begin; j < task_.end; ++j) {
      if (dk_) check(dk_ + j * g_.dk.row, p_.dim);
      if (dv_) check(dv_ + j * g_.dv.row, p_.value_dim);
    }
    return sum_lanes(load(check_)) == T(0);
  }

 private:
  void check(const T* row, std::int64_t count) {
    const Vec<T> zero = broadcast(T(0));
    Vec<T> sum = load(check_);
    std::int64_t d = 0;
    for (; d + kLanes<T> <= count; d += kLanes<T>) sum = fma(load(row + d), zero, sum);
    store(check_, sum);
    for (; d < count; ++d) check_[0] += row[d] * T(0);
  }

  // A group of panels, over all blocks of keys.
  void queries(std::int64_t head, std::int64_t first) {
    const BackwardHead<T> operands(p_, g_, task_.batch, head);
    const ScoreStage<T> scores(p_, task_.batch, head);
    const std::int64_t count = smaller(scratch_.width, p_.queries - first);
    const std::int64_t panels = (count + kPanel<T> - 1) / kPanel<T>;
    const KeyRange all = scores.visibility().of(first, count);
    const KeyRange range{larger(all.begin, task_.begin), smaller(all.end, task_.end)};
    for (std::int64_t x = 0; x < panels; ++x) started_[x] = false;
    if (!range.empty()) {
      for (std::int64_t x = 0; x < panels; ++x) {
        pack_panel(p_, g_, operands, first + x * kPanel<T>,
                   smaller(kPanel<T>, count - x * kPanel<T>), kCareful, scratch_.panel(p_, x));
      }
      const std::int64_t start = range.begin - range.begin % kBackwardKeys;
      for (std::int64_t j = start; j < range.end; j += kBackwardKeys) {
        block(operands, scores, first, count, larger(j, range.begin),
              smaller(j + kBackwardKeys, range.end));
      }
    }
    if (g_.dq.data) store_dq(head, first, count);
  }

  // Keys [begin, end) against the group of panels.
  void block(const BackwardHead<T>& operands, const ScoreStage<T>& scores, std::int64_t first,
             std::int64_t count, std::int64_t begin, std::int64_t end) {
    const std::int64_t keys = end - begin;
    const T *k = operands.k + begin * p_.k.row, *v = operands.v + begin * p_.v.row;
    std::int64_t k_row = p_.k.row, v_row = p_.v.row;
    if constexpr (kCareful) {
      copy_finite(k, k_row, keys, p_.dim, scratch_.k);
      copy_finite(v, v_row, keys, p_.value_dim, scratch_.v);
      k = scratch_.k, k_row = p_.dim;
      v = scratch_.v, v_row = p_.value_dim;
    }
    KeyRange seen[kPanels] = {};  // of each panel
    for (std::int64_t x = 0; x * kPanel<T> < count; ++x) {
      const std::int64_t query = first + x * kPanel<T>,
                         n = smaller(kPanel<T>, first + count - query);
      const KeyRange sees = scores.visibility().of(query, n);
      const KeyRange range{larger(begin, sees.begin), smaller(end, sees.end)};
      T* s = scratch_.p + x * kPanel<T>;
      const ScoreTile<T> all{s, scratch_.width, kPanel<T>, query, n, begin, keys};
      const ScoreTile<T> tile = all.keys_from(range.begin - begin, range.end - range.begin);
      if (!range.empty() && scores.sees_any(tile)) {
        seen[x] = range;
        const std::int64_t skip = range.begin - begin;
        panel_tile(scores, tile, x, {k + skip * k_row, k_row}, {v + skip * v_row, v_row});
        clear(all.keys_from(0, skip));
        clear(all.keys_from(range.end - begin, end - range.end));
      } else {
        clear(all);
      }
    }
    for (std::int64_t j = begin; j < end; j += kPanel<T>) {
      const std::int64_t last = smaller(end, j + kPanel<T>);
      std::int64_t from = 0, to = 0;  // the panels that see something of these keys
      for (std::int64_t x = 0; x < kPanels; ++x) {
        if (seen[x].empty() || seen[x].begin >= last || seen[x].end <= j) continue;
        if (to == 0) from = x;
        to = x + 1;
      }
      if (to > 0) key_gradients(from * kPanel<T>, (to - from) * kPanel<T>, begin, j, last);
    }
  }

  // dV and dK of keys [j, last) of the block, from `depth` queries of the group.
  void key_gradients(std::int64_t skip, std::int64_t depth, std::int64_t begin, std::int64_t j,
                     std::int64_t last) {
    const std::int64_t weights = (j - begin) * scratch_.width + skip;
    if (dv_) {
      add_rows({scratch_.p + weights, scratch_.width},
               {scratch_.dy_rows + skip * scratch_.dy_stride, scratch_.dy_stride}, depth, last - j,
               p_.value_dim, dv_ + j * g_.dv.row, g_.dv.row);
    }
    if (dk_) {
      add_rows({scratch_.ds + weights, scratch_.width},
               {scratch_.q_rows + skip * scratch_.q_stride, scratch_.q_stride}, depth, last - j,
               p_.dim, dk_ + j * g_.dk.row, g_.dk.row);
    }
  }

  void clear(const ScoreTile<T>& t) {
    T* ds = scratch_.ds + (t.s - scratch_.p);
    for (std::int64_t j = 0; j < t.keys; ++j) {
      fill_zero(t.s + j * t.stride, t.width);
      fill_zero(ds + j * t.stride, t.width);
    }
  }

  // P and dS of one panel, and dQᵀ += Kᵀ dS.
  void panel_tile(const ScoreStage<T>& scores, const ScoreTile<T>& tile, std::int64_t index,
                  RowMajor<T> k, RowMajor<T> v) {
    const QueryPanel<T> panel = scratch_.panel(p_, index);
    const std::int64_t offset = tile.s - scratch_.p;
    T *ds = scratch_.ds + offset, *tanh_tile = scratch_.tanh + offset;
    const bool wanted = dk_ || g_.dq.data;
    tile_gradients(scores, tile, panel, k, p_.dim, v, p_.value_dim, tanh_tile,
                   wanted ? ds : nullptr);
    if (!wanted) return;
    if (scores.capped()) uncap_gradients(tile, tanh_tile, ds);
    if (!g_.dq.data) return;
    T* dq = scratch_.dq + index * kPanel<T> * p_.dim;
    each_part<T>(tile, split_of(scores.visibility(), tile), [&](const ScoreTile<T>& part) {
      const T* keys = k.data + (part.first_key - tile.first_key) * k.stride;
      multiply<T>(p_.dim, part.width / kLanes<T>, part.keys, ColumnMajor<T>{keys, k.stride},
                  {ds + (part.s - tile.s), part.stride},
                  {dq + (part.first_query - tile.first_query), kPanel<T>},
                  started_[index] ? Store::add : Store::assign);
      started_[index] = true;
    });
  }

  // out[j] += Σ_i weights(j, i) · rows[i]
  void add_rows(RowMajor<T> weights, VectorRows<const T> rows, std::int64_t depth,
                std::int64_t keys, std::int64_t dim, T* out, std::int64_t out_row) {
    const std::int64_t vectors = rows.stride / kLanes<T>;
    if (dim == rows.stride)
      return multiply<T>(keys, vectors, depth, weights, rows, {out, out_row}, Store::add);
    multiply<T>(keys, vectors, depth, weights, rows, {scratch_.sum, rows.stride}, Store::assign);
    for (std::int64_t j = 0; j < keys; ++j) {
      for (std::int64_t d = 0; d < dim; ++d)
        out[j * out_row + d] += scratch_.sum[j * rows.stride + d];
    }
  }

  // dq = scale · dQ, or this range's part of dQ where the keys are split.
  void store_dq(std::int64_t head, std::int64_t first, std::int64_t count) {
    T* to = task_.dq_part
                ? task_.dq_part + ((task_.batch * p_.heads + head) * p_.queries + first) * p_.dim
                : g_.dq.data + task_.batch * g_.dq.batch + head * g_.dq.head + first * g_.dq.row;
    const std::int64_t row = task_.dq_part ? p_.dim : g_.dq.row;
    for (std::int64_t i = 0; i < count; i += kPanel<T>, to += kPanel<T> * row) {
      const std::int64_t x = i / kPanel<T>, queries = smaller(kPanel<T>, count - i);
      T* dq = scratch_.dq + i * p_.dim;
      if (started_[x]) {
        if (!task_.dq_part) scale_all(dq, p_.dim * kPanel<T>, p_.scale);
        check(dq, p_.dim * kPanel<T>);
        transpose(dq, kPanel<T>, p_.dim, queries, to, row);
      } else {
        for (std::int64_t j = 0; j < queries; ++j) fill_zero(to + j * row, p_.dim);
      }
    }
  }

  const AttentionProblem<T>& p_;
  const AttentionGradient<T>& g_;
  const BackwardTask<T> task_;
  const BackwardScratch<T> scratch_;
  T *dk_ = nullptr, *dv_ = nullptr;
  bool started_[kPanels] = {};
  alignas(64) T check_[kLanes<T>] = {};
};

template <class T>
void backward(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
              const BackwardTask<T>& task, void* memory) {
  const BackwardScratch<T> scratch(p, memory);
  if (!BackwardRange<T, false>(p, g, task, scratch).run()) {
    BackwardRange<T, true>(p, g, task, scratch).run();
  }
}

template <class T>
std::size_t scratch_bytes(const AttentionProblem<T>& p) {
  return BackwardScratch<T>(p, nullptr).bytes;
}

template <class T>
void add(Loops<T>& loops) {
  loops.attention_backward = backward<T>;
  loops.attention_backward_scratch = scratch_bytes<T>;
}

}  // namespace

void add_attention_backward(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
