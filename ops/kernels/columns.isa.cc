// Softmax and its relatives along an axis whose neighbours are contiguous: a lane is a column, and
// nothing is transposed. What rows.isa.cc adds up lane by lane stands in so many rows of sums here,
// so that both give the same bits.
#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/softmax_terms.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// most[c] = the maximum of column c, without NaN elements.
template <class T>
[[gnu::flatten]] void max_of_columns(const LinesProblem<T>& p, T* most) {
  constexpr std::int64_t kRows = 4;
  by_vectors<T>(0, p.lines,
                [&](std::int64_t c, std::int64_t) { store(most + c, broadcast(-kInfinity<T>)); });
  for (std::int64_t i = 0; i < p.length; i += kRows) {
    const std::int64_t rows = smaller(kRows, p.length - i);
    by_vectors<T>(0, p.lines, [&](std::int64_t c, std::int64_t n) {
      Vec<T> m = load(most + c);
      const T* x = p.x.data + i * p.x.step + c;
      for (std::int64_t r = 0; r < rows; ++r) m = max(load_some(x + r * p.x.step, n, T(0)), m);
      store(most + c, m);
    });
  }
}

// totals[c] = the sum of column c, to which f(i, c, n, sum) adds row i's vector.
template <class T, class F>
FOVEA_INLINE void column_sums(std::int64_t length, std::int64_t columns, double* totals,
                              const F& f) {
  T lanes[kLanes<T>][kMostColumns];
  for (std::int64_t c = 0; c < columns; ++c) totals[c] = 0;
  for (std::int64_t begin = 0; begin < length; begin += kSumBlock) {
    for (auto& lane : lanes) {
      by_vectors<T>(0, columns,
                    [&](std::int64_t c, std::int64_t) { store(lane + c, broadcast(T(0))); });
    }
    const std::int64_t end = smaller(begin + kSumBlock, length);
    for (std::int64_t i = begin; i < end; ++i) {
      T* sums = lanes[i % kLanes<T>];
      by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t n) {
        store(sums + c, f(i, c, n, load(sums + c)));
      });
    }
    for (int half = kLanes<T> / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) {
        by_vectors<T>(0, columns, [&](std::int64_t c, std::int64_t) {
          store(lanes[l] + c, load(lanes[l] + c) + load(lanes[l + half] + c));
        });
      }
    }
    for (std::int64_t c = 0; c < columns; ++c) totals[c] += static_cast<double>(lanes[0][c]);
  }
}

// Σ exp(x − shift) of each column. The exponentials go to y if they are wanted there.
template <bool kStored, class T>
FOVEA_INLINE void column_exponentials(const LinesProblem<T>& p, const T* shift, double* totals) {
  column_sums<T>(p.length, p.lines, totals,
                 [&](std::int64_t i, std::int64_t c, std::int64_t n, const Vec<T>& sum) {
                   const Vec<T> x = load_some(p.x.data + i * p.x.step + c, n, T(0));
                   const Vec<T> e = exp_of_difference(x - load(shift + c));
                   if (kStored) store_some(p.y.data + i * p.y.step + c, e, n);
                   return sum + e;
                 });
}

// Calls f(i, c, n) for every vector, row by row.
template <class T, class F>
FOVEA_INLINE void each_vector(const LinesProblem<T>& p, const F& f) {
  for (std::int64_t i = 0; i < p.length; ++i) {
    by_vectors<T>(0, p.lines, [&](std::int64_t c, std::int64_t n) { f(i, c, n); });
  }
}

// The problem on a copy of x, where there is room for one; y is the copy, too.
template <class T>
FOVEA_INLINE LinesProblem<T> brought_near(const LinesProblem<T>& p) {
  if (p.near == nullptr) return p;
  constexpr std::int64_t kAhead = 16;
  LinesProblem<T> near = p;
  near.x = {p.near, 1, p.lines};
  near.y = {p.near, 1, p.lines};
  each_vector(p, [&](std::int64_t i, std::int64_t c, std::int64_t n) {
    const T* x = p.x.data + i * p.x.step + c;
    __builtin_prefetch(x + kAhead * p.x.step, 0, 2);
    store_some(p.near + i * p.lines + c, load_some(x, n, T(0)), n);
  });
  return near;
}

