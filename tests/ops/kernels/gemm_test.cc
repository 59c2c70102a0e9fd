#include "fovea/ops/kernels/gemm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "each_isa.h"
#include "fovea/tensor/parallel.h"

namespace fovea::kernels {
namespace {

// Rows × columns somewhere in memory: by rows, by columns, or with gaps both ways.
template <class T>
struct Matrix {
  std::int64_t row = 0, column = 0;
  std::vector<T> values;

  Matrix(std::int64_t rows, std::int64_t columns, unsigned long layout, std::mt19937& random) {
    if (layout == 0) row = columns + 1, column = 1;
    if (layout == 1) row = 1, column = rows;
    if (layout == 2) row = 2 * columns, column = 2;
    values = normals<T>(rows * row + columns * column + 1, random);
  }
  T& at(std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>(i * row + j * column)];
  }
  MatrixView<const T> view() const { return {values.data(), row, column}; }
  MatrixView<T> view() { return {values.data(), row, column}; }
};

template <class T>
void run(std::int64_t m, std::int64_t n, std::int64_t k, const Matrix<T>& a, const Matrix<T>& b,
         Matrix<T>& c) {
  const GemmProblem<T> problem{m, n, k, a.view(), b.view(), c.view()};
  Scratch scratch(gemm_scratch(problem, num_threads()));
  gemm(problem, scratch.data(), num_threads());
}

TEST_CASE_TEMPLATE("gemm agrees with the definition", T, float, double) {
  std::mt19937 random(1);
  const std::vector<std::int64_t> extents{0, 1, 2, 7, 16, 33, 121, 130, 260, 300};
  const auto pick = [&] { return extents[random() % extents.size()]; };
  for (int round = 0; round < rounds(150); ++round) {
    const std::int64_t m = pick(), n = pick(), k = round % 10 == 0 ? 700 : pick();
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    Matrix<T> a(m, k, random() % 3, random), b(k, n, random() % 3, random),
        c(m, n, random() % 3, random);
    Matrix<T> before = c;
    std::optional<Matrix<T>> fused;
    for_each_isa([&](Isa isa) {
      c = before;
      run(m, n, k, a, b, c);
      double worst = 0;
      Matrix<T> untouched = c;
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          double exact = 0, magnitude = 0;
          for (std::int64_t l = 0; l < k; ++l) {
            const double term = static_cast<double>(a.at(i, l)) * static_cast<double>(b.at(l, j));
            exact += term;
            magnitude += std::abs(term);
          }
          const double error =
              std::abs(static_cast<double>(c.at(i, j)) - exact) / (magnitude + 1e-30);
          if (!(error <= worst)) worst = error;
          untouched.at(i, j) = before.at(i, j);
        }
      }
      CHECK(worst <= 300 * static_cast<double>(std::numeric_limits<T>::epsilon()) / 2);
      CHECK(same_bits(untouched.values, before.values));
      if (!fuses(isa)) return;
      if (fused) CHECK(same_bits(fused->values, c.values));
      fused = c;
    });
  }
}

TEST_CASE_TEMPLATE("gemm gives the same bits on any number of threads", T, float, double) {
  const int before = num_threads();
  std::mt19937 random(2);
  Matrix<T> a(300, 500, 0, random), b(500, 290, 1, random), c(300, 290, 0, random);
  std::vector<T> first;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    run(300, 290, 500, a, b, c);
    if (first.empty()) first = c.values;
    CHECK(same_bits(first, c.values));
  }
  set_num_threads(before);
}

// Marks each element that it is called for, and adds one to it.
template <class T>
struct Marks {
  MatrixView<T> c;
  std::vector<int> counts;
  std::int64_t columns;

  GemmEpilogue epilogue() {
    return {[](const void* self, std::int64_t row, std::int64_t rows, std::int64_t column,
               std::int64_t width) {
              auto& marks = *static_cast<Marks*>(const_cast<void*>(self));
              REQUIRE(rows > 0);
              REQUIRE(width > 0);
              for (std::int64_t i = row; i < row + rows; ++i) {
                for (std::int64_t j = column; j < column + width; ++j) {
                  ++marks.counts[static_cast<std::size_t>(i * marks.columns + j)];
                  marks.c.data[i * marks.c.row + j * marks.c.column] += T(1);
                }
              }
            },
            this};
  }
};

// The same elements in another layout.
template <class T>
Matrix<T> laid_out(const Matrix<T>& from, std::int64_t rows, std::int64_t columns,
                   unsigned long layout, std::mt19937& random) {
  Matrix<T> to(rows, columns, layout, random);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j)
      to.at(i, j) = from.values[static_cast<std::size_t>(i * from.row + j * from.column)];
  }
  return to;
}

