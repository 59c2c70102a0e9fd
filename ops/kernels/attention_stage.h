// What happens to scores between the two products: softcap, bias, mask, edges.
//
//     K Qᵀ --tile of sums--> ScoreStage::apply --tile of scores--> out.put
//
// A further change of scores is one more step of ScoreStage::apply (and of finish_row, for decode);
// the matrix loops and those who take the scores know nothing of it. The steps work on sums that
// are still in registers, whose lanes are queries: the rows of bias and mask are transposed
// beforehand, for a group of keys at a time, and those of the next group are fetched a few lines at
// a time.
#pragma once

#include "fovea/ops/kernels/attention_tile.h"
#include "fovea/ops/kernels/functions.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Keys of a group: their mask is a cache line.
inline constexpr std::int64_t kGroupKeys = 64;

// What the steps read for a group of keys: row j, lane by lane, belongs to key j of the group.
template <class T>
struct GroupLanes {
  alignas(64) T bias[kGroupKeys * kPanel<T>];
  alignas(64) std::uint8_t visible[kGroupKeys * kPanel<T>];
  alignas(64) T begin[kPanel<T>], end[kPanel<T>];  // keys [begin, end) are seen, if `edge`
  bool edge;

  void clear() {  // the lanes of no query
    for (T& b : bias) b = T(0);
    for (std::uint8_t& v : visible) v = 0;
  }
};

// From products to scores for one head: softcap, bias, then −inf where a query does not see a key.
template <class T>
class ScoreStage {
 public:
  // `watched`: the caller notices a score that is not finite, other than −inf, and asks again; else
  // a bias of −inf hides it at once.
  ScoreStage(const AttentionProblem<T>& p, std::int64_t batch, std::int64_t head,
             bool watched = false)
      : visibility_(visibility_of(p, batch)), mask_(p.mask), bias_(p.bias), watched_(watched) {
    if (mask_.data) mask_.data += batch * mask_.batch + head * mask_.head;
    if (bias_.data) bias_.data += batch * bias_.batch + head * bias_.head;
    if (p.softcap > 0) {
      const double low = std::numeric_limits<T>::denorm_min(), high = std::numeric_limits<T>::max();
      softcap_ = static_cast<T>(p.softcap < low ? low : p.softcap > high ? high : p.softcap);
    }
  }

  const Visibility& visibility() const { return visibility_; }
  bool capped() const { return softcap_ > T(0); }

  // How many of the first keys no step would change, the whole tile or whole cache lines of keys.
  std::int64_t unchanged_keys(const ScoreTile<T>& t) const {
    const KeyRange first = visibility_.of(t.first_query);
    const KeyRange last = visibility_.of(t.first_query + t.queries - 1);
    if (capped() || bias_.data || mask_.data || last.begin > t.first_key) return 0;
    const std::int64_t keys = first.end - t.first_key;
    return keys >= t.keys ? t.keys : larger(0, keys - keys % kLanes<T>);
  }