template <class T>
[[gnu::flatten]] void softmax(const LinesProblem<T>& p) {
  T shift[kMostColumns], factor[kMostColumns];
  double totals[kMostColumns];
  const LinesProblem<T> near = brought_near(p);
  max_of_columns(near, shift);
  for (std::int64_t c = 0; c < p.lines; ++c) shift[c] = shift_of(shift[c]);
  column_exponentials<true>(near, shift, totals);
  for (std::int64_t c = 0; c < p.lines; ++c) factor[c] = inverse_of_sum<T>(totals[c]);
  each_vector(p, [&](std::int64_t i, std::int64_t c, std::int64_t n) {
    const Vec<T> e = load_some(near.y.data + i * near.y.step + c, n, T(0));
    store_some(p.y.data + i * p.y.step + c, e * load(factor + c), n);
  });
}

template <class T>
[[gnu::flatten]] void log_softmax(const LinesProblem<T>& p) {
  T shift[kMostColumns], log_sum[kMostColumns];
  double totals[kMostColumns];
  const LinesProblem<T> near = brought_near(p);
  max_of_columns(near, shift);
  for (std::int64_t c = 0; c < p.lines; ++c) shift[c] = shift_of(shift[c]);
  column_exponentials<false>(near, shift, totals);
  for (std::int64_t c = 0; c < p.lines; ++c) log_sum[c] = log_of_sum_or_0<T>(totals[c]);
  each_vector(p, [&](std::int64_t i, std::int64_t c, std::int64_t n) {
    const Vec<T> x = load_some(near.x.data + i * near.x.step + c, n, T(0));
    store_some(p.y.data + i * p.y.step + c, (x - load(shift + c)) - load(log_sum + c), n);
  });
}

template <class T>
[[gnu::flatten]] void logsumexp(const LinesProblem<T>& p) {
  T most[kMostColumns], shift[kMostColumns];
  double totals[kMostColumns];
  const LinesProblem<T> near = brought_near(p);
  max_of_columns(near, most);
  for (std::int64_t c = 0; c < p.lines; ++c) shift[c] = shift_of(most[c]);
  column_exponentials<false>(near, shift, totals);
  for (std::int64_t c = 0; c < p.lines; ++c) {
    *p.y.line(c) = logsumexp_of(most[c], totals[c], near.x.line(c), p.length, near.x.step);
  }
}

template <class T>
[[gnu::flatten]] void softmax_gradient(const LinesProblem<T>& p) {
  T mean[kMostColumns];
  double totals[kMostColumns];
  const auto at = [&](const Lines<const T>& x, std::int64_t i, std::int64_t c, std::int64_t n) {
    return load_some(x.data + i * x.step + c, n, T(0));
  };
  column_sums<T>(p.length, p.lines, totals,
                 [&](std::int64_t i, std::int64_t c, std::int64_t n, const Vec<T>& sum) {
                   return fma(at(p.x, i, c, n), at(p.dy, i, c, n), sum);
                 });
  for (std::int64_t c = 0; c < p.lines; ++c) mean[c] = static_cast<T>(totals[c]);
  each_vector(p, [&](std::int64_t i, std::int64_t c, std::int64_t n) {
    store_some(p.y.data + i * p.y.step + c, at(p.x, i, c, n) * (at(p.dy, i, c, n) - load(mean + c)),
               n);
  });
}

template <class T>
[[gnu::flatten]] void log_softmax_gradient(const LinesProblem<T>& p) {
  T total[kMostColumns], dead[kMostColumns];
  double totals[kMostColumns];
  const auto at = [&](const Lines<const T>& x, std::int64_t i, std::int64_t c, std::int64_t n) {
    return load_some(x.data + i * x.step + c, n, T(0));
  };
  column_sums<T>(p.length, p.lines, totals,
                 [&](std::int64_t i, std::int64_t c, std::int64_t n, const Vec<T>& sum) {
                   return sum + at(p.dy, i, c, n);
                 });
  for (std::int64_t c = 0; c < p.lines; ++c) {
    total[c] = static_cast<T>(totals[c]);
    dead[c] = all_minus_infinity(p.x.line(c), p.length, p.x.step) ? T(1) : T(0);
  }
  each_vector(p, [&](std::int64_t i, std::int64_t c, std::int64_t n) {
    const Vec<T> slope = at(p.dy, i, c, n) - exp(at(p.x, i, c, n)) * load(total + c);
    store_some(p.y.data + i * p.y.step + c,
               select(broadcast(T(0)) < load(dead + c), broadcast(T(0)), slope), n);
  });
}

template <class T>
void add(Loops<T>& loops) {
  loops.softmax.columns = softmax<T>;
  loops.log_softmax.columns = log_softmax<T>;
  loops.logsumexp.columns = logsumexp<T>;
  loops.softmax_gradient.columns = softmax_gradient<T>;
  loops.log_softmax_gradient.columns = log_softmax_gradient<T>;
}

}  // namespace

void add_columns(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
