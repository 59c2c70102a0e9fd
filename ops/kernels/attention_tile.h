// What the attention kernels share: scratch, packed panels of queries, and the scores of a tile.
// Lanes are queries.
#pragma once

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/multiply.h"
#include "fovea/ops/kernels/table.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
inline constexpr std::int64_t kPanel = kAttentionPanel<T>;
// Vectors of a full panel.
template <class T>
inline constexpr int kPanelVectors = static_cast<int>(kAttentionPanel<T>) / kLanes<T>;

// x if it is finite, else 0 and `found` is set.
template <class T>
FOVEA_INLINE T finite_or_zero(T x, bool& found) {
  if (x - x == T(0)) return x;
  found = true;
  return T(0);
}

struct KeyRange {
  std::int64_t begin, end;
  bool empty() const { return begin >= end; }
};

// Which keys a query may see by lengths, causality and window. Both ends grow with the query.
struct Visibility {
  std::int64_t keys, first_shift, last_shift;

  KeyRange of(std::int64_t query) const {
    return {clamp(query + first_shift, 0, keys), clamp(query + last_shift, 0, keys)};
  }
  KeyRange of(std::int64_t first_query, std::int64_t queries) const {
    return {of(first_query).begin, of(first_query + queries - 1).end};
  }
};

template <class T>
Visibility visibility_of(const AttentionProblem<T>& p, std::int64_t batch) {
  constexpr std::int64_t kFar = std::int64_t{1} << 60;  // beyond every position
  const auto near = [](__int128 x) {
    return static_cast<std::int64_t>(x < -kFar ? -kFar : x > kFar ? kFar : x);
  };
  std::int64_t keys = p.keys;
  if (p.key_lengths) keys = clamp(p.key_lengths[batch * p.key_lengths_stride], 0, p.keys);
  const __int128 offset = p.bottom_right ? __int128{keys} - p.queries : __int128{p.query_offset};
  const std::int64_t right = p.causal ? 0 : p.right;
  return {keys, p.left == kUnbounded ? -kFar : near(offset - p.left),
          right == kUnbounded ? kFar : near(offset + right + 1)};
}

// Copies rows with 0 for what is not finite; `poison` is NaN for such a row and 0 for the others,
// or null.
template <class T>
void copy_finite(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t dim, T* to,
                 T* poison) {
  for (std::int64_t j = 0; j < rows; ++j) {
    bool found = false;
    for (std::int64_t d = 0; d < dim; ++d)
      to[j * dim + d] = finite_or_zero(from[j * stride + d], found);
    if (poison) poison[j] = found ? std::numeric_limits<T>::quiet_NaN() : T(0);
  }
}

// dst[d*width + i] = scale · rows[i][d] for `count` rows, 0 in the other lanes. The product is
// rounded once, from f64: any scale times any query that gives a score worth having. With kCareful,
// what is not finite becomes 0 and poison[i] NaN (else 0).
template <bool kCareful, class T>
void pack_scaled(const T* rows, std::int64_t stride, std::int64_t count, std::int64_t dim,
                 double scale, T* dst, std::int64_t width, T* poison) {
  for (std::int64_t i = 0; i < width; ++i) {
    bool found = false;
    for (std::int64_t d = 0; d < dim; ++d) {
      T x = i < count ? static_cast<T>(static_cast<double>(rows[i * stride + d]) * scale) : T(0);
      if constexpr (kCareful) x = finite_or_zero(x, found);
      dst[d * width + i] = x;
    }
    if constexpr (kCareful) poison[i] = found ? std::numeric_limits<T>::quiet_NaN() : T(0);
  }
}

// A tile of scores: s[j*stride + lane] for key `first_key + j` and query `first_query + lane`.
// Lanes from `queries` on, up to `width`, belong to no query.
template <class T>
struct ScoreTile {
  T* s;
  std::int64_t stride, width;
  std::int64_t first_query, queries;
  std::int64_t first_key, keys;
};

// From products to scores for one head: softcap, bias, then −inf where a query does not see a key.
template <class T>
class Scores {
 public:
  Scores(const AttentionProblem<T>& p, std::int64_t batch, std::int64_t head)
      : visibility_(visibility_of(p, batch)), mask_(p.mask), bias_(p.bias) {
    if (mask_.data) mask_.data += batch * mask_.batch + head * mask_.head;
    if (bias_.data) bias_.data += batch * bias_.batch + head * bias_.head;
    if (p.softcap > 0) {
      const double low = std::numeric_limits<T>::denorm_min(), high = std::numeric_limits<T>::max();
      softcap_ = static_cast<T>(p.softcap < low ? low : p.softcap > high ? high : p.softcap);
    }
  }

