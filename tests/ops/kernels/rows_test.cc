#include "fovea/ops/kernels/rows.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "each_isa.h"
#include "fovea/tensor/parallel.h"

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
  std::vector<T> softmax, log_softmax, logsumexp, sum;
};

template <class T>
Results<T> run(const std::vector<T>& x, std::int64_t rows, std::int64_t length) {
  Results<T> r{std::vector<T>(x.size()), std::vector<T>(x.size()),
               std::vector<T>(static_cast<std::size_t>(rows)),
               std::vector<T>(static_cast<std::size_t>(rows))};
  softmax_rows(RowsProblem<T>{rows, length, x.data(), length, r.softmax.data(), length});
  log_softmax_rows(RowsProblem<T>{rows, length, x.data(), length, r.log_softmax.data(), length});
  logsumexp_rows(RowsProblem<T>{rows, length, x.data(), length, r.logsumexp.data(), 1});
  sum_rows(RowsProblem<T>{rows, length, x.data(), length, r.sum.data(), 1});
  return r;
}

template <class T>
bool same(const Results<T>& a, const Results<T>& b) {
  return same_bits(a.softmax, b.softmax) && same_bits(a.log_softmax, b.log_softmax) &&
         same_bits(a.logsumexp, b.logsumexp) && same_bits(a.sum, b.sum);
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
    softmax_rows(RowsProblem<T>{1, 20, x.data(), 20, x.data(), 20});
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

TEST_CASE_TEMPLATE("rows give the same bits on any number of threads", T, float, double) {
  const int before = num_threads();
  std::mt19937 random(5);
  const auto x = normals<T>(1000 * 50, random);
  std::optional<Results<T>> first;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Results<T> r = run<T>(x, 1000, 50);
    if (first) CHECK(same(*first, r));
    first = r;
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace fovea::kernels
