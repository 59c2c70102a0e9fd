#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "attention_case.h"

namespace fovea::kernels {
namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();

template <class T>
struct Cotangents {
  HeadArray<T> dy, dlse;
  bool has_dy = true, has_dlse = true;

  Cotangents(const Extents& e, std::mt19937& random)
      : dy(e.batch, e.heads, e.queries, e.value_dim, true, 2),
        dlse(e.batch, e.heads, e.queries, 1, true, 0) {
    fill_normal(dy.values, random);
    fill_normal(dlse.values, random);
  }
};

template <class T>
struct Gradients {
  HeadArray<T> dq, dk, dv;
  std::vector<T> dbias;
};

template <class T>
bool same(const Gradients<T>& a, const Gradients<T>& b) {
  return same_bits(a.dq.values, b.dq.values) && same_bits(a.dk.values, b.dk.values) &&
         same_bits(a.dv.values, b.dv.values) && same_bits(a.dbias, b.dbias);
}

enum Wanted : unsigned { kDq = 1, kDk = 2, kDv = 4, kDbias = 8, kAll = 15 };

template <class T>
Gradients<T> run_backward(const AttentionCase<T>& c, const Cotangents<T>& d,
                          unsigned wanted = kAll) {
  const auto problem = c.problem();
  const ForwardResult<T> forward = run_forward(c);
  Gradients<T> r{HeadArray<T>(c.e.batch, c.e.heads, c.e.queries, c.e.dim, true, 0),
                 HeadArray<T>(c.e.batch, c.e.kv_heads, c.e.keys, c.e.dim, false, 1),
                 HeadArray<T>(c.e.batch, c.e.kv_heads, c.e.keys, c.e.value_dim, true, 0),
                 std::vector<T>(c.bias.values.size(), T(777))};
  for (auto* values : {&r.dq.values, &r.dk.values, &r.dv.values})
    std::fill(values->begin(), values->end(), T(777));
  AttentionGradient<T> g;
  g.y = forward.y.view(), g.lse = forward.lse.view();
  if (d.has_dy) g.dy = d.dy.view();
  if (d.has_dlse) g.dlse = d.dlse.view();
  if (wanted & kDq) g.dq = r.dq.view();
  if (wanted & kDk) g.dk = r.dk.view();
  if (wanted & kDv) g.dv = r.dv.view();
  if (wanted & kDbias) g.dbias = c.bias.view(r.dbias.data());
  Scratch scratch(attention_backward_scratch(problem, num_threads()));
  attention_backward(problem, g, scratch.data(), num_threads());
  return r;
}

// A value of the definition and the sum of the magnitudes of its terms, which rounding errors are a
// fraction of.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double x, double size) { value += x, magnitude += std::abs(size); }
};

struct TrueGradients {
  std::vector<Sum> dq, dk, dv, dbias;  // dense
};