  const Visibility& visibility() const { return visibility_; }
  bool capped() const { return softcap_ > T(0); }

  // Whether the mask leaves anything of the tile.
  bool sees_any(const ScoreTile<T>& t) const {
    if (!mask_.data) return true;
    const std::int64_t rows = mask_.row == 0 ? 1 : t.queries;
    for (std::int64_t i = 0; i < rows; ++i) {
      const bool* row = mask_.data + (t.first_query + i) * mask_.row + t.first_key * mask_.column;
      for (std::int64_t j = 0; j < t.keys; ++j) {
        if (row[j * mask_.column]) return true;
      }
    }
    return false;
  }

  // s = softcap · tanh(s / softcap); `tanh_tile`, of the tile's stride, keeps the tanh if it is not
  // null.
  void cap(const ScoreTile<T>& t, T* tanh_tile) const {
    const Vec<T> bound = broadcast(softcap_);
    for (std::int64_t j = 0; j < t.keys; ++j) {
      for (std::int64_t i = j * t.stride; i < j * t.stride + t.width; i += kLanes<T>) {
        const Vec<T> y = tanh(load(t.s + i) / bound);
        if (tanh_tile) store(tanh_tile + i, y);
        store(t.s + i, bound * y);
      }
    }
  }

  void finish(const ScoreTile<T>& t, T* tanh_tile) const {
    if (capped()) cap(t, tanh_tile);
    if (bias_.data) add_bias(t);
    if (mask_.data) apply_mask(t);
    if (crosses_an_edge(t)) hide_outside(t);
  }

 private:
  bool crosses_an_edge(const ScoreTile<T>& t) const {
    const KeyRange first = visibility_.of(t.first_query);
    const KeyRange last = visibility_.of(t.first_query + t.queries - 1);
    return last.begin > t.first_key || first.end < t.first_key + t.keys;
  }

  void add_bias(const ScoreTile<T>& t) const {
    const T* bias = bias_.data + t.first_query * bias_.row + t.first_key * bias_.column;
    const Vec<T> hidden = broadcast(-kInfinity<T>);
    T lanes[kPanel<T>] = {};
    for (std::int64_t j = 0; j < t.keys; ++j) {
      for (std::int64_t i = 0; i < t.queries; ++i)
        lanes[i] = bias[i * bias_.row + j * bias_.column];
      T* s = t.s + j * t.stride;
      for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
        const Vec<T> b = load(lanes + i);
        store(s + i, select(b == hidden, hidden, load(s + i) + b));  // a NaN may be hidden
      }
    }
  }

  void apply_mask(const ScoreTile<T>& t) const {
    const bool* mask = mask_.data + t.first_query * mask_.row + t.first_key * mask_.column;
    const Vec<T> zero = broadcast(T(0)), hidden = broadcast(-kInfinity<T>);
    T visible[kPanel<T>] = {};
    for (std::int64_t j = 0; j < t.keys; ++j) {
      for (std::int64_t i = 0; i < t.queries; ++i) {
        visible[i] = mask[i * mask_.row + j * mask_.column] ? T(1) : T(0);
      }
      T* s = t.s + j * t.stride;
      for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
        store(s + i, select(load(visible + i) == zero, hidden, load(s + i)));
      }
    }
  }

  void hide_outside(const ScoreTile<T>& t) const {
    T begin[kPanel<T>] = {}, end[kPanel<T>] = {};
    for (std::int64_t i = 0; i < t.queries; ++i) {
      const KeyRange range = visibility_.of(t.first_query + i);
      begin[i] = static_cast<T>(clamp(range.begin - t.first_key, 0, t.keys));
      end[i] = static_cast<T>(clamp(range.end - t.first_key, 0, t.keys));
    }
    const Vec<T> hidden = broadcast(-kInfinity<T>);
    for (std::int64_t j = 0; j < t.keys; ++j) {
      const Vec<T> key = broadcast(static_cast<T>(j));
      T* s = t.s + j * t.stride;
      for (std::int64_t i = 0; i < t.width; i += kLanes<T>) {
        const Vec<T> x = select(key < load(begin + i), hidden, load(s + i));
        store(s + i, select(key < load(end + i), x, hidden));
      }
    }
  }

  Visibility visibility_;
  ScoreView<const bool> mask_;
  ScoreView<const T> bias_;
  T softcap_ = T(0);
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
