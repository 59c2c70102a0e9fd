// The backward pass of one group of queries, four panels of them, against blocks of 64 keys. The
// probabilities are computed once more, from lse (FlashAttention-2, arXiv 2307.08691).
//
//                         group: four panels of queries, one query to a lane
//                        +-----+-----+-----+-----+
//               Qᵀ, dYᵀ  | dim rows              |  packed once, and by rows too: Q, dY
//                        +-----+-----+-----+-----+
//       K, as it lies -> | Pᵀ: 64 keys           |  P = exp(K Qᵀ − lse)
//       V, as it lies -> | dSᵀ: 64 keys          |  dS = P ∘ (V dYᵀ − D)
//                        +-----+-----+-----+-----+
//                   dQᵀ  | dim rows              |  dQᵀ += Kᵀ dS, over all blocks
//                        +-----+-----+-----+-----+
//
// and for each block dV += Pᵀ dY, dK += dSᵀ Q, straight into the results. All five are the product
// of multiply.h.
//
// Groups of one KV head may run on several threads, one behind the other: to a block of dK and dV a
// group adds when the group before it has. So every sum has one order, there are no copies to
// merge, and a thread that is one block behind never waits.
#include "fovea/ops/kernels/attention_backward.h"
#include "fovea/ops/kernels/fetch.h"
#include "fovea/ops/kernels/half.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kPanels = kAttentionBackwardPanels;

template <class T>
struct BackwardScratch {
  std::int64_t panels, width;  // of a group of panels: width = panels · kPanel
  std::int64_t q_stride, dy_stride;
  T *q, *dy, *dq;       // [panels][dim or value_dim][panel]
  T *q_rows, *dy_rows;  // [width][stride]
  T *lse, *delta;       // [width]
  T *p, *ds, *tanh;     // [keys][width]
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

// Adds a tile of sums to rows of `columns` elements, which need not be whole vectors.
template <class T>
struct AddRows {
  StoreRows<T> rows;
  std::int64_t columns;

  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t v) const {
    rows.template prefetch<kRows, kVectors>(v);
  }
  FOVEA_INLINE void skip(std::int64_t count) { rows.skip(count); }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    if ((v + kVectors) * kLanes<T> <= columns) return rows.put(v, sum);
    T* row = rows.c.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, rows.c.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) {
        T* out = row + x * kLanes<T>;
        const std::int64_t count = columns - (v + x) * kLanes<T>;
        store_some(out, load_some(out, count) + sum[r][x], count);
      }
    }
  }
};

// The gradients that pass through one group of queries at a time of one KV head: their dq, and what
// they add to dk and dv. With kCareful, values that are not finite are taken out of the products;
// see pack_panel for how they come back.
template <class T, bool kCareful>
class BackwardGroup {
 public:
  // `task` says which KV head, and whom to follow.
  BackwardGroup(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
                const BackwardTask& task, const BackwardScratch<T>& scratch)
      : p_(p),
        g_(g),
        task_(task),
        scratch_(scratch),
        blocks_((p.keys + kBackwardKeys - 1) / kBackwardKeys) {
    if (g.dk.data) dk_ = g.dk.data + task.batch * g.dk.batch + task.kv_head * g.dk.head;
    if (g.dv.data) dv_ = g.dv.data + task.batch * g.dv.batch + task.kv_head * g.dv.head;
  }

  void clear_keys() {
    for (std::int64_t j = 0; j < p_.keys; ++j) {
      if (dk_) fill_zero(dk_ + j * g_.dk.row, p_.dim);
      if (dv_) fill_zero(dv_ + j * g_.dv.row, p_.value_dim);
    }
  }

  // False if dq is not finite, so that it is needed the careful way.
  bool run(std::int64_t group) {
    store(check_, broadcast(T(0)));
    queries(group);
    follow(0);
    reach(0);
    return sum_lanes(load(check_)) == T(0);
  }