template <class T>
TrueGradients true_gradients(const AttentionCase<T>& c, const Truth& t, const Cotangents<T>& d) {
  const Extents& e = c.e;
  // The kernels take a probability below the normal numbers for 0: an error of that size, here as
  // the magnitude that it would be the rounding error of.
  constexpr double lost = static_cast<double>(std::numeric_limits<T>::min()) /
                          static_cast<double>(std::numeric_limits<T>::epsilon());
  TrueGradients r;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  r.dq.resize(size(e.batch * e.heads * e.queries * e.dim));
  r.dk.resize(size(e.batch * e.kv_heads * e.keys * e.dim));
  r.dv.resize(size(e.batch * e.kv_heads * e.keys * e.value_dim));
  r.dbias.resize(c.bias.values.size());
  std::size_t row = 0;
  for (std::int64_t b = 0; b < e.batch; ++b) {
    for (std::int64_t h = 0; h < e.heads; ++h) {
      const std::int64_t g = h / (e.heads / e.kv_heads);
      for (std::int64_t i = 0; i < e.queries; ++i, ++row) {
        const auto dy = [&](std::int64_t n) {
          return d.has_dy ? static_cast<double>(d.dy.at(b, h, i, n)) : 0;
        };
        const double* p = t.p.data() + row * size(e.keys);
        std::vector<Sum> dp(size(e.keys));
        Sum delta;
        if (d.has_dlse)
          delta.add(-static_cast<double>(d.dlse.at(b, h, i, 0)),
                    static_cast<double>(d.dlse.at(b, h, i, 0)));
        for (std::int64_t j = 0; j < e.keys; ++j) {
          if (!c.visible(b, h, i, j)) continue;
          for (std::int64_t n = 0; n < e.value_dim; ++n) {
            const double term = dy(n) * static_cast<double>(c.v.at(b, g, j, n));
            dp[size(j)].add(term, term);
            delta.add(p[j] * term, p[j] * term);
            r.dv[size(((b * e.kv_heads + g) * e.keys + j) * e.value_dim + n)].add(
                p[j] * dy(n), (p[j] + lost) * dy(n));
          }
        }
        for (std::int64_t j = 0; j < e.keys; ++j) {
          if (!c.visible(b, h, i, j)) continue;
          const double capped = t.capped[row * size(e.keys) + size(j)];
          double ds = p[j] * (dp[size(j)].value - delta.value);
          double magnitude = (p[j] + lost) * (dp[size(j)].magnitude + delta.magnitude);
          if (c.bias.present) r.dbias[c.bias.index(b, h, i, j)].add(ds, magnitude);
          ds *= c.p.scale * (1 - capped * capped);
          magnitude *= c.p.scale;
          for (std::int64_t n = 0; n < e.dim; ++n) {
            const double q = static_cast<double>(c.q.at(b, h, i, n)),
                         k = static_cast<double>(c.k.at(b, g, j, n));
            r.dq[row * size(e.dim) + size(n)].add(ds * k, magnitude * k);
            r.dk[size(((b * e.kv_heads + g) * e.keys + j) * e.dim + n)].add(ds * q, magnitude * q);
          }
        }
      }
    }
  }
  return r;
}

// The worst |value − truth| / allowed. A sum without terms must be an exact zero.
template <class T>
double error_of(const HeadArray<T>& got, const std::vector<Sum>& truth, double relative) {
  double worst = 0;
  std::size_t n = 0;
  for (std::int64_t b = 0; b < got.batch; ++b) {
    for (std::int64_t h = 0; h < got.heads; ++h) {
      for (std::int64_t i = 0; i < got.length; ++i) {
        for (std::int64_t d = 0; d < got.dim; ++d, ++n) {
          const double difference =
              std::abs(static_cast<double>(got.at(b, h, i, d)) - truth[n].value);
          const double error =
              difference == 0 ? 0 : difference / (relative * truth[n].magnitude + 1e-37);
          if (!(error <= worst)) worst = error;
        }
      }
    }
  }
  return worst;
}

