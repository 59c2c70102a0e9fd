// What the two backward passes share: packed panels of queries, and P and dS of a tile, recomputed
// from lse.
#pragma once

#include "fovea/ops/kernels/attention_stage.h"
#include "fovea/ops/kernels/exp2.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

inline constexpr std::int64_t kBackwardKeys = kAttentionBackwardKeys;

template <class T>
inline constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

// A panel of queries as the products want it; lanes that belong to no query are 0 and have P = 0.
template <class T>
struct QueryPanel {
  T *q, *dy;            // scaled Qᵀ[dim][panel], dYᵀ[value_dim][panel]
  T *lse, *delta;       // [panel]; lse is +inf where a query sees nothing, so that P = 0
  T *q_rows, *dy_rows;  // the same by rows, whole vectors: q_stride and dy_stride apart
  std::int64_t q_stride, dy_stride;
};

// The operands of one query head.
template <class T>
struct BackwardHead {
  const T *q, *k, *v, *y, *lse, *dy, *dlse;  // those that are absent are null

  BackwardHead(const AttentionProblem<T>& p, const AttentionGradient<T>& g, std::int64_t batch,
               std::int64_t head) {
    const auto at = [&](const HeadView<const T>& x, std::int64_t h) {
      return x.data == nullptr ? nullptr : x.data + batch * x.batch + h * x.head;
    };
    const std::int64_t kv_head = head / (p.heads / p.kv_heads);
    q = at(p.q, head);
    k = at(p.k, kv_head);
    v = at(p.v, kv_head);
    y = at(g.y, head);
    lse = at(g.lse, head);
    dy = at(g.dy, head);
    dlse = at(g.dlse, head);
  }
};

// delta[i] = Σ_d dy[i][d] y[i][d] for `count` rows, 0 in the other lanes. The sums of the vectors
// become lanes, which are added up in order.
template <class T>
void dot_rows(const T* dy, std::int64_t dy_stride, const T* y, std::int64_t y_stride,
              std::int64_t count, std::int64_t dim, T* delta) {
  alignas(64) T sums[kPanel<T> * kLanes<T>] = {}, lanes[kPanel<T> * kLanes<T>];
  const std::int64_t whole = dim - dim % kLanes<T>;
  for (std::int64_t i = 0; i < count; ++i, dy += dy_stride, y += y_stride) {
    Vec<T> sum = broadcast(T(0));
    for (std::int64_t d = 0; d < whole; d += kLanes<T>) sum = fma(load(dy + d), load(y + d), sum);
    if (whole < dim) sum = fma(load(dy + whole), load_some(y + whole, dim - whole), sum);
    store(sums + i * kLanes<T>, sum);
  }
  transpose(sums, kLanes<T>, kPanel<T>, kLanes<T>, lanes, kPanel<T>);
  for (std::int64_t i = 0; i < kPanel<T>; i += kLanes<T>) {
    Vec<T> sum = load(lanes + i);
    for (int lane = 1; lane < kLanes<T>; ++lane) sum = sum + load(lanes + lane * kPanel<T> + i);
    store(delta + i, sum);
  }
}

// What is not finite becomes 0; true if there was any.
template <class T>
bool clean_row(T* row, std::int64_t dim) {
  bool found = false;
  for (std::int64_t d = 0; d < dim; ++d) {
    if (row[d] - row[d] == T(0)) continue;
    row[d] = T(0);
    found = true;
  }
  return found;
}

// `careful`: operands that are not finite become 0, and their query's lse NaN, which P = exp(s −
// lse) carries to what the query sees. Else a query whose lse is NaN becomes NaN, so that its
// products of −inf do not pass for hidden keys.
template <class T>
void pack_panel(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
                const BackwardHead<T>& head, std::int64_t first, std::int64_t count, bool careful,
                const QueryPanel<T>& panel) {
  const auto rows = [&](const T* from, std::int64_t from_stride, std::int64_t dim, T* to,
                        std::int64_t stride) {
    const std::int64_t real = from ? count : 0;
    copy_rows(from, from_stride, real, dim, to, stride);
    fill_zero(to + real * stride, (kPanel<T> - real) * stride);
  };
  const T* dy = head.dy ? head.dy + first * g.dy.row : nullptr;
  rows(head.q + first * p.q.row, p.q.row, p.dim, panel.q_rows, panel.q_stride);
  rows(dy, g.dy.row, p.value_dim, panel.dy_rows, panel.dy_stride);
  scale_all(panel.q_rows, kPanel<T> * panel.q_stride, p.scale);
  // D = Σ dy∘y − dlse
  if (dy) {
    dot_rows(panel.dy_rows, panel.dy_stride, head.y + first * g.y.row, g.y.row, count, p.value_dim,
             panel.delta);
  } else {
    fill_zero(panel.delta, kPanel<T>);
  }
  for (std::int64_t i = 0; i < kPanel<T>; ++i) {
    panel.lse[i] = kInfinity<T>;
    if (i >= count) continue;
    if (head.dlse) panel.delta[i] -= head.dlse[(first + i) * g.dlse.row];
    const T lse = head.lse[(first + i) * g.lse.row];
    if (lse != -kInfinity<T>) panel.lse[i] = lse;
    T *q_row = panel.q_rows + i * panel.q_stride, *dy_row = panel.dy_rows + i * panel.dy_stride;
    if (careful) {
      const bool found_q = clean_row(q_row, p.dim), found_dy = clean_row(dy_row, p.value_dim);
      if (found_q || found_dy) panel.lse[i] = kNaN<T>;
    } else if (lse != lse) {
      for (std::int64_t d = 0; d < p.dim; ++d) q_row[d] = lse;
    }
  }
  transpose(panel.q_rows, panel.q_stride, kPanel<T>, p.dim, panel.q, kPanel<T>);
  transpose(panel.dy_rows, panel.dy_stride, kPanel<T>, p.value_dim, panel.dy, kPanel<T>);
}

