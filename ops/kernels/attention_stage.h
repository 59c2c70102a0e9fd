// What happens to a tile of scores between the two products: softcap, bias, mask, edges. A further
// change of scores is one more step of ScoreStage::finish; the matrix loops know nothing of it.
#pragma once

#include "fovea/ops/kernels/attention_tile.h"
#include "fovea/ops/kernels/functions.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// A tile of scores: s[j*stride + lane] for key `first_key + j` and query `first_query + lane`.
// Lanes from `queries` on, up to `width`, belong to no query.
//
//              lane 0 … width − 1 (queries)
//     key 0    s s s s s s s s
//     key 1    s s s s s s s s      `stride` apart
//     …
template <class T>
struct ScoreTile {
  T* s;
  std::int64_t stride, width;
  std::int64_t first_query, queries;
  std::int64_t first_key, keys;

  ScoreTile keys_from(std::int64_t j, std::int64_t count) const {
    return {s + j * stride, stride, width, first_query, queries, first_key + j, count};
  }
};

// From products to scores for one head: softcap, bias, then −inf where a query does not see a key.
template <class T>
class ScoreStage {
 public:
  ScoreStage(const AttentionProblem<T>& p, std::int64_t batch, std::int64_t head)
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

  // Whether `finish` would do anything at all.
  bool changes(const ScoreTile<T>& t) const {
    return capped() || bias_.data || mask_.data || crosses_an_edge(t);
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

  // Everything; `highest`, unless null, is raised to each lane's largest score.
  void finish(const ScoreTile<T>& t, T* tanh_tile, T* highest) const {
    if (capped()) cap(t, tanh_tile);
    alignas(64) T bias[kGroup * kPanel<T>];
    alignas(64) std::uint8_t visible[kGroup * kPanel<T>];
    if (t.queries < t.width) {  // lanes of no query
      for (T& b : bias) b = T(0);
      for (std::uint8_t& v : visible) v = 0;
    }
    for (std::int64_t j = 0; j < t.keys; j += kGroup) {
      const ScoreTile<T> group = t.keys_from(j, smaller(kGroup, t.keys - j));
      if (bias_.data) gather_lanes(bias_, group, bias);
      if (mask_.data) {
        const ScoreView<const std::uint8_t> bytes{reinterpret_cast<const std::uint8_t*>(mask_.data),
                                                  0, 0, mask_.row, mask_.column};
        gather_lanes(bytes, group, visible);
      }
      const bool edge = crosses_an_edge(group);
      for (std::int64_t i = 0; i < t.width; i += kLanes<T>)
        finish_vector(group, i, bias + i, visible + i, edge, highest);
    }
  }

  // The same, for scores s[j] of one query and keys `first_key + j`.
  void finish_row(T* s, std::int64_t query, std::int64_t first_key, std::int64_t keys) const {
    const ScoreTile<T> row{s, 1, 1, query, 1, first_key, keys};
    if (!changes(row)) return;
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
  static constexpr std::int64_t kGroup = 64;  // keys

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
    for (std::int64_t j = 0; j < t.keys; ++j, from += view.column) {
      for (std::int64_t i = 0; i < t.queries; ++i) lanes[j * kPanel<T> + i] = from[i * view.row];
    }
  }

  // One vector of queries of a group of keys.
  FOVEA_INLINE void finish_vector(const ScoreTile<T>& t, std::int64_t lane, const T* bias,
                                  const std::uint8_t* visible, bool edge, T* highest) const {
    const Vec<T> hidden = broadcast(-kInfinity<T>);
    const Vec<T> begin = position(t, lane, visibility_.first_shift);
    const Vec<T> end = min(position(t, lane, visibility_.last_shift),
                           broadcast(near(visibility_.keys - t.first_key)));
    Vec<T> high = highest ? load(highest + lane) : hidden;
    const bool biased = bias_.data != nullptr, masked = mask_.data != nullptr;
    for (std::int64_t j = 0; j < t.keys; ++j, bias += kPanel<T>, visible += kPanel<T>) {
      T* at = t.s + j * t.stride + lane;
      Vec<T> s = load(at);
      if (biased) {
        const Vec<T> b = load(bias);
        s = select(b == hidden, hidden, s + b);  // a NaN may be hidden
      }
      if (masked) s = select(nonzero<T>(visible), s, hidden);
      if (edge) {
        const Vec<T> key = broadcast(static_cast<T>(j));
        s = select(key < begin, hidden, select(key < end, s, hidden));
      }
      store(at, s);
      high = max(s, high);
    }
    if (highest) store(highest + lane, high);
  }

  // query + shift − first_key of each lane, as far as it matters to a group of keys.
  static Vec<T> position(const ScoreTile<T>& t, std::int64_t lane, std::int64_t shift) {
    alignas(64) T lanes[kLanes<T>];
    for (int i = 0; i < kLanes<T>; ++i)
      lanes[i] = near(t.first_query + lane + i + shift - t.first_key);
    return load(lanes);
  }
  static T near(std::int64_t position) { return static_cast<T>(clamp(position, -1, kGroup + 1)); }

  Visibility visibility_;
  ScoreView<const bool> mask_;
  ScoreView<const T> bias_;
  T softcap_ = T(0);
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
