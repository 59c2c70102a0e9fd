// The forward pass of one panel of queries, with an online softmax (arXiv 1805.02867) over blocks
// of keys (FlashAttention-2, arXiv 2307.08691): memory grows with the lengths, not with their
// product.
//
//                        panel: two vectors of queries, one query to a lane
//                       +-----------------------+
//                   Qᵀ  | dim rows              |  packed once: scaled and transposed
//                       +-----------------------+
//      K, as it lies -> | Sᵀ, then Pᵀ: 128 keys |  Sᵀ = K Qᵀ, in tiles of 8 keys by 2 vectors
//                       +-----------------------+
//     Vᵀ, as it lies -> | Yᵀ: value_dim rows    |  Yᵀ += Vᵀ Pᵀ, by the same product
//                       +-----------------------+
//
// Lanes are queries, so maxima, sums and rescaling are plain vector operations, and what is read of
// K and V is broadcast, element by element, without packing. For each block of keys that somebody
// sees:
//
//     1. Sᵀ = K Qᵀ; while a tile is in registers: softcap, bias, mask and edges, where there are
//     any
//        (attention_stage.h), and each lane's extremes are noted
//     2. the reference of a lane, near its maximum, moves if a score stands far above it
//     3. P = exp(S − reference), sum += P
//     4. Yᵀ += Vᵀ Pᵀ
//
// In the end Y /= sum, lse = reference + log sum, and Yᵀ is transposed back. In step 3, which
// reads nothing from afar, the rows that come next are fetched.
#include "fovea/ops/kernels/ahead.h"
#include "fovea/ops/kernels/attention_stage.h"
#include "fovea/ops/kernels/exp2.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Keys of a block: with a panel of 128 bytes of queries, the tile of scores takes 16 KiB, half of
// the smallest first cache.
constexpr std::int64_t kBlockKeys = 128;

// Operands of more bytes than a second cache holds are fetched ahead.
constexpr std::int64_t kSecondCache = 1 << 20;

// Keys of k, or columns of v, that are copied together where operands are not finite.
constexpr std::int64_t kCopyRows = 32;

template <class T>
struct ForwardScratch {
  T *q, *s, *y;            // Qᵀ[dim][panel], Sᵀ[keys][panel], Yᵀ[value_dim][panel]
  T* finite;               // copy of a part of k or v, finite values only
  T *poison_k, *poison_v;  // NaN for keys that lost something in the copy, else 0
  std::size_t bytes;