// With b packed and not, the epilogue adds one to each element of `expected`.
template <class T>
void check_epilogue(GemmProblem<T> problem, Matrix<T>& c, const std::vector<T>& expected) {
  const std::int64_t m = problem.m, n = problem.n;
  Scratch packed(gemm_packed_bytes<T>(n, problem.k));
  gemm_pack_b(problem, static_cast<T*>(packed.data()));
  for (const bool use_packed : {false, true}) {
    Marks<T> marks{c.view(), std::vector<int>(static_cast<std::size_t>(m * n)), n};
    problem.packed_b = use_packed ? static_cast<const T*>(packed.data()) : nullptr;
    problem.epilogue = marks.epilogue();
    Scratch scratch(gemm_scratch(problem, num_threads()));
    gemm(problem, scratch.data(), num_threads());
    CHECK(std::all_of(marks.counts.begin(), marks.counts.end(), [](int x) { return x == 1; }));
    bool same = true;
    for (std::int64_t i = 0; i < m * n; ++i) {
      const auto at = static_cast<std::size_t>(i / n * c.row + i % n * c.column);
      same = same && c.values[at] == expected[at] + T(1);
    }
    CHECK(same);
  }
}

// The shapes cross every way in which products are cut: few rows, few columns, one tile, several,
// b packed for all of them, and in parts. The layouts cross every way in which operands are read.
TEST_CASE_TEMPLATE(
    "gemm gives the same bits for any layout, with b packed, and calls the epilogue for each "
    "element once",
    T, float, double) {
  struct Extents {
    std::int64_t m, n, k;
  };
  std::mt19937 random(5);
  for (const auto& [m, n, k] : std::vector<Extents>{{1, 1, 3},
                                                    {1, 700, 300},
                                                    {5, 4500, 9},
                                                    {6, 333, 700},
                                                    {8, 150, 300},
                                                    {3, 301, 300},
                                                    {23, 301, 300},
                                                    {64, 1100, 290},
                                                    {300, 3, 70},
                                                    {64, 64, 64},
                                                    {100, 130, 600},
                                                    {260, 530, 257},
                                                    {130, 1100, 2100},
                                                    {130, 300, 3600},
                                                    {7, 40, 0}}) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    std::vector<Matrix<T>> as{{m, k, 0, random}}, bs{{k, n, 1, random}};
    for (const unsigned long layout : {1, 2}) {
      as.push_back(laid_out(as[0], m, k, layout, random));
      bs.push_back(laid_out(bs[0], k, n, (layout + 1) % 3, random));
    }
    Matrix<T> c(m, n, 0, random);
    std::optional<std::vector<T>> first;
    for_each_isa([&](Isa isa) {
      if (!fuses(isa) && m * n * k > 1'000'000) return;  // slow, and no other code
      std::optional<std::vector<T>> expected;
      for (std::size_t layout = 0; layout < as.size(); ++layout) {
        const Matrix<T>&a = as[layout], &b = bs[layout];
        run(m, n, k, a, b, c);
        if (expected) CHECK(same_bits(*expected, c.values));
        expected = c.values;
        check_epilogue<T>({m, n, k, a.view(), b.view(), c.view()}, c, *expected);
      }
      if (!fuses(isa)) return;
      if (first) CHECK(same_bits(*first, *expected));
      first = expected;
    });
  }
}

TEST_CASE_TEMPLATE("gemm carries NaN and infinity as the formula does", T, float, double) {
  std::mt19937 random(3);
  Matrix<T> a(20, 20, 0, random), b(20, 20, 0, random), c(20, 20, 0, random);
  for (std::int64_t i = 0; i < 20; ++i) a.at(i, 4) = T(0);
  b.at(4, 9) = std::numeric_limits<T>::quiet_NaN();
  b.at(4, 10) = std::numeric_limits<T>::infinity();
  for_each_isa([&](Isa) {
    run(20, 20, 20, a, b, c);
    for (std::int64_t i = 0; i < 20; ++i) {
      for (std::int64_t j = 0; j < 20; ++j) CHECK(std::isnan(c.at(i, j)) == (j == 9 || j == 10));
    }
  });
}

TEST_CASE("gemm with fewer slots than threads runs on one") {
  const int before = num_threads();
  set_num_threads(3);
  std::mt19937 random(4);
  Matrix<float> a(300, 30, 0, random), b(30, 290, 0, random), c(300, 290, 0, random), d = c;
  const GemmProblem<float> problem{300, 290, 30, a.view(), b.view(), c.view()};
  Scratch scratch(gemm_scratch(problem, 1));
  gemm(problem, scratch.data(), 1);
  run(300, 290, 30, a, b, d);
  CHECK(same_bits(c.values, d.values));
  set_num_threads(before);
}

}  // namespace
}  // namespace fovea::kernels
