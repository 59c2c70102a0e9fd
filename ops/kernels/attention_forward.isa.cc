#include <math.h>

#include "fovea/ops/kernels/attention_tile.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Keys of a block: the tile of scores and the keys that make it stay in the first cache.
template <class T>
std::int64_t block_keys(const AttentionProblem<T>& p) {
  return larger(p.dim, p.value_dim) <= 64 ? 256 : 128;
}

template <class T>
struct ForwardScratch {
  T *q, *s, *y;            // Qᵀ[dim][panel], Sᵀ[keys][panel], Yᵀ[value_dim][panel]
  T *k, *v;                // copies of a block with finite values only
  T *poison_k, *poison_v;  // NaN for keys that lost something in the copy, else 0
  std::size_t bytes;

  ForwardScratch(const AttentionProblem<T>& p, void* memory) {
    Carver carver(memory);
    const std::int64_t keys = block_keys(p);
    q = carver.take<T>(p.dim * kPanel<T>);
    s = carver.take<T>(keys * kPanel<T>);
    y = carver.take<T>(p.value_dim * kPanel<T>);
    k = carver.take<T>(keys * p.dim);
    v = carver.take<T>(keys * p.value_dim);
    poison_k = carver.take<T>(keys);
    poison_v = carver.take<T>(keys);
    bytes = carver.used();
  }
};

// One panel of kVectors vectors of queries, with the online softmax of arXiv 1805.02867. With
// kCareful, values that are not finite are taken out of the products, where 0 · NaN would carry
// them to queries that do not see them, and come back as a NaN in the probabilities of those that
// do.
template <class T, int kVectors, bool kCareful>
class ForwardPanel {
 public:
  ForwardPanel(const AttentionProblem<T>& p, std::int64_t batch, std::int64_t head,
               std::int64_t first_query, std::int64_t queries, const ForwardScratch<T>& scratch)
      : p_(p),
        scores_(p, batch, head),
        first_query_(first_query),
        queries_(queries),
        scratch_(scratch) {
    const std::int64_t kv_head = head / (p.heads / p.kv_heads);
    k_ = p.k.data + batch * p.k.batch + kv_head * p.k.head;
    v_ = p.v.data + batch * p.v.batch + kv_head * p.v.head;
    const T* q = p.q.data + batch * p.q.batch + head * p.q.head + first_query * p.q.row;
    pack_scaled<kCareful>(q, p.q.row, queries, p.dim, p.scale, scratch.q, kWidth, poison_q_);
    for (int v = 0; v < kVectors; ++v) {
      max_[v] = broadcast(-kInfinity<T>);
      sum_[v] = broadcast(T(0));
    }
  }

  // False if something that is not finite came up, so that the careful way is needed.
  bool run() {
    const KeyRange range = scores_.visibility().of(first_query_, queries_);
    const std::int64_t step = block_keys(p_);
    for (std::int64_t j = range.begin - range.begin % step; j < range.end; j += step) {
      const std::int64_t begin = larger(j, range.begin), end = smaller(j + step, range.end);
      const ScoreTile<T> tile{scratch_.s, kWidth, kWidth,     first_query_,
                              queries_,   begin,  end - begin};
      if (scores_.sees_any(tile)) block(tile);
    }
    return finish();
  }

  void store_results(const AttentionResult<T>& result, std::int64_t batch,
                     std::int64_t head) const {
    if (result.lse.data) {
      T max[kWidth], sum[kWidth];
      for (int v = 0; v < kVectors; ++v) {
        store(max + v * kLanes<T>, max_[v]);
        store(sum + v * kLanes<T>, sum_[v]);
      }
      T* lse = result.lse.data + batch * result.lse.batch + head * result.lse.head;
      for (std::int64_t i = 0; i < queries_; ++i) {
        lse[(first_query_ + i) * result.lse.row] =
            sum[i] == T(0) ? -kInfinity<T>
                           : max[i] + static_cast<T>(::log(static_cast<double>(sum[i])));
      }
    }
    if (result.y.data) {
      T* y = result.y.data + batch * result.y.batch + head * result.y.head;
      for (std::int64_t i = 0; i < queries_; ++i) {
        T* row = y + (first_query_ + i) * result.y.row;
        for (std::int64_t d = 0; d < p_.value_dim; ++d) row[d] = scratch_.y[d * kWidth + i];
      }
    }
  }

 private:
  static constexpr std::int64_t kWidth = kVectors * kLanes<T>;

  void block(const ScoreTile<T>& tile) {
    RowMajor<T> k{k_ + tile.first_key * p_.k.row, p_.k.row};
    ColumnMajor<T> v{v_ + tile.first_key * p_.v.row, p_.v.row};
    if constexpr (kCareful) {
      copy_finite(k.data, k.stride, tile.keys, p_.dim, scratch_.k, scratch_.poison_k);
      copy_finite(v.data, v.stride, tile.keys, p_.value_dim, scratch_.v, scratch_.poison_v);
      k = {scratch_.k, p_.dim};
      v = {scratch_.v, p_.value_dim};
    }
    multiply<T>(tile.keys, kVectors, p_.dim, k, {scratch_.q, kWidth}, {scratch_.s, kWidth},
                Store::assign);
    note_extremes(tile.keys);
    scores_.finish(tile, nullptr);
    raise_max(tile.keys);
    exponentials(tile.keys);
    multiply<T>(p_.value_dim, kVectors, tile.keys, v, {scratch_.s, kWidth}, {scratch_.y, kWidth},
                started_ ? Store::add : Store::assign);
    started_ = true;
  }

