#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "attention_case.h"

namespace fovea::kernels {
namespace {

template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();

// The worst |result − truth| / tolerance; rows that see nothing must be exact.
template <class T>
double error_of(const AttentionCase<T>& c, const ForwardResult<T>& r) {
  const Truth truth = truth_of(c);
  const double allowed = tolerance<T>(truth);
  double worst = 0;
  std::size_t row = 0;
  for (std::int64_t b = 0; b < c.e.batch; ++b) {
    for (std::int64_t h = 0; h < c.e.heads; ++h) {
      for (std::int64_t i = 0; i < c.e.queries; ++i, ++row) {
        const double lse = truth.lse[row];
        const double got = static_cast<double>(r.lse.at(b, h, i, 0));
        const double lse_error =
            got == lse ? 0 : std::abs(got - lse) / (1 + std::abs(lse)) / allowed;
        if (!(lse_error <= worst)) worst = lse_error;
        for (std::int64_t d = 0; d < c.e.value_dim; ++d) {
          const double expected =
              truth.y[row * static_cast<std::size_t>(c.e.value_dim) + static_cast<std::size_t>(d)];
          const double value = static_cast<double>(r.y.at(b, h, i, d));
          if (std::isinf(lse) && value != 0) return 1e9;
          const double error = std::abs(value - expected) / allowed;
          if (!(error <= worst)) worst = error;
        }
      }
    }
  }
  return worst;
}

TEST_CASE_TEMPLATE("forward agrees with the definition on random problems", T, float, double) {
  std::mt19937 random(7);
  for (int round = 0; round < rounds(250); ++round) {
    CAPTURE(round);
    const auto c = random_case<T>(random);
    std::optional<ForwardResult<T>> fused;
    for_each_isa([&](Isa isa) {
      const auto r = run_forward(c);
      CHECK(error_of(c, r) <= 1);
      if (!fuses(isa)) return;
      if (fused) {
        CHECK(same_bits(fused->y.values, r.y.values));
        CHECK(same_bits(fused->lse.values, r.lse.values));
      }
      fused = r;
    });
  }
}

TEST_CASE_TEMPLATE("the number of threads does not change a bit", T, float, double) {
  const int before = num_threads();
  std::mt19937 random(8);
  for (int round = 0; round < rounds(20); ++round) {
    const auto c = random_case<T>(random);
    std::optional<ForwardResult<T>> first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const auto r = run_forward(c);
      if (first) {
        CHECK(same_bits(first->y.values, r.y.values));
        CHECK(same_bits(first->lse.values, r.lse.values));
      } else {
        first = r;
      }
    }
  }
  set_num_threads(before);
}

TEST_CASE_TEMPLATE("logits of 1e4 and far beyond do not overflow", T, float, double) {
  for (const double scale : {1e3, 1e4, -1e5, 1e12, 1e25}) {
    CAPTURE(scale);
    auto c = plain_case<T>({1, 2, 1, 40, 300, 16, 16}, 3);
    c.p.scale = scale;
    for_each_isa([&](Isa) {
      const auto r = run_forward(c);
      if (scale < 1e6) CHECK(error_of(c, r) <= 1);
      for (const T y : r.y.values) CHECK(std::isfinite(y));
      for (const T lse : r.lse.values) CHECK(std::isfinite(lse));
    });
  }
}

TEST_CASE_TEMPLATE("scratch for dims up to 128 is at most 128 KiB a thread", T, float, double) {
  AttentionProblem<T> p;
  p.dim = p.value_dim = 128;
  for (const auto& [batch, heads, kv_heads] :
       {std::array{1, 8, 8}, {1, 8, 2}, {1, 8, 1}, {64, 32, 8}}) {
    p.batch = batch, p.heads = heads, p.kv_heads = kv_heads;
    for (const std::int64_t queries : {1, 4, 16, 1000, 1 << 20}) {
      for (const std::int64_t keys : {1, 1000, 1 << 20}) {
        CAPTURE(batch);
        CAPTURE(kv_heads);
        CAPTURE(queries);
        CAPTURE(keys);
        p.queries = queries, p.keys = keys;
        // In f64, few queries of many heads that share one keep more.
        const std::size_t most = sizeof(T) == 8 && kv_heads == 1 && queries == 4 ? 176 : 128;
        CHECK(attention_forward_scratch(p, 1) <= most << 10);
      }
    }
  }
}

TEST_CASE("a scale that f32 cannot hold") {
  auto c = plain_case<float>({1, 1, 1, 20, 50, 8, 8}, 4);
  for (float& x : c.q.values) x *= 1e30f;
  for (float& x : c.k.values) x *= 1e20f;
  c.p.scale = 1e-50;
  for_each_isa([&](Isa) { CHECK(error_of(c, run_forward(c)) <= 1); });
}

// Rows that see one of `bad` are not finite, all others have the bits of the clean problem.
template <class T>
void check_contained(const AttentionCase<T>& clean, const AttentionCase<T>& dirty,
                     std::int64_t bad_key, std::int64_t bad_query) {
  for_each_isa([&](Isa) {
    const auto expected = run_forward(clean), r = run_forward(dirty);
    for (std::int64_t b = 0; b < clean.e.batch; ++b) {
      for (std::int64_t h = 0; h < clean.e.heads; ++h) {
        for (std::int64_t i = 0; i < clean.e.queries; ++i) {
          CAPTURE(i);
          bool sees_bad = bad_key >= 0 && clean.visible(b, h, i, bad_key);
          for (std::int64_t j = 0; i == bad_query && j < clean.e.keys; ++j)
            sees_bad |= clean.visible(b, h, i, j);
          bool finite = true, same = r.lse.at(b, h, i, 0) == expected.lse.at(b, h, i, 0);
          for (std::int64_t d = 0; d < clean.e.value_dim; ++d) {
            finite &= std::isfinite(r.y.at(b, h, i, d));
            same &= r.y.at(b, h, i, d) == expected.y.at(b, h, i, d);
          }
          if (sees_bad) CHECK_FALSE(finite);
          if (!sees_bad) CHECK(same);
        }
      }
    }
  });
}

// Many queries, which are lanes, and few, which read keys row by row, in several chunks.
const Extents kMany{1, 2, 1, 50, 300, 12, 12}, kFew{1, 5, 1, 3, 1100, 12, 20};

TEST_CASE_TEMPLATE("what is hidden does not reach a query, what is seen does", T, float, double) {
  for (const Extents& extents : {kMany, kFew}) {
    for (const T value : {kNaN<T>, kInf<T>, -kInf<T>}) {
      for (const int how : {0, 1, 2, 3}) {
        CAPTURE(extents.queries);
        CAPTURE(how);
        auto clean = plain_case<T>(extents, 5);
        std::mt19937 random(6);
        if (how == 0) clean.p.causal = true, clean.p.bottom_right = true;
        if (how == 1) clean.p.left = 20, clean.p.right = 3, clean.p.query_offset = 266;
        if (how == 2) {
          clean.mask = ScoreArray<unsigned char>(clean.e, 15, false);
          for (auto& m : clean.mask.values) m = random() % 2;
        }
        if (how == 3) {
          clean.bias = ScoreArray<T>(clean.e, 12, false);
          for (T& x : clean.bias.values) x = random() % 2 ? T(0.5) : -kInf<T>;
        }
        for (const bool in_value : {false, true}) {
          auto dirty = clean;
          (in_value ? dirty.v : dirty.k).at(0, 0, 270, 3) = value;
          check_contained(clean, dirty, 270, -1);
        }
        auto dirty = clean;
        const std::int64_t query = std::min<std::int64_t>(7, extents.queries - 1);
        for (std::int64_t h = 0; h < extents.heads; ++h) dirty.q.at(0, h, query, 5) = value;
        check_contained(clean, dirty, -1, query);
      }
    }
  }
}

TEST_CASE_TEMPLATE("few queries agree with the definition over several chunks of keys", T, float,
                   double) {
  std::mt19937 random(11);
  for (const std::int64_t queries : {1, 2, 3, 4}) {
    for (const bool restricted : {false, true}) {
      auto c = plain_case<T>({2, 5, 1, queries, 1100, 24, 72}, 12);
      if (restricted) {
        c.p.softcap = 3, c.p.causal = true, c.p.bottom_right = true;
        c.lengths = {700, 1100};
        c.bias = ScoreArray<T>(c.e, 15, false);
        fill_normal(c.bias.values, random, 2);
      }
      std::optional<ForwardResult<T>> fused;
      for_each_isa([&](Isa isa) {
        const auto r = run_forward(c);
        CHECK(error_of(c, r) <= 1);
        if (!fuses(isa)) return;
        if (fused) CHECK(same_bits(fused->y.values, r.y.values));
        fused = r;
      });
    }
  }
}

TEST_CASE_TEMPLATE("a query of NaN that sees nothing gives zero", T, float, double) {
  auto c = plain_case<T>({1, 1, 1, 20, 40, 8, 8}, 9);
  c.p.causal = true;
  c.p.query_offset = -5;
  for (std::int64_t i = 0; i < 5; ++i) c.q.at(0, 0, i, 0) = kNaN<T>;
  for_each_isa([&](Isa) {
    const auto r = run_forward(c);
    for (std::int64_t i = 0; i < 20; ++i) {
      CHECK((r.lse.at(0, 0, i, 0) == -kInf<T>) == (i < 5));
      CHECK((r.y.at(0, 0, i, 3) == T(0)) == (i < 5));
    }
  });
}

TEST_CASE("uniform attention over many keys stays accurate") {
  auto c = plain_case<float>({1, 1, 1, 3, 20000, 4, 2}, 10);
  for (float& x : c.q.values) x = 0;
  for (float& x : c.v.values) x = 0.1f;
  for_each_isa([&](Isa) { CHECK(error_of(c, run_forward(c)) <= 0.3); });
}

}  // namespace
}  // namespace fovea::kernels