template <class T>
double error_of(const std::vector<T>& got, const std::vector<Sum>& truth, double relative) {
  double worst = 0;
  for (std::size_t n = 0; n < got.size(); ++n) {
    const double difference = std::abs(static_cast<double>(got[n]) - truth[n].value);
    const double error = difference == 0 ? 0 : difference / (relative * truth[n].magnitude + 1e-37);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

// P carries the error of the scores and of lse, a few units of the largest score; everything else
// is sums.
template <class T>
double relative_error(const Truth& t) {
  const double unit = static_cast<double>(std::numeric_limits<T>::epsilon());
  return (60 + 8 * t.largest_score) * unit;
}

template <class T>
void check_gradients(const AttentionCase<T>& c, const Cotangents<T>& d, const Gradients<T>& r) {
  const Truth t = truth_of(c);
  const TrueGradients truth = true_gradients(c, t, d);
  const double relative = relative_error<T>(t);
  CHECK(error_of(r.dq, truth.dq, relative) <= 1);
  CHECK(error_of(r.dk, truth.dk, relative) <= 1);
  CHECK(error_of(r.dv, truth.dv, relative) <= 1);
  CHECK(error_of(r.dbias, truth.dbias, relative) <= 1);
}

TEST_CASE_TEMPLATE("backward agrees with the definition on random problems", T, float, double) {
  std::mt19937 random(17);
  for (int round = 0; round < rounds(200); ++round) {
    CAPTURE(round);
    const auto c = random_case<T>(random);
    Cotangents<T> d(c.e, random);
    d.has_dy = round % 7 != 0;
    d.has_dlse = round % 5 != 0;
    std::optional<Gradients<T>> fused;
    for_each_isa([&](Isa isa) {
      const auto r = run_backward(c, d);
      check_gradients(c, d, r);
      if (!fuses(isa)) return;
      if (fused) CHECK(same(*fused, r));
      fused = r;
    });
  }
}

TEST_CASE_TEMPLATE("gradients that are not wanted change nothing", T, float, double) {
  std::mt19937 random(18);
  for (int round = 0; round < rounds(20); ++round) {
    const auto c = random_case<T>(random);
    const Cotangents<T> d(c.e, random);
    const auto all = run_backward(c, d);
    for (unsigned wanted = 0; wanted < kAll; ++wanted) {
      const auto some = run_backward(c, d, wanted);
      if (wanted & kDq) CHECK(same_bits(all.dq.values, some.dq.values));
      if (wanted & kDk) CHECK(same_bits(all.dk.values, some.dk.values));
      if (wanted & kDv) CHECK(same_bits(all.dv.values, some.dv.values));
      if (wanted & kDbias) CHECK(same_bits(all.dbias, some.dbias));
      for (const T x : wanted& kDq ? std::vector<T>{} : some.dq.values) CHECK(x == T(777));
    }
  }
}

// Calls f on 1, 2, 3 and 7 threads, more than most machines for tests have.
template <class F>
void for_each_thread_count(const F& f) {
  const int before = num_threads();
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    CAPTURE(threads);
    f();
  }
  set_num_threads(before);
}

TEST_CASE_TEMPLATE("the number of threads does not change a bit of the gradients", T, float,
                   double) {
  std::mt19937 random(19);
  for (int round = 0; round < rounds(12); ++round) {
    const auto c = random_case<T>(random);
    const Cotangents<T> d(c.e, random);
    std::optional<Gradients<T>> first;
    for_each_thread_count([&] {
      const auto r = run_backward(c, d);
      if (first) CHECK(same(*first, r));
      if (!first) first = r;
    });
  }
}

// Several groups of queries add to the same keys: some see more than the one before, less, or
// nothing; the last of queries, keys and elements do not fill what they lie in.
TEST_CASE_TEMPLATE("few heads, shared among threads", T, float, double) {
  std::mt19937 random(21);
  for (const Extents& e : {Extents{1, 1, 1, 530, 300, 20, 5}, Extents{1, 4, 2, 150, 200, 16, 33}}) {
    for (const int how : {0, 1, 2, 3, 4, 5}) {
      CAPTURE(how);
      auto c = plain_case<T>(e, 22);
      Cotangents<T> d(c.e, random);
      if (how == 1) c.p.causal = true, c.p.bottom_right = true;
      if (how == 2) c.p.causal = true, c.p.query_offset = -140;
      if (how == 3) c.p.left = 40, c.p.right = 30;
      if (how == 4) c.lengths = {130};
      if (how == 5) {
        c.mask = ScoreArray<unsigned char>(c.e, 4 | 8, false);
        for (std::size_t n = 0; n < c.mask.values.size(); ++n) c.mask.values[n] = n % 7 < 3;
      }
      std::optional<Gradients<T>> clean, dirty;
      for_each_thread_count([&] {
        const auto r = run_backward(c, d);
        if (clean) CHECK(same(*clean, r));
        if (!clean) check_gradients(c, d, r);
        clean = r;
      });
      c.k.at(0, 0, 100, 1) = kNaN<T>;
      d.dy.at(0, 0, 140, 2) = kInf<T>;
      for_each_thread_count([&] {
        const auto r = run_backward(c, d);
        if (dirty) CHECK(same(*dirty, r));
        dirty = r;
      });
    }
  }
}

TEST_CASE("gradients agree with differences of the forward pass") {
  std::mt19937 random(23);
  auto c = plain_case<double>({2, 2, 1, 5, 6, 3, 4}, 24);
  c.p.softcap = 1.5;
  c.p.causal = true;
  c.p.query_offset = 1;
  c.bias = ScoreArray<double>(c.e, 1 | 8, false);
  fill_normal(c.bias.values, random);
  const Cotangents<double> d(c.e, random);
  const auto loss = [&] {
    const auto r = run_forward(c);
    double sum = 0;
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t i = 0; i < 5; ++i) {
          sum += d.dlse.at(b, h, i, 0) * r.lse.at(b, h, i, 0);
          for (std::int64_t n = 0; n < 4; ++n) sum += d.dy.at(b, h, i, n) * r.y.at(b, h, i, n);
        }
      }
    }
    return sum;
  };
  const auto difference = [&](double& x) {
    constexpr double kStep = 1e-5;
    const double before = x;
    x = before + kStep;
    const double up = loss();
    x = before - kStep;
    const double down = loss();
    x = before;
    return (up - down) / (2 * kStep);
  };
  const auto r = run_backward(c, d);
  for (std::int64_t b = 0; b < 2; ++b) {
    CHECK(r.dq.at(b, 1, 2, 1) == doctest::Approx(difference(c.q.at(b, 1, 2, 1))).epsilon(1e-7));
    CHECK(r.dk.at(b, 0, 3, 2) == doctest::Approx(difference(c.k.at(b, 0, 3, 2))).epsilon(1e-7));
    CHECK(r.dv.at(b, 0, 1, 3) == doctest::Approx(difference(c.v.at(b, 0, 1, 3))).epsilon(1e-7));
    const auto at = c.bias.index(b, 0, 0, 2);
    CHECK(r.dbias[at] == doctest::Approx(difference(c.bias.values[at])).epsilon(1e-7));
  }
}

