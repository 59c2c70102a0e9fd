#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "attention_case.h"

namespace fovea::kernels {
namespace {

// Contiguous (batch, heads, queries, keys).
template <class T>
ScoreView<T> dense(const Extents& e, T* data) {
  return {data, e.heads * e.queries * e.keys, e.queries * e.keys, e.keys, 1};
}

template <class T>
struct Results {
  std::vector<T> raw, capped, biased, probs;
};

template <class T>
Results<T> run(const AttentionCase<T>& c) {
  const auto problem = c.problem();
  const auto forward = run_forward(c);
  Scratch scratch(attention_forward_scratch(problem, num_threads()));
  const std::vector<T> empty(
      static_cast<std::size_t>(c.e.batch * c.e.heads * c.e.queries * c.e.keys), T(777));
  Results<T> r{empty, empty, empty, empty};
  attention_scores(problem, ScoresStage::raw, dense(c.e, r.raw.data()), scratch.data(),
                   num_threads());
  attention_scores(problem, ScoresStage::capped, dense(c.e, r.capped.data()), scratch.data(),
                   num_threads());
  attention_scores(problem, ScoresStage::biased, dense(c.e, r.biased.data()), scratch.data(),
                   num_threads());
  attention_probs(problem, forward.lse.view(), dense(c.e, r.probs.data()), scratch.data(),
                  num_threads());
  return r;
}

TEST_CASE_TEMPLATE("scores and probabilities agree with the definition", T, float, double) {
  std::mt19937 random(31);
  for (int round = 0; round < rounds(60); ++round) {
    CAPTURE(round);
    const auto c = random_case<T>(random);
    const Truth truth = truth_of(c);
    const double unit = static_cast<double>(std::numeric_limits<T>::epsilon());
    std::optional<Results<T>> fused;
    for_each_isa([&](Isa isa) {
      const Results<T> r = run(c);
      double worst = 0;
      const auto note = [&](T value, double expected, double allowed) {
        const double error = static_cast<double>(value) == expected
                                 ? 0
                                 : std::abs(static_cast<double>(value) - expected) / allowed;
        if (!(error <= worst)) worst = error;
      };
      std::size_t n = 0;
      for (std::int64_t b = 0; b < c.e.batch; ++b) {
        for (std::int64_t h = 0; h < c.e.heads; ++h) {
          for (std::int64_t i = 0; i < c.e.queries; ++i) {
            for (std::int64_t j = 0; j < c.e.keys; ++j, ++n) {
              double raw = 0, magnitude = 0;
              for (std::int64_t d = 0; d < c.e.dim; ++d) {
                const double term =
                    static_cast<double>(c.q.at(b, h, i, d)) *
                    static_cast<double>(c.k.at(b, h / (c.e.heads / c.e.kv_heads), j, d)) *
                    c.p.scale;
                raw += term;
                magnitude += std::abs(term);
              }
              const double allowed = 20 * unit * (magnitude + 1e-30);
              double s = c.p.softcap > 0 ? c.p.softcap * std::tanh(raw / c.p.softcap) : raw;
              note(r.raw[n], raw, allowed);
              note(r.capped[n], s, allowed);
              if (c.bias.present) s += static_cast<double>(c.bias.values[c.bias.index(b, h, i, j)]);
              if (!c.visible(b, h, i, j)) s = -std::numeric_limits<double>::infinity();
              note(r.biased[n], s, allowed + 2 * unit * std::abs(s));
              note(r.probs[n], truth.p[n], (40 + 8 * truth.largest_score) * unit);
              if (std::isinf(s)) CHECK(r.probs[n] == T(0));
            }
          }
        }
      }
      CHECK(worst <= 1);
      if (!fuses(isa)) return;
      if (fused) {
        CHECK(same_bits(fused->biased, r.biased));
        CHECK(same_bits(fused->probs, r.probs));
      }
      fused = r;
    });
  }
}

TEST_CASE_TEMPLATE("hidden NaN reaches neither biased scores nor probabilities", T, float, double) {
  auto c = plain_case<T>({1, 1, 1, 20, 30, 4, 4}, 32);
  c.p.causal = true;
  c.k.at(0, 0, 15, 1) = std::numeric_limits<T>::quiet_NaN();
  for_each_isa([&](Isa) {
    const Results<T> r = run(c);
    CHECK(std::isnan(r.raw[15]));
    CHECK(r.biased[15] == -std::numeric_limits<T>::infinity());
    CHECK(r.probs[15] == T(0));
    CHECK(r.probs[0] == T(1));
    CHECK(std::isnan(r.probs[15 * 30 + 15]));
  });
}

}  // namespace
}  // namespace fovea::kernels
