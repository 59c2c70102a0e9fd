// Attention problems for tests: random ones over all options, with the definition in f64 beside
// them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "each_isa.h"
#include "fovea/ops/kernels/attention.h"
#include "fovea/tensor/parallel.h"

namespace fovea::kernels {

struct Extents {
  std::int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, dim = 1, value_dim = 1;
};

/// An array (batch, heads, length, dim), either in this order or as (batch, length, heads, dim),
/// rows perhaps apart.
template <class T>
struct HeadArray {
  std::int64_t batch = 0, heads = 0, length = 0, dim = 0;
  HeadView<T> strides;
  std::vector<T> values;

  HeadArray() = default;
  HeadArray(std::int64_t b, std::int64_t h, std::int64_t l, std::int64_t d, bool heads_inside,
            std::int64_t gap)
      : batch(b), heads(h), length(l), dim(d) {
    if (heads_inside) {
      strides.head = d + gap;
      strides.row = strides.head * h;
      strides.batch = strides.row * l;
    } else {
      strides.row = d + gap;
      strides.head = strides.row * l;
      strides.batch = strides.head * h;
    }
    values.assign(static_cast<std::size_t>(b * h * l * (d + gap)), T(0));
  }

  T& at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t d) {
    return values[static_cast<std::size_t>(b * strides.batch + h * strides.head + i * strides.row +
                                           d)];
  }
  T at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t d) const {
    return values[static_cast<std::size_t>(b * strides.batch + h * strides.head + i * strides.row +
                                           d)];
  }
  HeadView<const T> view() const {
    return {values.data(), strides.batch, strides.head, strides.row};
  }
  HeadView<T> view() { return {values.data(), strides.batch, strides.head, strides.row}; }
};

/// An array of the scores' shape with some axes broadcast.
template <class T>
struct ScoreArray {
  bool present = false;
  ScoreView<T> strides;
  std::vector<T> values;

  ScoreArray() = default;
  /// `axes`: bit 0 batch, 1 heads, 2 queries, 3 keys are real; the others are broadcast.
  ScoreArray(const Extents& e, unsigned axes, bool keys_outside) : present(true) {
    std::int64_t stride = 1;
    const auto take = [&](std::int64_t& s, unsigned bit, std::int64_t extent) {
      if (!(axes & bit)) return;
      s = stride;
      stride *= extent;
    };
    if (!keys_outside) take(strides.column, 8, e.keys);
    take(strides.row, 4, e.queries);
    if (keys_outside) take(strides.column, 8, e.keys);
    take(strides.head, 2, e.heads);
    take(strides.batch, 1, e.batch);
    values.assign(static_cast<std::size_t>(stride), T());
  }
  std::size_t index(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(b * strides.batch + h * strides.head + i * strides.row +
                                    j * strides.column);
  }
  template <class U>
  ScoreView<U> view(U* data) const {
    return {present ? data : nullptr, strides.batch, strides.head, strides.row, strides.column};
  }
};

template <class T>
struct AttentionCase {
  Extents e;
  AttentionProblem<T> p;  // options; pointers are set by `problem()`
  HeadArray<T> q, k, v;
  ScoreArray<unsigned char> mask;
  ScoreArray<T> bias;
  std::vector<std::int64_t> lengths;

  AttentionProblem<T> problem() const {
    AttentionProblem<T> full = p;
    full.batch = e.batch, full.heads = e.heads, full.kv_heads = e.kv_heads;
    full.queries = e.queries, full.keys = e.keys, full.dim = e.dim, full.value_dim = e.value_dim;
    full.q = q.view(), full.k = k.view(), full.v = v.view();
    full.mask = mask.view(reinterpret_cast<const bool*>(mask.values.data()));
    full.bias = bias.view(bias.values.data());
    full.key_lengths = lengths.empty() ? nullptr : lengths.data();
    return full;
  }