  // Whether the mask leaves anything of the tile.
  bool sees_any(const ScoreTile<T>& t) const {
    if (!mask_.data) return true;
    const std::int64_t rows = mask_.row == 0 ? 1 : t.queries;
    for (std::int64_t i = 0; i < rows; ++i) {
      const bool* row = mask_.data + (t.first_query + i) * mask_.row + t.first_key * mask_.column;
      if (any_set(row, t.keys)) return true;
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

  // Fills `lanes` for a group of keys.
  void prepare(const ScoreTile<T>& group, GroupLanes<T>& lanes) const {
    if (bias_.data) gather_lanes(bias_, group, lanes.bias);
    if (mask_.data) gather_lanes(mask_bytes(), group, lanes.visible);
    lanes.edge = crosses_an_edge(group);
    if (!lanes.edge) return;
    const Vec<T> keys = broadcast(near(visibility_.keys - group.first_key));
    for (std::int64_t i = 0; i < group.width; i += kLanes<T>) {
      store(lanes.begin + i, position(group, i, visibility_.first_shift));
      store(lanes.end + i, min(position(group, i, visibility_.last_shift), keys));
    }
  }

  // Fetches what the next group's `prepare` will read, a share of it for each key of this one.
  FOVEA_INLINE void prefetch(const ScoreTile<T>& group, std::int64_t key, std::int64_t keys) const {
    const ScoreTile<T> next = group.keys_from(kGroupKeys, 0);
    if (bias_.data) prefetch_rows(bias_, next, key, keys);
    if (mask_.data) prefetch_rows(mask_bytes(), next, key, keys);
  }

  // The steps after the softcap, for the group's keys `key`, `key` + 1, … and vectors v, v + 1, …
  template <int kRows, int kVectors>
  FOVEA_INLINE void apply(const GroupLanes<T>& lanes, std::int64_t key, std::int64_t v,
                          Vec<T> (&s)[kRows][kVectors]) const {
    const Vec<T> hidden = broadcast(-kInfinity<T>);
    const auto each = [&](const auto& step) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int x = 0; x < kVectors; ++x) s[r][x] = step(s[r][x], r, (v + x) * kLanes<T>);
      }
    };
    const T* bias = lanes.bias + key * kPanel<T>;
    if (bias_.data && watched_) {
      each([&](const Vec<T>& score, int r, std::int64_t lane) {
        return score + load(bias + r * kPanel<T> + lane);
      });
    } else if (bias_.data) {
      each([&](const Vec<T>& score, int r, std::int64_t lane) {
        const Vec<T> b = load(bias + r * kPanel<T> + lane);
        return select(b == hidden, hidden, score + b);
      });
    }
    if (mask_.data) {
      const std::uint8_t* visible = lanes.visible + key * kPanel<T>;
      each([&](const Vec<T>& score, int r, std::int64_t lane) {
        return select(nonzero<T>(visible + r * kPanel<T> + lane), score, hidden);
      });
    }
    if (lanes.edge) {
      each([&](const Vec<T>& score, int r, std::int64_t lane) {
        const Vec<T> j = broadcast(static_cast<T>(key + r));
        return select(j < load(lanes.begin + lane), hidden,
                      select(j < load(lanes.end + lane), score, hidden));
      });
    }
  }

  // All steps, for scores s[j] of one query and keys `first_key + j`.
  void finish_row(T* s, std::int64_t query, std::int64_t first_key, std::int64_t keys) const {
    const ScoreTile<T> row{s, 1, 1, query, 1, first_key, keys};
    if (unchanged_keys(row) == keys) return;
    if (capped()) cap({s, 0, keys, query, 1, first_key, 1}, nullptr);
    const KeyRange range = visibility_.of(query);
    const T* bias = bias_.data + query * bias_.row + first_key * bias_.column;
    const bool* mask = mask_.data + query * mask_.row + first_key * mask_.column;
    for (std::int64_t j = 0; j < keys; ++j) {
      bool visible = first_key + j >= range.begin && first_key + j < range.end;
      if (bias_.data) {
        visible &= bias[j * bias_.column] != -kInfinity<T>;
        s[j] += bias[j * bias_.column];
      }
      if (mask_.data) visible &= mask[j * mask_.column];
      if (!visible) s[j] = -kInfinity<T>;
    }
  }

 private:
  bool any_set(const bool* row, std::int64_t keys) const {
    std::int64_t j = 0;
    if (mask_.column == 1) {
      for (; j + 8 <= keys; j += 8) {
        std::uint64_t eight;
        __builtin_memcpy(&eight, row + j, sizeof(eight));
        if (eight != 0) return true;
      }
    }
    for (; j < keys; ++j) {
      if (row[j * mask_.column]) return true;
    }
    return false;
  }

  bool crosses_an_edge(const ScoreTile<T>& t) const {
    const KeyRange first = visibility_.of(t.first_query);
    const KeyRange last = visibility_.of(t.first_query + t.queries - 1);
    return last.begin > t.first_key || first.end < t.first_key + t.keys;
  }

  // lanes[j*kPanel + i] = view(first_query + i, first_key + j)
  template <class U>
  static void gather_lanes(const ScoreView<const U>& view, const ScoreTile<T>& t, U* lanes) {
    const U* from = view.data + t.first_query * view.row + t.first_key * view.column;
    if (view.column == 1 && view.row != 0)
      return transpose(from, view.row, t.queries, t.keys, lanes, kPanel<T>);
    for (std::int64_t j = 0; j < t.keys; ++j, from += view.column, lanes += kPanel<T>) {
      if (view.row == 0) {
        for (std::int64_t i = 0; i < kPanel<T>; ++i) lanes[i] = *from;
      } else {
        for (std::int64_t i = 0; i < t.queries; ++i) lanes[i] = from[i * view.row];
      }
    }
  }

  // (Inline: a function that only fetches passes for one without effect.)
  template <class U>
  FOVEA_INLINE static void prefetch_rows(const ScoreView<const U>& view, const ScoreTile<T>& t,
                                         std::int64_t key, std::int64_t keys) {
    if (view.column != 1 || view.row == 0) return;
    constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(U));
    const std::int64_t end = smaller(t.queries, (key + keys) * kPanel<T> / kGroupKeys);
    for (std::int64_t i = key * kPanel<T> / kGroupKeys; i < end; ++i) {
      const U* row = view.data + (t.first_query + i) * view.row + t.first_key;
#pragma GCC unroll 8
      for (std::int64_t j = 0; j < kGroupKeys; j += kLine) __builtin_prefetch(row + j, 0, 2);
    }
  }

  ScoreView<const std::uint8_t> mask_bytes() const {
    return {reinterpret_cast<const std::uint8_t*>(mask_.data), 0, 0, mask_.row, mask_.column};
  }

  // query + shift − first_key of each lane, as far as it matters to a group of keys.
  static Vec<T> position(const ScoreTile<T>& t, std::int64_t lane, std::int64_t shift) {
    alignas(64) static constexpr T kFirst[] = {0, 1, 2,  3,  4,  5,  6,  7,
                                               8, 9, 10, 11, 12, 13, 14, 15};
    return load(kFirst) + broadcast(near(t.first_query + lane + shift - t.first_key));
  }
  static T near(std::int64_t position) {
    return static_cast<T>(clamp(position, -kPanel<T>, kGroupKeys));
  }

  Visibility visibility_;
  ScoreView<const bool> mask_;
  ScoreView<const T> bias_;
  T softcap_ = T(0);
  bool watched_;
};

