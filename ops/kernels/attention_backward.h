// What the two backward passes share: packed panels of queries, and P and dS of a tile, recomputed
// from lse.
#pragma once

#include "fovea/ops/kernels/attention_tile.h"

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
  T *q_rows, *dy_rows;  // the same by rows, q_stride and dy_stride apart; null where not wanted
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

// `careful`: operands that are not finite become 0, and their query's lse NaN, which P = exp(s −
// lse) carries to what the query sees. Else a query whose lse is NaN becomes NaN, so that its
// products of −inf do not pass for hidden keys.
template <class T>
void pack_panel(const AttentionProblem<T>& p, const AttentionGradient<T>& g,
                const BackwardHead<T>& head, std::int64_t first, std::int64_t count, bool careful,
                const QueryPanel<T>& panel) {
  const auto put = [](T* column, T* row, std::int64_t i, std::int64_t d, T x) {
    column[d * kPanel<T> + i] = x;
    if (row) row[d] = x;
  };
  for (std::int64_t i = 0; i < kPanel<T>; ++i) {
    const bool real = i < count;
    bool found = false;
    T* q_row = panel.q_rows ? panel.q_rows + i * panel.q_stride : nullptr;
    T* dy_row = panel.dy_rows ? panel.dy_rows + i * panel.dy_stride : nullptr;
    const T* q = head.q + (first + i) * p.q.row;
    const T lse = real ? head.lse[(first + i) * g.lse.row] : -kInfinity<T>;
    for (std::int64_t d = 0; d < p.dim; ++d) {
      T x = real ? static_cast<T>(static_cast<double>(q[d]) * p.scale) : T(0);
      if (careful) {
        x = finite_or_zero(x, found);
      } else if (lse != lse) {
        x = lse;
      }
      put(panel.q, q_row, i, d, x);
    }
    // D = Σ dy∘y − dlse
    double delta =
        real && head.dlse ? -static_cast<double>(head.dlse[(first + i) * g.dlse.row]) : 0;
    const T* dy = real && head.dy ? head.dy + (first + i) * g.dy.row : nullptr;
    const T* y = dy ? head.y + (first + i) * g.y.row : nullptr;
    for (std::int64_t d = 0; d < p.value_dim; ++d) {
      T x = dy ? dy[d] : T(0);
      if (dy) delta += static_cast<double>(x) * static_cast<double>(y[d]);
      if (careful) x = finite_or_zero(x, found);
      put(panel.dy, dy_row, i, d, x);
    }
    panel.lse[i] = found ? kNaN<T> : lse == -kInfinity<T> ? kInfinity<T> : lse;
    panel.delta[i] = static_cast<T>(delta);
  }
}

// P = exp(s − lse) in place, 0 where hidden even if lse is NaN.
template <class T>
void probabilities(const ScoreTile<T>& t, const T* lse) {
  const Vec<T> hidden = broadcast(-kInfinity<T>), zero = broadcast(T(0));
  for (std::int64_t j = 0; j < t.keys; ++j) {
    for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
      T* at = t.s + j * t.stride + i;
      const Vec<T> s = load(at);
      store(at, select(s == hidden, zero, exp(s - load(lse + i))));
    }
  }
}

// dS = P ∘ (dP − D) in place of dP, 0 where P is 0 even if dP or D is NaN.
template <class T>
void score_gradients(const ScoreTile<T>& t, const T* delta, T* ds) {
  const Vec<T> zero = broadcast(T(0));
  for (std::int64_t j = 0; j < t.keys; ++j) {
    for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
      const Vec<T> p = load(t.s + j * t.stride + i);
      T* at = ds + j * t.stride + i;
      store(at, select(p == zero, zero, p * (load(at) - load(delta + i))));
    }
  }
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