  // False if dk or dv are not finite, so that they are needed the careful way.
  bool keys_are_finite() {
    store(check_, broadcast(T(0)));
    for (std::int64_t j = 0; j < p_.keys; ++j) {
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
    if (d < count) sum = fma(load_some(row + d, count - d), zero, sum);
    store(check_, sum);
  }

  // Waits until the groups before this one have added to `block`, which they reach from above.
  void follow(std::int64_t block) const {
    if (task_.before) task_.before->wait_for(static_cast<std::uint32_t>(blocks_ - block));
  }
  void reach(std::int64_t block) const {
    if (task_.done) task_.done->reach(static_cast<std::uint32_t>(blocks_ - block));
  }

  struct Queries {
    std::int64_t head, first, count;
  };

  Queries queries_of(std::int64_t group) const {
    const std::int64_t per_head = BackwardGroups<T>(p_).per_head;
    const std::int64_t first = group % per_head * (kPanels * kPanel<T>);
    return {task_.kv_head * (p_.heads / p_.kv_heads) + group / per_head, first,
            smaller(kPanels * kPanel<T>, p_.queries - first)};
  }

  // The blocks of keys from the last one on: where a group sees more than the one before, these
  // come first, and nobody waits for the other.
  void queries(std::int64_t group) {
    const auto [head, first, count] = queries_of(group);
    const BackwardHead<T> operands(p_, g_, task_.batch, head);
    const ScoreStage<T> scores(p_, task_.batch, head);
    const std::int64_t panels = (count + kPanel<T> - 1) / kPanel<T>;
    const KeyRange range = scores.visibility().of(first, count);
    for (std::int64_t x = 0; x < panels; ++x) started_[x] = false;
    fetch_.forget();
    if (!task_.done) ask_for_group(group + 1, range.end);
    if (g_.dq.data) fetch_.ask(dq_rows(head, first), g_.dq.row, count, p_.dim);
    if (!range.empty()) {
      for (std::int64_t x = 0; x < panels; ++x) {
        pack_panel(p_, g_, operands, first + x * kPanel<T>,
                   smaller(kPanel<T>, count - x * kPanel<T>), kCareful, scratch_.panel(p_, x));
        if (count - x * kPanel<T> <= kLanes<T>)  // the tiles are narrower than the panel
          fill_zero(scratch_.dq + x * kPanel<T> * p_.dim, kPanel<T> * p_.dim);
      }
      const std::int64_t low = range.begin / kBackwardKeys;
      for (std::int64_t b = (range.end - 1) / kBackwardKeys; b >= low; --b) {
        const std::int64_t begin = b * kBackwardKeys;
        if (group == 0) ask_for_keys(operands, larger(0, begin - kBackwardKeys), begin);
        block(operands, scores, first, count, larger(begin, range.begin),
              smaller(begin + kBackwardKeys, range.end));
      }
    }
    if (g_.dq.data) store_dq(head, first, count);
  }

  void ask_for_keys(const BackwardHead<T>& operands, std::int64_t begin, std::int64_t end) {
    fetch_.ask(operands.v + begin * p_.v.row, p_.v.row, end - begin, p_.value_dim);
    fetch_.ask(operands.k + begin * p_.k.row, p_.k.row, end - begin, p_.dim);
  }

  // What a group begins with, perhaps one of the next KV head; of its own one's keys, those below
  // `seen` are near.
  void ask_for_group(std::int64_t group, std::int64_t seen) {
    const auto [head, first, count] = queries_of(group);
    if (head == p_.heads) return;
    if (group == BackwardGroups<T>(p_).count) seen = 0;
    const BackwardHead<T> next(p_, g_, task_.batch, head);
    const std::int64_t end = visibility_of(p_, task_.batch).of(first, count).end;
    if (next.dy) {
      fetch_.ask(next.y + first * g_.y.row, g_.y.row, count, p_.value_dim);
      fetch_.ask(next.dy + first * g_.dy.row, g_.dy.row, count, p_.value_dim);
    }
    fetch_.ask(next.q + first * p_.q.row, p_.q.row, count, p_.dim);
    ask_for_keys(next, larger(seen, end - 2 * kBackwardKeys), end);
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
      const std::int64_t width = n <= kLanes<T> ? kLanes<T> : kPanel<T>;
      const ScoreTile<T> all{s, scratch_.width, width, query, n, begin, keys};
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
    const std::int64_t index = begin / kBackwardKeys;
    follow(index);
    for (std::int64_t j = begin; j < end; j += kPanel<T>) {
      const std::int64_t last = smaller(end, j + kPanel<T>);
      std::int64_t from = 0, to = 0;  // the panels that see something of these keys
      for (std::int64_t x = 0; x < kPanels; ++x) {
        if (seen[x].empty() || seen[x].begin >= last || seen[x].end <= j) continue;
        if (to == 0) from = x;
        to = x + 1;
      }
      const std::int64_t lane = from * kPanel<T>,
                         end_lane = smaller(to * kPanel<T>, whole_vectors<T>(count));
      if (to > 0) key_gradients(lane, end_lane - lane, begin, j, last);
    }
    reach(index);
  }

  // dV and dK of keys [j, last) of the block, from `depth` queries of the group.
  void key_gradients(std::int64_t skip, std::int64_t depth, std::int64_t begin, std::int64_t j,
                     std::int64_t last) {
    fetch_.some();
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
    fetch_.some();
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
    fetch_.some();
  }

  // out[j] += Σ_i weights(j, i) · rows[i]
  void add_rows(RowMajor<T> weights, VectorRows<const T> rows, std::int64_t depth,
                std::int64_t keys, std::int64_t dim, T* out, std::int64_t out_row) {
    const std::int64_t whole = dim - dim % kLanes<T>, rest = dim - whole;
    const bool half = rest > 0 && rest <= kHalfLanes<T>;
    multiply_into<T>(AddRows<T>{{{out, out_row}, Store::add}, dim}, keys,
                     (half ? whole : rows.stride) / kLanes<T>, depth, weights, rows);
    if (half) {
      rows.data += whole;
      multiply_half<T>(keys, depth, weights, rows, {out + whole, out_row}, rest);
    }
  }

  T* dq_rows(std::int64_t head, std::int64_t first) const {
    return g_.dq.data + task_.batch * g_.dq.batch + head * g_.dq.head + first * g_.dq.row;
  }

  // dq = scale · dQ
  void store_dq(std::int64_t head, std::int64_t first, std::int64_t count) {
    const std::int64_t row = g_.dq.row;
    T* to = dq_rows(head, first);
    for (std::int64_t i = 0; i < count; i += kPanel<T>, to += kPanel<T> * row) {
      const std::int64_t x = i / kPanel<T>, queries = smaller(kPanel<T>, count - i);
      T* dq = scratch_.dq + i * p_.dim;
      if (started_[x]) {
        scale_all(dq, p_.dim * kPanel<T>, p_.scale);
        check(dq, p_.dim * kPanel<T>);
        transpose(dq, kPanel<T>, p_.dim, queries, to, row);
      } else {
        for (std::int64_t j = 0; j < queries; ++j) fill_zero(to + j * row, p_.dim);
      }
    }
  }

  const AttentionProblem<T>& p_;
  const AttentionGradient<T>& g_;
  const BackwardTask task_;
  const BackwardScratch<T> scratch_;
  const std::int64_t blocks_;
  T *dk_ = nullptr, *dv_ = nullptr;
  bool started_[kPanels] = {};
  Fetch<T> fetch_;
  alignas(64) T check_[kLanes<T>] = {};
};

template <class T>
void backward(const AttentionProblem<T>& p, const AttentionGradient<T>& g, const BackwardTask& task,
              void* memory) {
  const BackwardScratch<T> scratch(p, memory);
  // What is not finite is computed once more, and then follows nobody.
  const BackwardTask again{task.batch, task.kv_head, task.begin, task.end};
  AttentionGradient<T> of_queries = g, of_keys = g;
  of_queries.dk = of_queries.dv = {};
  of_keys.dq = {};
  BackwardGroup<T, false> fast(p, g, task, scratch);
  if (task.begin == 0) fast.clear_keys();
  for (std::int64_t i = task.begin; i < task.end; ++i) {
    if (!fast.run(i)) BackwardGroup<T, true>(p, of_queries, again, scratch).run(i);
  }
  if (task.end < BackwardGroups<T>(p).count || fast.keys_are_finite()) return;
  BackwardGroup<T, true> careful(p, of_keys, again, scratch);
  careful.clear_keys();
  for (std::int64_t i = 0; i < task.end; ++i) careful.run(i);
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