// The extremes of the products, [vectors] of lanes each, where they are wanted.
template <class T>
struct Extremes {
  T *lowest = nullptr, *highest = nullptr;
};

// Leads sums through the stage to `out`.
template <class T, class Out>
struct ThroughStage {
  const ScoreStage<T>& stage;
  const GroupLanes<T>& lanes;
  ScoreTile<T> group;
  T* tanh_tile;  // of the group, see ScoreStage::cap
  Extremes<T> products;
  Out out;
  std::int64_t key = 0;  // the next row, in the group

  template <int kRows, int kVectors>
  FOVEA_INLINE void prefetch(std::int64_t v) const {
    if (v == 0) stage.prefetch(group, key, kRows);
  }
  FOVEA_INLINE void skip(std::int64_t rows) {
    key += rows;
    out.skip(rows);
  }
  template <int kRows, int kVectors>
  FOVEA_INLINE void put(std::int64_t v, const Vec<T> (&sum)[kRows][kVectors]) const {
    if (products.lowest)
      track(products.lowest, v, sum, [](const Vec<T>& a, const Vec<T>& b) { return min(a, b); });
    Vec<T> s[kRows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) s[r][x] = sum[r][x];
    }
    if (stage.capped()) {
      if (products.highest)
        track(products.highest, v, sum, [](const Vec<T>& a, const Vec<T>& b) { return max(a, b); });
      cap(v, s);
    }
    stage.apply(lanes, key, v, s);
    out.put(v, s);
  }

  // Through memory: tanh needs the registers.
  template <int kRows, int kVectors>
  FOVEA_INLINE void cap(std::int64_t v, Vec<T> (&s)[kRows][kVectors]) const {
    const std::int64_t at = key * group.stride + v * kLanes<T>;
    ScoreTile<T> tile = group.keys_from(key, kRows);
    tile.s += v * kLanes<T>;
    tile.width = kVectors * kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) store(tile.s + r * tile.stride + x * kLanes<T>, s[r][x]);
    }
    stage.cap(tile, tanh_tile ? tanh_tile + at : nullptr);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int x = 0; x < kVectors; ++x) s[r][x] = load(tile.s + r * tile.stride + x * kLanes<T>);
    }
  }
};

// The scores of a tile, from the products k(j, d) · q[d]: `plain` gets those of the first keys as
// far as no step changes them, `staged` the others. The extremes are those of the products that
// `staged` does not get to see, the highest only where there is a softcap.
template <class T, class Plain, class Staged>
void multiply_scores(const ScoreStage<T>& stage, const ScoreTile<T>& tile, std::int64_t dim,
                     RowMajor<T> k, VectorRows<const T> q, const Extremes<T>& products,
                     T* tanh_tile, const Plain& plain, Staged staged) {
  const std::int64_t vectors = tile.width / kLanes<T>, unchanged = stage.unchanged_keys(tile);
  if (unchanged > 0) multiply_into<T>(plain, unchanged, vectors, dim, k, q);
  if (unchanged == tile.keys) return;
  k.skip(unchanged);
  staged.skip(unchanged);
  GroupLanes<T> lanes;
  if (tile.queries < tile.width) lanes.clear();
  for (std::int64_t j = unchanged; j < tile.keys; j += kGroupKeys) {
    const ScoreTile<T> group = tile.keys_from(j, smaller(kGroupKeys, tile.keys - j));
    stage.prepare(group, lanes);
    const ThroughStage<T, Staged> through{
        stage, lanes, group, tanh_tile ? tanh_tile + j * tile.stride : nullptr, products, staged};
    multiply_into<T>(through, group.keys, vectors, dim, k, q);
    k.skip(group.keys);
    staged.skip(group.keys);
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