// P = exp(s − lse); infinite where a foreign lse is far too small.
template <class T>
FOVEA_INLINE Vec<T> probability(const Vec<T>& s, const Vec<T>& lse) {
  return exp_of_score(min(broadcast(T(FloatBits<T>::bias + 1) * kLn2<T>), s - lse));
}

// Turns scores into P on their way to memory; with kHidden it is 0 where they are −inf, even if lse
// is NaN.
template <class T, bool kHidden>
struct StoreProbabilities {
  VectorRows<T> p;
  const T* lse;

  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t) const {}
  FOVEA_INLINE void skip(std::int64_t rows) { p.data += rows * p.stride; }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    T* row = p.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, p.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) {
        Vec<T> weight = probability(sum[r][x], load(lse + (v + x) * kLanes<T>));
        if constexpr (kHidden)
          weight = select(sum[r][x] == broadcast(-kInfinity<T>), broadcast(T(0)), weight);
        store(row + x * kLanes<T>, weight);
      }
    }
  }
};

// Turns dP into dS = P ∘ (dP − D), 0 where P is 0 even if dP or D is NaN. P lies as dS will.
template <class T>
struct StoreScoreGradients {
  VectorRows<T> ds;
  const T *p, *delta;

  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t) const {}
  FOVEA_INLINE void skip(std::int64_t rows) {
    ds.data += rows * ds.stride;
    p += rows * ds.stride;
  }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    const Vec<T> zero = broadcast(T(0));
    const std::int64_t distance = p - ds.data;
    T* row = ds.data + v * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, row = next_row(row, ds.stride)) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) {
        T* at = row + x * kLanes<T>;
        const Vec<T> weight = load(at + distance), d = load(delta + (v + x) * kLanes<T>);
        store(at, select(weight == zero, zero, weight * (sum[r][x] - d)));
      }
    }
  }
};

// P of a tile, and dS at the tile's stride unless it is null; exact zeros where a vector of queries
// sees nothing.
template <class T>
void tile_gradients(const ScoreStage<T>& scores, const ScoreTile<T>& tile,
                    const QueryPanel<T>& panel, RowMajor<T> k, std::int64_t dim, RowMajor<T> v,
                    std::int64_t value_dim, T* tanh_tile, T* ds) {
  const VectorSplit parts = split_of(scores.visibility(), tile);
  each_part<T>(tile, parts, [&](const ScoreTile<T>& part) {
    const std::int64_t lane = part.first_query - tile.first_query, at = part.s - tile.s;
    RowMajor<T> keys = k, values = v;
    keys.skip(part.first_key - tile.first_key);
    values.skip(part.first_key - tile.first_key);
    multiply_scores<T>(scores, part, dim, keys, {panel.q + lane, kPanel<T>}, {},
                       tanh_tile ? tanh_tile + at : nullptr,
                       StoreProbabilities<T, false>{{part.s, part.stride}, panel.lse + lane},
                       StoreProbabilities<T, true>{{part.s, part.stride}, panel.lse + lane});
    if (ds == nullptr) return;
    multiply_into<T>(StoreScoreGradients<T>{{ds + at, part.stride}, part.s, panel.delta + lane},
                     part.keys, part.width / kLanes<T>, value_dim, values,
                     {panel.dy + lane, kPanel<T>});
  });
  const auto clear = [&](std::int64_t j, std::int64_t end, std::int64_t lane) {
    for (std::int64_t at = j * tile.stride + lane; j < end; ++j, at += tile.stride) {
      store(tile.s + at, broadcast(T(0)));
      if (ds) store(ds + at, broadcast(T(0)));
    }
  };
  clear(0, parts.left, kLanes<T>);
  clear(parts.right, tile.keys, 0);
}

// Through s' = softcap · tanh(s / softcap): dS = dS' ∘ (1 − tanh²).
template <class T>
void uncap_gradients(const ScoreTile<T>& t, const T* tanh_tile, T* ds) {
  const Vec<T> one = broadcast(T(1)), zero = broadcast(T(0));
  for (std::int64_t j = 0; j < t.keys; ++j) {
    for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
      const Vec<T> y = load(tanh_tile + j * t.stride + i);
      T* at = ds + j * t.stride + i;
      const Vec<T> x = load(at);
      store(at, select(x == zero, zero, x * ((one - y) * (one + y))));
    }
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
