// What the attention kernels share: which keys a query may see, tiles of scores, and packed panels
// of queries, whose lanes are queries.
#pragma once

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/multiply.h"
#include "fovea/ops/kernels/partial.h"
#include "fovea/ops/kernels/table.h"
#include "fovea/ops/kernels/transpose.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
inline constexpr std::int64_t kPanel = kAttentionPanel<T>;
// Vectors of a full panel.
template <class T>
inline constexpr int kPanelVectors = static_cast<int>(kAttentionPanel<T>) / kLanes<T>;

// How far a score may stand above what scores are taken relative to: far enough that it seldom
// moves, and exp stays in range.
template <class T>
inline constexpr T kReferenceSlack = T(8);

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

// At the edges of what is visible, whole vectors see nothing: of the keys of a tile of two vectors,
// only the first has scores of those below `left`, only the second from `right` on.
struct VectorSplit {
  std::int64_t left, right;
};

template <class T>
VectorSplit split_of(const Visibility& visibility, const ScoreTile<T>& tile) {
  if (tile.width != 2 * kLanes<T> || tile.queries <= kLanes<T>) return {0, tile.keys};
  const std::int64_t second = tile.first_query + kLanes<T>;
  constexpr std::int64_t kRows = 8;  // whole tiles of a product
  const std::int64_t left = visibility.of(second).begin - tile.first_key;
  const std::int64_t right = visibility.of(second - 1).end - tile.first_key;
  const VectorSplit s{clamp(left / kRows * kRows, 0, tile.keys),
                      clamp((right + kRows - 1) / kRows * kRows, 0, tile.keys)};
  return s.left < s.right ? s : VectorSplit{0, tile.keys};
}

// f(part of the tile), first the one that both vectors have.
template <class T, class F>
void each_part(const ScoreTile<T>& tile, const VectorSplit& split, const F& f) {
  f(tile.keys_from(split.left, split.right - split.left));
  ScoreTile<T> one = tile;
  one.width = one.queries = kLanes<T>;
  if (split.left > 0) f(one.keys_from(0, split.left));
  one.s += kLanes<T>;
  one.first_query += kLanes<T>;
  one.queries = tile.queries - kLanes<T>;
  if (split.right < tile.keys) f(one.keys_from(split.right, tile.keys - split.right));
}

// to[j*columns + d] = from[j*stride + d], 0 for what is not finite.
template <class T>
void copy_finite(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                 T* to) {
  for (std::int64_t j = 0; j < rows; ++j) {
    for (std::int64_t d = 0; d < columns; ++d) {
      const T x = from[j * stride + d];
      to[j * columns + d] = x - x == T(0) ? x : T(0);
    }
  }
}

// poison[j] = NaN for a row with something that is not finite, 0 for the others.
template <class T>
void find_poison(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                 T* poison) {
  for (std::int64_t j = 0; j < rows; ++j) {
    poison[j] = T(0);
    for (std::int64_t d = 0; d < columns; ++d) poison[j] += from[j * stride + d] * T(0);
  }
}

// x[i] *= scale for i < size, a multiple of kLanes. The product is rounded once, so that any scale
// times any query that gives a score worth having is one.
template <class T>
void scale_all(T* x, std::int64_t size, double scale) {
  const T high = static_cast<T>(scale), low = static_cast<T>(scale - static_cast<double>(high));
  const auto each = [&](const auto& f) {
    for (std::int64_t i = 0; i < size; i += kLanes<T>) store(x + i, f(load(x + i)));
  };
  if (high * high < T(1e-30) || high * high > T(1e30)) {  // what it lacks is no normal number of T
    for (std::int64_t i = 0; i < size; ++i)
      x[i] = static_cast<T>(static_cast<double>(x[i]) * scale);
  } else if (low == T(0)) {
    each([&](const Vec<T>& v) { return v * broadcast(high); });
  } else {
    each([&](const Vec<T>& v) {
      const Mask<T> finite = v - v == broadcast(T(0));
      return select(finite, fma(v, broadcast(high), v * broadcast(low)), v * broadcast(high));
    });
  }
}

template <class T>
void fill_zero(T* x, std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) x[i] = T(0);
}

template <class T>
std::int64_t whole_vectors(std::int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// `count` rows of whole vectors.
template <class T>
void copy_rows(const T* from, std::int64_t from_stride, std::int64_t count, std::int64_t dim, T* to,
               std::int64_t stride) {
  for (std::int64_t i = 0; i < count; ++i, from += from_stride, to += stride) {
    std::int64_t d = 0;
    for (; d + kLanes<T> <= dim; d += kLanes<T>) store(to + d, load(from + d));
    if (d < dim) store(to + d, load_some(from + d, dim - d));
  }
}

// dst[d*width + i] = scale · rows[i][d] for `count` rows, 0 in the other lanes.
template <class T>
void pack_scaled(const T* rows, std::int64_t stride, std::int64_t count, std::int64_t dim,
                 double scale, T* dst, std::int64_t width) {
  if (count < width) fill_zero(dst, dim * width);
  transpose(rows, stride, count, dim, dst, width);
  scale_all(dst, dim * width, scale);
}

// What is not finite in a packed panel becomes 0, and its lane's poison NaN (else 0).
template <class T>
void take_out_poison(T* packed, std::int64_t dim, std::int64_t width, T* poison) {
  const Vec<T> zero = broadcast(T(0));
  for (std::int64_t i = 0; i < width; i += kLanes<T>) {
    Vec<T> check = zero;
    for (std::int64_t d = 0; d < dim; ++d) {
      const Vec<T> x = load(packed + d * width + i);
      check = fma(x, zero, check);
      store(packed + d * width + i, select(x - x == zero, x, zero));
    }
    store(poison + i, check);
  }
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