// Poisoned are the queries that see the bad key, and the bad query if it sees anything. Nothing
// else may feel it.
template <class T>
void check_contained(const AttentionCase<T>& clean, const Cotangents<T>& clean_d,
                     const AttentionCase<T>& dirty, const Cotangents<T>& dirty_d,
                     std::int64_t bad_key, std::int64_t bad_query) {
  const auto poisoned = [&](std::int64_t h, std::int64_t i) {
    if (bad_key >= 0 && clean.visible(0, h, i, bad_key)) return true;
    for (std::int64_t j = 0; i == bad_query && j < clean.e.keys; ++j) {
      if (clean.visible(0, h, i, j)) return true;
    }
    return false;
  };
  for_each_isa([&](Isa) {
    const auto expected = run_backward(clean, clean_d), r = run_backward(dirty, dirty_d);
    std::vector<bool> reached(static_cast<std::size_t>(clean.e.keys));
    for (std::int64_t h = 0; h < clean.e.heads; ++h) {
      for (std::int64_t i = 0; i < clean.e.queries; ++i) {
        CAPTURE(i);
        bool is_same = true, finite = true;
        for (std::int64_t n = 0; n < clean.e.dim; ++n) {
          is_same &= r.dq.at(0, h, i, n) == expected.dq.at(0, h, i, n);
          finite &= std::isfinite(r.dq.at(0, h, i, n));
        }
        const bool bad = poisoned(h, i);
        if (bad) CHECK_FALSE(finite);
        if (!bad) CHECK(is_same);
        for (std::int64_t j = 0; j < clean.e.keys; ++j) {
          if (bad && clean.visible(0, h, i, j)) reached[static_cast<std::size_t>(j)] = true;
          if (bad || !clean.bias.present) continue;
          const auto at = clean.bias.index(0, h, i, j);
          CHECK(r.dbias[at] == expected.dbias[at]);
        }
      }
    }
    for (std::int64_t j = 0; j < clean.e.keys; ++j) {
      CAPTURE(j);
      if (reached[static_cast<std::size_t>(j)]) continue;
      for (std::int64_t n = 0; n < clean.e.dim; ++n) {
        CHECK(r.dk.at(0, 0, j, n) == expected.dk.at(0, 0, j, n));
        CHECK(r.dv.at(0, 0, j, n) == expected.dv.at(0, 0, j, n));
      }
    }
  });
}