  /// The definition of visible.
  bool visible(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    if (!lengths.empty() && j >= lengths[static_cast<std::size_t>(b)]) return false;
    std::int64_t offset = p.query_offset;
    if (p.bottom_right)
      offset = (lengths.empty() ? e.keys : lengths[static_cast<std::size_t>(b)]) - e.queries;
    const double position = static_cast<double>(i) + static_cast<double>(offset),
                 key = static_cast<double>(j);
    if (p.causal && key > position) return false;
    if (p.left != kUnbounded && key < position - static_cast<double>(p.left)) return false;
    if (p.right != kUnbounded && key > position + static_cast<double>(p.right)) return false;
    if (mask.present && !mask.values[mask.index(b, h, i, j)]) return false;
    return !bias.present ||
           bias.values[bias.index(b, h, i, j)] != -std::numeric_limits<T>::infinity();
  }
};

/// What the definition gives, in f64.
struct Truth {
  std::vector<double> capped,
      p;  // (batch, heads, queries, keys): tanh(s / softcap), and the probabilities
  std::vector<double> y, lse;  // (batch, heads, queries, value_dim) and (batch, heads, queries)
  double largest_score = 0, largest_y = 0;
};

template <class T>
Truth truth_of(const AttentionCase<T>& c) {
  const Extents& e = c.e;
  Truth t;
  for (std::int64_t b = 0; b < e.batch; ++b) {
    for (std::int64_t h = 0; h < e.heads; ++h) {
      const std::int64_t g = h / (e.heads / e.kv_heads);
      for (std::int64_t i = 0; i < e.queries; ++i) {
        std::vector<double> s(static_cast<std::size_t>(e.keys),
                              -std::numeric_limits<double>::infinity());
        double most = -std::numeric_limits<double>::infinity();
        for (std::int64_t j = 0; j < e.keys; ++j) {
          const bool visible = c.visible(b, h, i, j);
          double x = 0;
          for (std::int64_t d = 0; d < e.dim && visible; ++d)
            x += static_cast<double>(c.q.at(b, h, i, d)) * static_cast<double>(c.k.at(b, g, j, d));
          x *= c.p.scale;
          const double capped = c.p.softcap > 0 ? std::tanh(x / c.p.softcap) : 0;
          t.capped.push_back(capped);
          if (c.p.softcap > 0) x = c.p.softcap * capped;
          if (!visible) continue;
          if (c.bias.present) x += static_cast<double>(c.bias.values[c.bias.index(b, h, i, j)]);
          s[static_cast<std::size_t>(j)] = x;
          most = std::max(most, x);
          t.largest_score = std::max(t.largest_score, std::abs(x));
        }
        double sum = 0;
        for (double& x : s) {
          x = std::isinf(most) ? 0 : std::exp(x - most);
          sum += x;
        }
        t.lse.push_back(sum > 0 ? most + std::log(sum) : -std::numeric_limits<double>::infinity());
        std::vector<double> y(static_cast<std::size_t>(e.value_dim), 0.0);
        for (std::int64_t j = 0; j < e.keys; ++j) {
          const double probability = sum > 0 ? s[static_cast<std::size_t>(j)] / sum : 0;
          t.p.push_back(probability);
          if (!c.visible(b, h, i, j)) continue;
          for (std::int64_t d = 0; d < e.value_dim; ++d)
            y[static_cast<std::size_t>(d)] += probability * static_cast<double>(c.v.at(b, g, j, d));
        }
        for (const double value : y) {
          t.y.push_back(value);
          t.largest_y = std::max(t.largest_y, std::abs(value));
        }
      }
    }
  }
  return t;
}

template <class T>
double tolerance(const Truth& t) {
  if (sizeof(T) == 8) return 1e-10 * (1 + t.largest_y);
  return std::max(1e-5, 4 * 1.1920929e-7 * t.largest_score) * (1 + t.largest_y);
}

template <class T>
void fill_normal(std::vector<T>& values, std::mt19937& random, double deviation = 1) {
  values = normals<T>(static_cast<std::int64_t>(values.size()), random, deviation);
}

