// Sums, maxima and minima: of rows, and of columns in the same order, so that both give the same
// bits.
#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/partial.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Accumulators of a row; element i goes to accumulator i mod kSide.
inline constexpr std::int64_t kSide = 16;

// 16 sums in f64, folded and added up for each block.
template <class T>
double sum(const T* x, std::int64_t n, std::int64_t stride) {
  constexpr std::int64_t kBlock = 256 * kSide;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const T* at = x + begin * stride;
    const std::int64_t count = smaller(kBlock, n - begin), whole = count - count % kSide;
    double sums[kSide] = {};
    if (stride == 1) {
      for (std::int64_t i = 0; i < whole; i += kSide) {
        for (std::int64_t l = 0; l < kSide; ++l) sums[l] += static_cast<double>(at[i + l]);
      }
    } else {
      for (std::int64_t i = 0; i < whole; i += kSide) {
        for (std::int64_t l = 0; l < kSide; ++l)
          sums[l] += static_cast<double>(at[(i + l) * stride]);
      }
    }
    for (std::int64_t i = whole; i < count; ++i)
      sums[i - whole] += static_cast<double>(at[i * stride]);
    for (std::int64_t half = kSide / 2; half > 0; half /= 2) {
      for (std::int64_t l = 0; l < half; ++l) sums[l] += sums[l + half];
    }
    total += sums[0];
  }
  return total;
}

template <class T>
void sum_columns(const T* x, std::int64_t step, std::int64_t n, std::int64_t columns,
                 double* results) {
  double sums[kSide][kMostColumns];
  for (auto& row : sums) {
    for (std::int64_t c = 0; c < columns; ++c) row[c] = 0;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const T* row = x + i * step;
    double* to = sums[i % kSide];
#pragma GCC ivdep
    for (std::int64_t c = 0; c < columns; ++c) to[c] += static_cast<double>(row[c]);
  }
  for (std::int64_t half = kSide / 2; half > 0; half /= 2) {
    for (std::int64_t l = 0; l < half; ++l) {
      for (std::int64_t c = 0; c < columns; ++c) sums[l][c] += sums[l + half][c];
    }
  }
  for (std::int64_t c = 0; c < columns; ++c) results[c] = 0.0 + sums[0][c];
}

// A NaN differs from itself and, once taken, is beaten by nothing.
template <bool kLargest, class T>
FOVEA_INLINE T better(T best, T x) {
  return (kLargest ? x > best : x < best) || x != x ? x : best;
}
template <bool kLargest, class T>
FOVEA_INLINE Vec<T> better(const Vec<T>& best, const Vec<T>& x) {
  const Vec<T> found = kLargest ? max(x, best) : min(x, best);  // best where either is NaN
  return select(x == x, found, x);
}

template <bool kLargest, class T>
T extreme(const T* x, std::int64_t n) {
  constexpr int kVectors = static_cast<int>(kSide) / kLanes<T>;
  Vec<T> best[kVectors];
  for (auto& b : best) b = broadcast(x[0]);
  std::int64_t i = 0;
  for (; i + kSide <= n; i += kSide) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      best[v] = better<kLargest>(best[v], load(x + i + v * kLanes<T>));
    }
  }
  for (int v = 0; v < kVectors && i < n; ++v, i += kLanes<T>) {
    best[v] = better<kLargest>(best[v], load_some(x + i, n - i, x[0]));
  }
  T lanes[kSide];
  for (int v = 0; v < kVectors; ++v) store(lanes + v * kLanes<T>, best[v]);
  for (const T b : lanes) lanes[0] = better<kLargest>(lanes[0], b);
  return lanes[0];
}

template <bool kLargest, class T>
void extreme_columns(const T* x, std::int64_t step, std::int64_t n, std::int64_t columns,
                     T* results) {
  T best[kSide][kMostColumns];
  for (auto& row : best) {
    by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t some) {
      store(row + c, load_some(x + c, some, T(0)));
    });
  }
  for (std::int64_t i = 0; i < n; ++i) {
    T* to = best[i % kSide];
    by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t some) {
      store(to + c, better<kLargest>(load(to + c), load_some(x + i * step + c, some, T(0))));
    });
  }
  for (std::int64_t l = 1; l < kSide; ++l) {
    by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t) {
      store(best[0] + c, better<kLargest>(load(best[0] + c), load(best[l] + c)));
    });
  }
  by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t some) {
    store_some(results + c, load(best[0] + c), some);
  });
}

template <class T>
void add(Loops<T>& loops) {
  loops.sum = sum<T>;
  loops.sum_columns = sum_columns<T>;
  loops.max = {extreme<true, T>, extreme_columns<true, T>};
  loops.min = {extreme<false, T>, extreme_columns<false, T>};
}

}  // namespace

void add_reduce(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