TEST_CASE_TEMPLATE("what is hidden does not reach a gradient", T, float, double) {
  for (const T value : {kNaN<T>, kInf<T>, -kInf<T>}) {
    for (const int how : {0, 1, 2, 3}) {
      CAPTURE(how);
      auto clean = plain_case<T>({1, 2, 1, 50, 300, 12, 12}, 25);
      std::mt19937 random(26);
      const Cotangents<T> d(clean.e, random);
      if (how == 0) clean.p.causal = true, clean.p.bottom_right = true;
      if (how == 1) clean.p.left = 20, clean.p.right = 3, clean.p.query_offset = 240;
      if (how == 2) {
        clean.mask = ScoreArray<unsigned char>(clean.e, 15, false);
        for (auto& m : clean.mask.values) m = random() % 2;
      }
      if (how == 3) {
        clean.bias = ScoreArray<T>(clean.e, 2 | 4 | 8, false);
        for (T& x : clean.bias.values) x = random() % 2 ? T(0.5) : -kInf<T>;
      }
      for (const bool in_value : {false, true}) {
        auto dirty = clean;
        (in_value ? dirty.v : dirty.k).at(0, 0, 270, 3) = value;
        check_contained(clean, d, dirty, d, 270, -1);
      }
      auto dirty = clean;
      dirty.q.at(0, 0, 7, 5) = value;
      dirty.q.at(0, 1, 7, 5) = value;
      check_contained(clean, d, dirty, d, -1, 7);
      auto dirty_d = d;
      dirty_d.dy.at(0, 0, 9, 1) = value;
      dirty_d.dy.at(0, 1, 9, 1) = value;
      check_contained(clean, d, clean, dirty_d, -1, 9);
    }
  }
}

TEST_CASE_TEMPLATE("a query that sees nothing sends and gets exact zeros", T, float, double) {
  auto c = plain_case<T>({1, 1, 1, 40, 40, 8, 8}, 27);
  c.p.causal = true;
  c.p.query_offset = -10;
  std::mt19937 random(28);
  Cotangents<T> d(c.e, random);
  std::map<Isa, decltype(run_backward(c, d))> expected;
  for_each_isa([&](Isa isa) { expected.emplace(isa, run_backward(c, d)); });
  for (std::int64_t i = 0; i < 10; ++i) {
    c.q.at(0, 0, i, 1) = kNaN<T>;
    d.dy.at(0, 0, i, 2) = kInf<T>;
    d.dlse.at(0, 0, i, 0) = kNaN<T>;
  }
  for (std::int64_t j = 30; j < 40; ++j) c.k.at(0, 0, j, 0) = kNaN<T>, c.v.at(0, 0, j, 0) = kInf<T>;
  for_each_isa([&](Isa isa) {
    const auto r = run_backward(c, d);
    for (std::int64_t i = 0; i < 10; ++i) {
      for (std::int64_t n = 0; n < 8; ++n) {
        CHECK(r.dq.at(0, 0, i, n) == T(0));
        CHECK(r.dk.at(0, 0, 30 + i, n) == T(0));
        CHECK(r.dv.at(0, 0, 30 + i, n) == T(0));
      }
    }
    CHECK(same(expected.at(isa), r));
  });
}

TEST_CASE_TEMPLATE("long sequences take little scratch", T, float, double) {
  constexpr std::size_t kMiB = 1 << 20;
  for (const std::int64_t kv_heads : {1, 2, 8}) {
    AttentionProblem<T> p;
    p.heads = 8, p.kv_heads = kv_heads;
    p.queries = p.keys = 32768;
    p.dim = p.value_dim = 128;
    for (const int slots : {1, 2, 16}) {
      CHECK(attention_forward_scratch(p, slots) < kMiB * static_cast<std::size_t>(slots));
      CHECK(attention_backward_scratch(p, slots) < kMiB * static_cast<std::size_t>(slots));
    }
  }
}

}  // namespace
}  // namespace fovea::kernels
