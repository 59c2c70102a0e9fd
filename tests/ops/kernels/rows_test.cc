#include "fovea/ops/kernels/rows.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "each_isa.h"

namespace fovea::kernels {
namespace {

template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr double kUlp = static_cast<double>(std::numeric_limits<T>::epsilon());

template <class T>
struct Results {
  std::vector<T> softmax, log_softmax, logsumexp, sum, max, min;
};

// Of rows of `length` elements.
template <class T>
Results<T> run(const std::vector<T>& x, std::int64_t rows, std::int64_t length) {
  const Loops<T>& f = loops<T>(kernels());
  const std::vector<T> each(static_cast<std::size_t>(rows));
  Results<T> r{x, x, each, each, each, each};
  const auto problem = [&](std::vector<T>& y, std::int64_t stride) {
    return LinesProblem<T>{rows, length, {x.data(), length}, {y.data(), stride}};
  };
  f.softmax.rows(problem(r.softmax, length));
  f.log_softmax.rows(problem(r.log_softmax, length));
  f.logsumexp.rows(problem(r.logsumexp, 1));
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* row = x.data() + i * length;
    const auto at = static_cast<std::size_t>(i);
    r.sum[at] = static_cast<T>(f.sum(row, length, 1));
    if (length == 0) continue;
    r.max[at] = f.max.row(row, length);
    r.min[at] = f.min.row(row, length);
  }
  return r;
}

template <class T>
std::vector<T> transposed(const std::vector<T>& x, std::int64_t rows, std::int64_t length) {
  std::vector<T> y(x.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < length; ++j) {
      y[static_cast<std::size_t>(j * rows + i)] = x[static_cast<std::size_t>(i * length + j)];
    }
  }
  return y;
}

// The same from columns; pieces of sums and extremes are added up by others, so only short rows
// have one.
template <class T>
Results<T> run_columns(const std::vector<T>& rows_of_x, std::int64_t rows, std::int64_t length) {
  const Loops<T>& f = loops<T>(kernels());
  const std::vector<T> x = transposed(rows_of_x, rows, length),
                       each(static_cast<std::size_t>(rows));
  std::vector<double> sums(static_cast<std::size_t>(rows));
  Results<T> r{x, x, each, each, each, each};
  const auto problem = [&](std::vector<T>& y) {
    return LinesProblem<T>{rows, length, {x.data(), 1, rows}, {y.data(), 1, rows}};
  };
  f.softmax.columns(problem(r.softmax));
  f.log_softmax.columns(problem(r.log_softmax));
  f.logsumexp.columns(problem(r.logsumexp));
  r.softmax = transposed(r.softmax, length, rows);
  r.log_softmax = transposed(r.log_softmax, length, rows);
  if (length > kPiece) return r;
  f.sum_columns(x.data(), rows, length, rows, sums.data());
  f.max.columns(x.data(), rows, length, rows, r.max.data());
  f.min.columns(x.data(), rows, length, rows, r.min.data());
  for (std::size_t i = 0; i < sums.size(); ++i) r.sum[i] = static_cast<T>(sums[i]);
  return r;
}

template <class T>
bool same(const Results<T>& a, const Results<T>& b) {
  return same_bits(a.softmax, b.softmax) && same_bits(a.log_softmax, b.log_softmax) &&
         same_bits(a.logsumexp, b.logsumexp) && same_bits(a.sum, b.sum) &&
         same_bits(a.max, b.max) && same_bits(a.min, b.min);
}