  // A product of −inf is an infinite operand that would pass for a hidden key; one of +inf would
  // pass the softcap.
  void note_extremes(std::int64_t keys) {
    for (std::int64_t i = 0; i < keys * kWidth; i += kLanes<T>)
      lowest_ = min(load(scratch_.s + i), lowest_);
    if (!scores_.capped()) return;
    for (std::int64_t i = 0; i < keys * kWidth; i += kLanes<T>)
      highest_ = max(load(scratch_.s + i), highest_);
  }

  // Where all is hidden so far, −inf less the maximum is to be −inf.
  static Vec<T> finite_shift(const Vec<T>& max) {
    return select(max == broadcast(-kInfinity<T>), broadcast(T(0)), max);
  }

  // The new maximum of each query; if one moved, what was summed so far is rescaled.
  void raise_max(std::int64_t keys) {
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> before = max_[v];
      Vec<T> now = before;
      for (std::int64_t j = 0; j < keys; ++j)
        now = max(load(scratch_.s + j * kWidth + v * kLanes<T>), now);
      if (!any(before < now)) continue;
      max_[v] = now;
      if (!started_) continue;
      const Vec<T> factor = exp(before - finite_shift(now));
      sum_[v] = sum_[v] * factor;
      T* y = scratch_.y + v * kLanes<T>;
      for (std::int64_t d = 0; d < p_.value_dim; ++d)
        store(y + d * kWidth, load(y + d * kWidth) * factor);
    }
  }

  // P = exp(S − max) in place, and its sum for each query.
  void exponentials(std::int64_t keys) {
    const Vec<T> hidden = broadcast(-kInfinity<T>), zero = broadcast(T(0));
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T> shift = finite_shift(max_[v]);
      Vec<T> sum = zero;
      for (std::int64_t j = 0; j < keys; ++j) {
        T* at = scratch_.s + j * kWidth + v * kLanes<T>;
        const Vec<T> s = load(at);
        Vec<T> p = exp(s - shift);
        if constexpr (kCareful) {
          const Mask<T> invisible = s == hidden;
          p = select(invisible, zero,
                     p + load(poison_q_ + v * kLanes<T>) + broadcast(scratch_.poison_k[j]));
          sum = sum + p;
          p = select(invisible, zero, p + broadcast(scratch_.poison_v[j]));
        } else {
          sum = sum + p;
        }
        store(at, p);
      }
      sum_[v] = sum_[v] + sum;
    }
  }

  // Y /= sum; 0 where nothing is visible.
  bool finish() {
    const Vec<T> zero = broadcast(T(0));
    Vec<T> check = fma(lowest_, zero, zero);
    check = fma(highest_, zero, check);
    for (int v = 0; v < kVectors; ++v) {
      const Mask<T> nothing = sum_[v] == zero;
      const Vec<T> factor = broadcast(T(1)) / sum_[v];
      check = fma(sum_[v], zero, check);
      T* y = scratch_.y + v * kLanes<T>;
      for (std::int64_t d = 0; d < p_.value_dim; ++d) {
        const Vec<T> x = started_ ? load(y + d * kWidth) : zero;
        check = fma(x, zero, check);
        store(y + d * kWidth, select(nothing, zero, x * factor));
      }
    }
    return sum_lanes(check) == T(0);
  }

  const AttentionProblem<T>& p_;
  const Scores<T> scores_;
  const std::int64_t first_query_, queries_;
  const ForwardScratch<T> scratch_;
  const T *k_, *v_;
  bool started_ = false;
  Vec<T> max_[kVectors], sum_[kVectors];
  Vec<T> lowest_ = broadcast(T(0)), highest_ = broadcast(T(0));
  alignas(64) T poison_q_[kWidth];
};

template <class T, int kVectors>
void forward_panel(const AttentionProblem<T>& p, const AttentionResult<T>& result,
                   std::int64_t batch, std::int64_t head, std::int64_t first_query,
                   std::int64_t queries, void* memory) {
  const ForwardScratch<T> scratch(p, memory);
  ForwardPanel<T, kVectors, false> panel(p, batch, head, first_query, queries, scratch);
  if (panel.run()) return panel.store_results(result, batch, head);
  ForwardPanel<T, kVectors, true> careful(p, batch, head, first_query, queries, scratch);
  careful.run();
  careful.store_results(result, batch, head);
}

template <class T>
void forward(const AttentionProblem<T>& p, const AttentionResult<T>& result, std::int64_t batch,
             std::int64_t head, std::int64_t first_query, void* memory) {
  const std::int64_t queries = smaller(kPanel<T>, p.queries - first_query);
  if (queries <= kLanes<T>) {
    forward_panel<T, 1>(p, result, batch, head, first_query, queries, memory);
  } else {
    forward_panel<T, kPanelVectors<T>>(p, result, batch, head, first_query, queries, memory);
  }
}

template <class T>
std::size_t scratch_bytes(const AttentionProblem<T>& p) {
  return ForwardScratch<T>(p, nullptr).bytes;
}

template <class T>
void add(Loops<T>& loops) {
  loops.attention_forward = forward<T>;
  loops.attention_forward_scratch = scratch_bytes<T>;
}

}  // namespace

void add_attention_forward(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