  ForwardScratch(const AttentionProblem<T>& p, void* memory) {
    Carver carver(memory);
    const std::int64_t keys = smaller(kBlockKeys, p.keys);
    q = carver.take<T>(p.dim * kPanel<T>);
    s = carver.take<T>(keys * kPanel<T>);
    y = carver.take<T>(p.value_dim * kPanel<T>);
    finite = carver.take<T>(larger(kCopyRows * p.dim, keys * kCopyRows));
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
  ForwardPanel(const AttentionProblem<T>& p, const AttentionResult<T>& result, std::int64_t batch,
               std::int64_t head, std::int64_t first_query, std::int64_t queries,
               const ForwardScratch<T>& scratch)
      : p_(p),
        result_(result),
        batch_(batch),
        head_(head),
        scores_(p, batch, head, !kCareful),
        first_query_(first_query),
        queries_(queries),
        scratch_(scratch) {
    const std::int64_t kv_head = head / (p.heads / p.kv_heads);
    k_ = p.k.data + batch * p.k.batch + kv_head * p.k.head;
    v_ = p.v.data + batch * p.v.batch + kv_head * p.v.head;
    const T* q = p.q.data + batch * p.q.batch + head * p.q.head + first_query * p.q.row;
    pack_scaled(q, p.q.row, queries, p.dim, p.scale, scratch.q, kWidth);
    if constexpr (kCareful) take_out_poison(scratch.q, p.dim, kWidth, poison_q_);
    fill(reference_, -kInfinity<T>);
    fill(sum_, T(0));
    fill(lowest_, T(0));
    fill(overflow_, T(0));
  }

  // False if something that is not finite came up, so that the careful way is needed.
  bool run() {
    const KeyRange range = scores_.visibility().of(first_query_, queries_);
    const std::int64_t first = range.begin - range.begin % kBlockKeys;
    for (std::int64_t j = first; j < range.end && !range.empty(); j += kBlockKeys) {
      const std::int64_t begin = larger(j, range.begin), end = smaller(j + kBlockKeys, range.end);
      const ScoreTile<T> tile{scratch_.s, kWidth, kWidth,     first_query_,
                              queries_,   begin,  end - begin};
      look_ahead(range, end);
      if (scores_.sees_any(tile)) block(tile);
    }
    if (!started_) fill_zero(scratch_.y, p_.value_dim * kWidth);
    return finish();
  }

  void store_results() const {
    if (const HeadView<T>& view = result_.lse; view.data) {
      T* lse = first_row(view);
      for (std::int64_t i = 0; i < queries_; ++i) lse[i * view.row] = lse_[i];
    }
    if (const HeadView<T>& view = result_.y; view.data)
      transpose(scratch_.y, kWidth, p_.value_dim, queries_, first_row(view), view.row);
  }

 private:
  static constexpr std::int64_t kWidth = kVectors * kLanes<T>;

  void block(const ScoreTile<T>& tile) {
    const VectorSplit parts = split_of(scores_.visibility(), tile);
    fill(highest_, -kInfinity<T>);
    each_part<T>(tile, parts, [&](const ScoreTile<T>& part) { multiply_keys(part); });
    raise_reference();
    exponentials(tile, parts);
    each_part<T>(tile, parts, [&](const ScoreTile<T>& part) {
      multiply_values(part);
      started_ = true;
    });
  }

  // Of this panel.
  T* first_row(const HeadView<T>& view) const {
    return view.data + batch_ * view.batch + head_ * view.head + first_query_ * view.row;
  }

  // What is read after this block, which ends at `end`: the keys of the next one, or in the last
  // one the rows of y and what the next panel begins with.
  void look_ahead(const KeyRange& range, std::int64_t end) {
    ahead_.clear();
    if (!is_large()) return;
    if (end < range.end) {
      const std::int64_t first = larger(end, first_new_key(head_, first_query_));
      return fetch_keys(k_, v_, first, smaller(end + kBlockKeys, range.end));
    }
    if (result_.y.data) ahead_.add(first_row(result_.y), result_.y.row, queries_, p_.value_dim);
    const bool same_head = first_query_ + queries_ < p_.queries;
    const std::int64_t head = same_head ? head_ : head_ + 1;
    if (head == p_.heads) return;
    const std::int64_t query = same_head ? first_query_ + queries_ : 0;
    const std::int64_t queries = smaller(kPanel<T>, p_.queries - query);
    ahead_.add(p_.q.data + batch_ * p_.q.batch + head * p_.q.head + query * p_.q.row, p_.q.row,
               queries, p_.dim);
    const KeyRange keys = scores_.visibility().of(query, queries);
    const std::int64_t first = larger(keys.begin, first_new_key(head, query));
    fetch_keys(k_ + (same_head ? 0 : p_.k.head), v_ + (same_head ? 0 : p_.v.head), first,
               smaller(first + kBlockKeys, keys.end));
  }

  bool is_large() const {
    const std::int64_t rows = p_.heads * p_.queries + p_.kv_heads * p_.keys;
    return p_.batch * rows * (p_.dim + p_.value_dim) >
           kSecondCache / static_cast<std::int64_t>(sizeof(T));
  }

  // Keys before it have been read by the panel before this one.
  std::int64_t first_new_key(std::int64_t head, std::int64_t first_query) const {
    if (head % (p_.heads / p_.kv_heads) != 0) return p_.keys;
    return first_query == 0 ? 0 : scores_.visibility().of(first_query - 1).end;
  }

  void fetch_keys(const T* k, const T* v, std::int64_t begin, std::int64_t end) {
    ahead_.add(k + begin * p_.k.row, p_.k.row, end - begin, p_.dim);
    ahead_.add(v + begin * p_.v.row, p_.v.row, end - begin, p_.value_dim);
  }

  std::int64_t lane_of(const ScoreTile<T>& part) const { return part.first_query - first_query_; }

  // Sᵀ = K Qᵀ, through the stage
  void multiply_keys(const ScoreTile<T>& tile) {
    const T* k = k_ + tile.first_key * p_.k.row;
    const std::int64_t lane = lane_of(tile);
    const auto piece = [&](std::int64_t j, std::int64_t count, RowMajor<T> rows) {
      const ScoreTile<T> keys = tile.keys_from(j, count);
      multiply_scores<T>(scores_, keys, p_.dim, rows, {scratch_.q + lane, kWidth},
                         {lowest_ + lane, overflow_ + lane}, nullptr,
                         StoreAndTrack<T>{{keys.s, kWidth}, lowest_ + lane, highest_ + lane},
                         StoreAndTrack<T>{{keys.s, kWidth}, nullptr, highest_ + lane});
    };
    if constexpr (!kCareful) return piece(0, tile.keys, {k, p_.k.row});
    for (std::int64_t j = 0; j < tile.keys; j += kCopyRows) {
      const std::int64_t count = smaller(kCopyRows, tile.keys - j);
      copy_finite(k + j * p_.k.row, p_.k.row, count, p_.dim, scratch_.finite);
      piece(j, count, {scratch_.finite, p_.dim});
    }
  }

  // Yᵀ += Vᵀ Pᵀ, which the first one assigns.
  void multiply_values(const ScoreTile<T>& tile) {
    const T* v = v_ + tile.first_key * p_.v.row;
    T* y = scratch_.y + lane_of(tile);
    const auto piece = [&](std::int64_t d, std::int64_t count, ColumnMajor<T> columns) {
      multiply<T>(count, tile.width / kLanes<T>, tile.keys, columns, {tile.s, kWidth},
                  {y + d * kWidth, kWidth}, started_ ? Store::add : Store::assign);
    };
    if constexpr (!kCareful) return piece(0, p_.value_dim, {v, p_.v.row});
    for (std::int64_t d = 0; d < p_.value_dim; d += kCopyRows) {
      const std::int64_t count = smaller(kCopyRows, p_.value_dim - d);
      copy_finite(v + d, p_.v.row, tile.keys, count, scratch_.finite);
      piece(d, count, {scratch_.finite, count});
    }
  }

  static void fill(T* lanes, T x) {
    for (int i = 0; i < kWidth; i += kLanes<T>) store(lanes + i, broadcast(x));
  }

  // Where all is hidden so far, −inf less the reference is to be −inf.
  static Vec<T> finite_shift(const Vec<T>& reference) {
    return select(reference == broadcast(-kInfinity<T>), broadcast(T(0)), reference);
  }

  // Scores are taken relative to a reference, the maximum or at most the slack less: it moves, and
  // what was summed so far is rescaled, only where a score stands higher than that.
  void raise_reference() {
    for (int i = 0; i < kWidth; i += kLanes<T>) {
      const Vec<T> before = load(reference_ + i), highest = load(highest_ + i);
      const Mask<T> moved = before + broadcast(kReferenceSlack<T>) < highest;
      if (!any(moved)) continue;
      const Vec<T> now = select(moved, highest, before);
      store(reference_ + i, now);
      if (!started_) continue;
      const Vec<T> factor = exp_of_score(before - finite_shift(now));
      store(sum_ + i, load(sum_ + i) * factor);
      T* y = scratch_.y + i;
      for (std::int64_t d = 0; d < p_.value_dim; ++d, y += kWidth) store(y, load(y) * factor);
    }
  }

  // P = exp(S − reference) in place, and its sum for each query.
  void exponentials(const ScoreTile<T>& tile, const VectorSplit& parts) {
    if constexpr (kCareful) {
      find_poison(k_ + tile.first_key * p_.k.row, p_.k.row, tile.keys, p_.dim, scratch_.poison_k);
      find_poison(v_ + tile.first_key * p_.v.row, p_.v.row, tile.keys, p_.value_dim,
                  scratch_.poison_v);
    }
    const Vec<T> hidden = broadcast(-kInfinity<T>), zero = broadcast(T(0));
    const std::int64_t pieces = ahead_.share(tile.keys * kVectors);
    for (int i = 0; i < kWidth; i += kLanes<T>) {
      const Vec<T> shift = finite_shift(load(reference_ + i));
      Vec<T> sum = zero;
      const std::int64_t begin = i == 0 ? 0 : parts.left;
      const std::int64_t end = i + kLanes<T> == kWidth ? tile.keys : parts.right;
      T* at = tile.s + begin * kWidth + i;
      for (std::int64_t j = begin; j < end; ++j, at += kWidth) {
        for (std::int64_t n = pieces; n > 0; --n) ahead_.fetch();
        const Vec<T> s = load(at);
        Vec<T> p = exp_of_score(s - shift);
        if constexpr (kCareful) {
          const Mask<T> invisible = s == hidden;
          p = select(invisible, zero, p + load(poison_q_ + i) + broadcast(scratch_.poison_k[j]));
          sum = sum + p;
          p = select(invisible, zero, p + broadcast(scratch_.poison_v[j]));
        } else {
          sum = sum + p;
        }
        store(at, p);
      }
      store(sum_ + i, load(sum_ + i) + sum);
    }
  }

  // Yᵀ times a factor for each lane of one vector; 0 in lanes where all of it is finite.
  Vec<T> scale_y(int lane, const Vec<T>& factor) {
    constexpr int kChains = 4;  // each of them waits for itself
    Vec<T> check[kChains];
    for (Vec<T>& c : check) c = broadcast(T(0));
    const auto row = [&](std::int64_t d, Vec<T>& sum) {
      T* y = scratch_.y + d * kWidth + lane;
      const Vec<T> x = load(y) * factor;
      sum = fma(x, broadcast(T(0)), sum);
      store(y, x);
    };
    std::int64_t d = 0;
    for (; d + kChains <= p_.value_dim; d += kChains) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) row(d + c, check[c]);
    }
    for (; d < p_.value_dim; ++d) row(d, check[0]);
    return (check[0] + check[1]) + (check[2] + check[3]);
  }

  // Y /= sum and lse = reference + log sum; 0 and −inf where nothing is visible. True if all is
  // finite and no product was −inf, an infinite operand that would pass for a hidden key.
  bool finish() {
    const Vec<T> zero = broadcast(T(0)), one = broadcast(T(1));
    Vec<T> check = zero;
    for (int i = 0; i < kWidth; i += kLanes<T>) {
      const Vec<T> sum = load(sum_ + i);
      const Mask<T> nothing = sum == zero;
      check = fma(sum + load(lowest_ + i) + load(overflow_ + i), zero, check);
      check = check + scale_y(i, select(nothing, zero, one / sum));
      if (!result_.lse.data) continue;
      const Vec<T> lse = load(reference_ + i) + log_of_sum(select(nothing, one, sum));
      store(lse_ + i, select(nothing, broadcast(-kInfinity<T>), lse));
    }
    return sum_lanes(check) == T(0);
  }

  const AttentionProblem<T>& p_;
  const AttentionResult<T>& result_;
  const std::int64_t batch_, head_;
  const ScoreStage<T> scores_;
  const std::int64_t first_query_, queries_;
  const ForwardScratch<T> scratch_;
  const T *k_, *v_;
  Ahead<T> ahead_;
  bool started_ = false;  // sum and Yᵀ hold a block
  // Of each query: the reference and the sum of exp(s − reference) so far, lse; the lowest product,
  // the highest score of the block, the highest product of all where there is a
  // softcap.
  alignas(64) T reference_[kWidth], sum_[kWidth], lse_[kWidth];
  alignas(64) T lowest_[kWidth], highest_[kWidth], overflow_[kWidth];
  alignas(64) T poison_q_[kWidth];
};

template <class T, int kVectors>
void forward_panel(const AttentionProblem<T>& p, const AttentionResult<T>& result,
                   std::int64_t batch, std::int64_t head, std::int64_t first_query,
                   std::int64_t queries, void* memory) {
  const ForwardScratch<T> scratch(p, memory);
  ForwardPanel<T, kVectors, false> panel(p, result, batch, head, first_query, queries, scratch);
  if (panel.run()) return panel.store_results();
  ForwardPanel<T, kVectors, true> careful(p, result, batch, head, first_query, queries, scratch);
  careful.run();
  careful.store_results();
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