/// A problem with random extents and every option on or off at random.
template <class T>
AttentionCase<T> random_case(std::mt19937& random) {
  const auto pick = [&](std::initializer_list<std::int64_t> from) {
    return *(from.begin() + std::uniform_int_distribution<std::int64_t>(
                                0, static_cast<std::int64_t>(from.size()) - 1)(random));
  };
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  AttentionCase<T> c;
  c.e.batch = pick({1, 1, 2, 3});
  c.e.kv_heads = pick({1, 1, 2, 3});
  c.e.heads = c.e.kv_heads * pick({1, 1, 2, 3});
  c.e.queries = pick({0, 1, 2, 5, 16, 17, 31, 33, 70, 150});
  c.e.keys = pick({0, 1, 3, 16, 63, 65, 129, 257, 300});
  c.e.dim = pick({1, 2, 3, 8, 17, 40, 64, 72});
  c.e.value_dim = one_in(2) ? c.e.dim : pick({0, 1, 5, 16, 33, 64, 80});
  c.q = HeadArray<T>(c.e.batch, c.e.heads, c.e.queries, c.e.dim, one_in(2), one_in(3) ? 3 : 0);
  c.k = HeadArray<T>(c.e.batch, c.e.kv_heads, c.e.keys, c.e.dim, one_in(2), one_in(3) ? 3 : 0);
  c.v =
      HeadArray<T>(c.e.batch, c.e.kv_heads, c.e.keys, c.e.value_dim, one_in(2), one_in(3) ? 3 : 0);
  fill_normal(c.q.values, random);
  fill_normal(c.k.values, random);
  fill_normal(c.v.values, random);
  c.p.scale = one_in(8)   ? 0.0
              : one_in(6) ? -0.3
              : one_in(6) ? 40.0
                          : 1 / std::sqrt(static_cast<double>(c.e.dim));
  if (one_in(4)) c.p.softcap = one_in(2) ? 0.5 : 20.0;
  if (one_in(3)) {
    c.mask = ScoreArray<unsigned char>(c.e, random() % 16, one_in(3));
    const unsigned hidden_in = one_in(2) ? 2 : 10;
    for (auto& m : c.mask.values) m = !one_in(hidden_in);
  }
  if (one_in(3)) {
    c.bias = ScoreArray<T>(c.e, random() % 16, one_in(3));
    fill_normal(c.bias.values, random, 2);
    for (T& x : c.bias.values) {
      if (one_in(7)) x = -std::numeric_limits<T>::infinity();
    }
  }
  if (one_in(3)) {
    for (std::int64_t b = 0; b < c.e.batch; ++b) {
      c.lengths.push_back(one_in(5) ? 0
                                    : static_cast<std::int64_t>(
                                          random() % static_cast<unsigned long>(c.e.keys + 1)));
    }
  }
  c.p.causal = one_in(3);
  if (one_in(4)) c.p.left = pick({0, 1, 7, 40, 1000});
  if (one_in(4)) c.p.right = pick({0, 1, 7, 40, 1000});
  if (one_in(3)) {
    c.p.bottom_right = true;
  } else if (one_in(3)) {
    c.p.query_offset =
        pick({-1000, -20, -1, 1, 3, 50, 1000, std::numeric_limits<std::int64_t>::max(),
              std::numeric_limits<std::int64_t>::min()});
  }
  return c;
}

template <class T>
struct ForwardResult {
  HeadArray<T> y, lse;
};

template <class T>
ForwardResult<T> run_forward(const AttentionCase<T>& c) {
  const auto problem = c.problem();
  ForwardResult<T> r{HeadArray<T>(c.e.batch, c.e.heads, c.e.queries, c.e.value_dim, true, 0),
                     HeadArray<T>(c.e.batch, c.e.heads, c.e.queries, 1, false, 0)};
  std::fill(r.y.values.begin(), r.y.values.end(), T(777));
  std::fill(r.lse.values.begin(), r.lse.values.end(), T(777));
  Scratch scratch(attention_forward_scratch(problem, num_threads()));
  attention_forward(problem, {r.y.view(), r.lse.view()}, scratch.data(), num_threads());
  return r;
}

template <class T>
AttentionCase<T> plain_case(const Extents& e, unsigned seed) {
  std::mt19937 random(seed);
  AttentionCase<T> c;
  c.e = e;
  c.q = HeadArray<T>(e.batch, e.heads, e.queries, e.dim, false, 0);
  c.k = HeadArray<T>(e.batch, e.kv_heads, e.keys, e.dim, false, 0);
  c.v = HeadArray<T>(e.batch, e.kv_heads, e.keys, e.value_dim, false, 0);
  fill_normal(c.q.values, random);
  fill_normal(c.k.values, random);
  fill_normal(c.v.values, random);
  c.p.scale = 1 / std::sqrt(static_cast<double>(e.dim));
  return c;
}

}  // namespace fovea::kernels
