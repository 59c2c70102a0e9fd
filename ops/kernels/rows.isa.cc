// Softmax and its relatives along contiguous rows; columns.isa.cc repeats every sum in this order.
#include "fovea/ops/kernels/rows.h"

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/functions.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/softmax_terms.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Calls body(first line, number of lines): of short rows several, so that nobody waits for the
// lanes of one row to become one number.
inline constexpr std::int64_t kMostRows = 16;
template <class T, class Body>
FOVEA_INLINE void by_groups(const LinesProblem<T>& p, const Body& body) {
  constexpr std::int64_t kElements = 2048;
  const std::int64_t group = p.length * kMostRows <= kElements ? kMostRows
                             : p.length < kElements            ? kElements / p.length
                                                               : 1;
  for (std::int64_t i = 0; i < p.lines; i += group) body(i, smaller(group, p.lines - i));
}

template <class T>
void softmax(const LinesProblem<T>& p) {
  const std::int64_t n = p.length;
  by_groups(p, [&](std::int64_t first, std::int64_t count) {
    T shift[kMostRows], factor[kMostRows];
    for (std::int64_t r = 0; r < count; ++r) shift[r] = shift_of(max_of(p.x.line(first + r), n));
    for (std::int64_t r = 0; r < count; ++r) {
      factor[r] =
          inverse_of_sum<T>(exponentials(p.x.line(first + r), n, shift[r], p.y.line(first + r)));
    }
    for (std::int64_t r = 0; r < count; ++r) {
      T* y = p.y.line(first + r);
      by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) {
        store_some(y + i, load_some(y + i, some, T(0)) * broadcast(factor[r]), some);
      });
    }
  });
}

template <class T>
void log_softmax(const LinesProblem<T>& p) {
  const std::int64_t n = p.length;
  by_groups(p, [&](std::int64_t first, std::int64_t count) {
    T shift[kMostRows], log_sum[kMostRows];
    for (std::int64_t r = 0; r < count; ++r) shift[r] = shift_of(max_of(p.x.line(first + r), n));
    for (std::int64_t r = 0; r < count; ++r) {
      log_sum[r] = log_of_sum_or_0<T>(exponentials<T>(p.x.line(first + r), n, shift[r], nullptr));
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const T* x = p.x.line(first + r);
      T* y = p.y.line(first + r);
      by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) {
        const Vec<T> shifted = load_some(x + i, some, T(0)) - broadcast(shift[r]);
        store_some(y + i, shifted - broadcast(log_sum[r]), some);
      });
    }
  });
}

template <class T>
void logsumexp(const LinesProblem<T>& p) {
  const std::int64_t n = p.length;
  by_groups(p, [&](std::int64_t first, std::int64_t count) {
    T most[kMostRows];
    for (std::int64_t r = 0; r < count; ++r) most[r] = max_of(p.x.line(first + r), n);
    for (std::int64_t r = 0; r < count; ++r) {
      const T* x = p.x.line(first + r);
      const double sum = exponentials<T>(x, n, shift_of(most[r]), nullptr);
      *p.y.line(first + r) = logsumexp_of(most[r], sum, x, n, 1);
    }
  });
}

// dx = y (dy − Σ dy y)
template <class T>
void softmax_gradient(const LinesProblem<T>& p) {
  const std::int64_t n = p.length;
  by_groups(p, [&](std::int64_t first, std::int64_t count) {
    T mean[kMostRows];
    for (std::int64_t r = 0; r < count; ++r) {
      const T *y = p.x.line(first + r), *dy = p.dy.line(first + r);
      mean[r] = static_cast<T>(row_sum<T>(
          n, [&](std::int64_t i, std::int64_t some, const Vec<T>& sum) FOVEA_INLINE_LAMBDA {
            return fma(load_some(y + i, some, T(0)), load_some(dy + i, some, T(0)), sum);
          }));
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const T *y = p.x.line(first + r), *dy = p.dy.line(first + r);
      T* dx = p.y.line(first + r);
      by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) {
        const Vec<T> moved = load_some(dy + i, some, T(0)) - broadcast(mean[r]);
        store_some(dx + i, load_some(y + i, some, T(0)) * moved, some);
      });
    }
  });
}

// dx = dy − exp(y) Σ dy, or 0 where the row of y is nothing but −inf.
template <class T>
void log_softmax_gradient(const LinesProblem<T>& p) {
  const std::int64_t n = p.length;
  by_groups(p, [&](std::int64_t first, std::int64_t count) {
    T total[kMostRows];
    bool dead[kMostRows];
    for (std::int64_t r = 0; r < count; ++r) {
      const T *y = p.x.line(first + r), *dy = p.dy.line(first + r);
      total[r] = static_cast<T>(
          row_sum<T>(n, [&](std::int64_t i, std::int64_t some, const Vec<T>& sum)
                            FOVEA_INLINE_LAMBDA { return sum + load_some(dy + i, some, T(0)); }));
      dead[r] = all_minus_infinity(y, n, 1);
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const T *y = p.x.line(first + r), *dy = p.dy.line(first + r);
      T* dx = p.y.line(first + r);
      by_vectors<T>(0, n, [&](std::int64_t i, std::int64_t some) {
        const Vec<T> through_sum = exp(load_some(y + i, some, T(0))) * broadcast(total[r]);
        const Vec<T> slope = load_some(dy + i, some, T(0)) - through_sum;
        store_some(dx + i, dead[r] ? broadcast(T(0)) : slope, some);
      });
    }
  });
}

template <class T>
void add(Loops<T>& loops) {
  loops.softmax.rows = softmax<T>;
  loops.log_softmax.rows = log_softmax<T>;
  loops.logsumexp.rows = logsumexp<T>;
  loops.softmax_gradient.rows = softmax_gradient<T>;
  loops.log_softmax_gradient.rows = log_softmax_gradient<T>;
}

}  // namespace

void add_rows(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