TEST_CASE_TEMPLATE("columns give the bits of rows", T, float, double) {
  std::mt19937 random(7);
  for (const std::int64_t length : {1, 3, 16, 17, 50, 4096}) {
    for (const std::int64_t rows : {1, 15, 16, 50, 256}) {
      CAPTURE(length);
      CAPTURE(rows);
      auto x = normals<T>(rows * length, random, 3);
      x[0] = -kInf<T>;
      if (rows > 15) {
        for (std::int64_t i = 0; i < length; ++i)
          x[static_cast<std::size_t>(length + i)] = -kInf<T>;
        x[static_cast<std::size_t>(3 * length)] = kNaN<T>;
        x[static_cast<std::size_t>(5 * length - 1)] = kInf<T>;
        x[static_cast<std::size_t>(6 * length)] = T(-0.0);
      }
      for_each_isa([&](Isa) { CHECK(same(run(x, rows, length), run_columns(x, rows, length))); });
    }
  }
  // Sums of more than one block.
  const auto x = normals<T>(3 * 10'001, random, 3);
  for_each_isa([&](Isa) {
    const Results<T> a = run(x, 3, 10'001), b = run_columns(x, 3, 10'001);
    CHECK(same_bits(a.softmax, b.softmax));
    CHECK(same_bits(a.log_softmax, b.log_softmax));
    CHECK(same_bits(a.logsumexp, b.logsumexp));
  });
}

// By their definition in f64, and in columns with the bits of rows.
TEST_CASE_TEMPLATE("gradients of softmax and log_softmax", T, float, double) {
  std::mt19937 random(8);
  for (const std::int64_t length : {1, 16, 50, 1000, 5000}) {
    CAPTURE(length);
    const std::int64_t rows = 20;
    const std::vector<T> x = normals<T>(rows * length, random),
                         dy = normals<T>(rows * length, random);
    for_each_isa([&](Isa) {
      const Loops<T>& f = loops<T>(kernels());
      const Results<T> forward = run(x, rows, length);
      for (const bool is_log : {false, true}) {
        const LinesLoops<T>& gradient = is_log ? f.log_softmax_gradient : f.softmax_gradient;
        const std::vector<T>& y = is_log ? forward.log_softmax : forward.softmax;
        std::vector<T> dx = dy;  // in place
        gradient.rows({rows, length, {y.data(), length}, {dx.data(), length}, {dx.data(), length}});
        double worst = 0;
        for (std::size_t r = 0; r < dx.size(); r += static_cast<std::size_t>(length)) {
          double total = 0, size = 0;
          for (std::size_t i = r; i < r + static_cast<std::size_t>(length); ++i) {
            const double term =
                static_cast<double>(dy[i]) * (is_log ? 1 : static_cast<double>(y[i]));
            total += term;
            size += std::abs(term);
          }
          for (std::size_t i = r; i < r + static_cast<std::size_t>(length); ++i) {
            const auto yi = static_cast<double>(y[i]), d = static_cast<double>(dy[i]);
            const double truth = is_log ? d - std::exp(yi) * total : yi * (d - total);
            // A lane adds up to 256 terms.
            const double allowed = kUlp<T> * (is_log ? std::exp(yi) : yi) * 256 * size +
                                   4 * kUlp<T> * std::abs(is_log ? d : yi * d);
            const double error = std::abs(static_cast<double>(dx[i]) - truth) / allowed;
            if (!(error <= worst)) worst = error;
          }
        }
        CHECK(worst <= 1);
        const std::vector<T> ty = transposed(y, rows, length), tdy = transposed(dy, rows, length);
        std::vector<T> tdx(ty.size());
        gradient.columns(
            {rows, length, {ty.data(), 1, rows}, {tdx.data(), 1, rows}, {tdy.data(), 1, rows}});
        CHECK(same_bits(transposed(tdx, length, rows), dx));
      }
    });
  }
}

TEST_CASE_TEMPLATE("rows agree with the definition", T, float, double) {
  std::mt19937 random(1);
  for (const std::int64_t length : {1, 2, 15, 16, 17, 100, 4096, 10001}) {
    CAPTURE(length);
    const std::int64_t rows = 7;
    const auto x = normals<T>(rows * length, random, length % 2 == 0 ? 3 : 300);
    std::optional<Results<T>> fused;
    for_each_isa([&](Isa isa) {
      const Results<T> r = run(x, rows, length);
      double worst = 0;
      const auto note = [&](T value, double truth, double allowed) {
        const double error = std::abs(static_cast<double>(value) - truth) / allowed;
        if (!(error <= worst)) worst = error;
      };
      for (std::int64_t i = 0; i < rows; ++i) {
        const T* row = x.data() + i * length;
        double most = -1e300, magnitude = 0;
        long double exact_sum = 0, exact_plain = 0;
        for (std::int64_t j = 0; j < length; ++j)
          most = std::max(most, static_cast<double>(row[j]));
        for (std::int64_t j = 0; j < length; ++j) {
          exact_sum += std::exp(static_cast<double>(row[j]) - most);
          exact_plain += static_cast<double>(row[j]);
          magnitude += std::abs(static_cast<double>(row[j]));
        }
        const auto sum = static_cast<double>(exact_sum), plain = static_cast<double>(exact_plain);
        const auto at = static_cast<std::size_t>(i);
        note(r.logsumexp[at], most + std::log(sum),
             4 * kUlp<T> * (1 + std::abs(most + std::log(sum))));
        note(r.max[at], most, kUlp<T>);
        note(r.sum[at], plain, kUlp<T> * (magnitude + std::abs(plain)));
        for (std::int64_t j = 0; j < length; ++j) {
          const double shifted = static_cast<double>(row[j]) - most;
          const auto k = static_cast<std::size_t>(i * length + j);
          // x − max is rounded once, to half a unit of its own size.
          note(r.softmax[k], std::exp(shifted) / sum,
               (8 + std::abs(shifted)) * kUlp<T> * std::exp(shifted) / sum +
                   static_cast<double>(std::numeric_limits<T>::min()));
          note(r.log_softmax[k], shifted - std::log(sum),
               4 * kUlp<T> * (1 + std::abs(shifted) + std::log(sum)));
        }
      }
      CHECK(worst <= 1);
      if (!fuses(isa)) return;
      if (fused) CHECK(same(*fused, r));
      fused = r;
    });
  }
}

TEST_CASE_TEMPLATE("rows with −inf, +inf and NaN", T, float, double) {
  const std::int64_t length = 20;
  std::vector<T> x(static_cast<std::size_t>(5 * length), -kInf<T>);
  x[20] = T(2);          // one finite value
  x[40 + 17] = kNaN<T>;  // NaN among −inf
  x[60 + 3] = kInf<T>;   // +inf
  x[80 + 3] = kInf<T>, x[80 + 19] = kNaN<T>;
  for_each_isa([&](Isa) {
    const Results<T> r = run(x, 5, length);
    const auto row = [&](const std::vector<T>& y, std::size_t i, auto&& predicate) {
      bool all = true;
      for (std::size_t j = 0; j < 20; ++j) all &= predicate(y[i * 20 + j]);
      return all;
    };
    const auto nan = [](T y) { return std::isnan(y); };
    CHECK(row(r.softmax, 0, [](T y) { return y == T(0); }));
    CHECK(row(r.log_softmax, 0, [](T y) { return y == -kInf<T>; }));
    CHECK(r.logsumexp[0] == -kInf<T>);
    CHECK(r.softmax[20] == T(1));
    CHECK(r.softmax[21] == T(0));
    CHECK(r.log_softmax[20] == T(0));
    CHECK(r.log_softmax[21] == -kInf<T>);
    CHECK(r.logsumexp[1] == T(2));
    for (const std::size_t i : {2, 3, 4}) {
      CHECK(row(r.softmax, i, nan));
      CHECK(row(r.log_softmax, i, nan));
    }
    CHECK(std::isnan(r.logsumexp[2]));
    CHECK(r.logsumexp[3] == kInf<T>);
    CHECK(std::isnan(r.logsumexp[4]));
  });
}

TEST_CASE_TEMPLATE("empty rows, no rows, in place", T, float, double) {
  for_each_isa([](Isa) {
    const Results<T> none = run<T>({}, 0, 5);
    CHECK(none.softmax.empty());
    const Results<T> empty = run<T>({}, 3, 0);
    CHECK(empty.sum == std::vector<T>(3, T(0)));
    CHECK(empty.logsumexp == std::vector<T>(3, -kInf<T>));
    std::vector<T> x(21, T(5));
    loops<T>(kernels()).softmax.rows({1, 20, {x.data(), 20}, {x.data(), 20}});
    CHECK(x[19] == T(0.05));
    CHECK(x[20] == T(5));
  });
}

TEST_CASE("a million f32 elements are summed accurately, with any stride") {
  std::vector<float> x(2'000'001, 0.1f);
  for_each_isa([&](Isa) {
    CHECK(std::abs(sum(x.data(), 1'000'000, 1) - 1e6 * static_cast<double>(0.1f)) < 1e-6);
    CHECK(sum(x.data() + 2'000'000, 1'000'000, -2) == sum(x.data(), 1'000'000, 1));
    CHECK(sum(x.data(), 1'000, 0) == sum(x.data(), 1'000, 1));
  });
}

}  // namespace
}  // namespace fovea::kernels
