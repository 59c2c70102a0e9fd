// Attention by its definition, in f64 and plain loops, with its gradients: what the op is tested
// against. It knows nothing of the op but its inputs and attributes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fovea/ops/attention.h"
#include "fovea/tensor/random.h"

namespace fovea::test {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Element (b, h, i, j) of something that broadcasts, aligned to the right, to (batch, heads, rows,
/// columns), or without heads, or without both.
class Array4 {
 public:
  Array4() = default;
  Array4(const Tensor& t, std::int64_t call_rank)
      : values_(t.astype(f64).to_vector<double>()), extents_{1, 1, 1, 1} {
    // (batch, rows, columns): the heads are missing in the middle.
    std::vector<std::int64_t> padded(t.shape().begin(), t.shape().end());
    while (static_cast<std::int64_t>(padded.size()) < call_rank) padded.insert(padded.begin(), 1);
    if (call_rank == 3) padded.insert(padded.begin() + 1, 1);
    while (padded.size() < 4) padded.insert(padded.begin(), 1);
    std::copy(padded.begin(), padded.end(), extents_);
  }
  explicit operator bool() const { return extents_[0] >= 0; }

  std::size_t index(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    const std::int64_t at[4] = {b, h, i, j};
    std::int64_t flat = 0;
    for (int axis = 0; axis < 4; ++axis) {
      flat = flat * extents_[axis] + (extents_[axis] == 1 ? 0 : at[axis]);
    }
    return static_cast<std::size_t>(flat);
  }
  double operator()(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return values_[index(b, h, i, j)];
  }
  double& at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
    return values_[index(b, h, i, j)];
  }
  const std::vector<double>& values() const { return values_; }
  std::int64_t extent(int axis) const { return extents_[axis]; }

  /// An array of this one's shape.
  Array4 filled(double value) const {
    Array4 other = *this;
    std::fill(other.values_.begin(), other.values_.end(), value);
    return other;
  }

 private:
  std::vector<double> values_;
  std::int64_t extents_[4] = {-1, -1, -1, -1};
};

/// Results and gradients, row-major in the shapes of the op's.
struct Reference {
  std::vector<double> y, lse, raw, capped, biased, probs;
  std::vector<double> dq, dk, dv, dbias;
  double largest_score = 0;  ///< max |s| over visible pairs
};

class ReferenceAttention {
 public:
  ReferenceAttention(const Attention& a, const Attention::In<Tensor>& in)
      : a_(a), rank_(in.q.rank()), q_(in.q, rank_), k_(in.k, rank_), v_(in.v, rank_) {
    if (in.mask) mask_ = Array4(*in.mask, rank_);
    if (in.bias) bias_ = Array4(*in.bias, rank_);
    if (in.key_lengths) lengths_ = in.key_lengths->to_vector<std::int64_t>();
    scale_ = a.scale.value_or(1 / std::sqrt(static_cast<double>(in.q.shape()[-1])));
  }

  /// `dy` and `dlse` have the shapes of y and lse; either may be null.
  Reference run(const Tensor& dy, const Tensor& dlse) const {
    Reference r;
    Array4 dq = q_.filled(0), dk = k_.filled(0), dv = v_.filled(0);
    Array4 dbias = bias_ ? bias_.filled(0) : Array4();
    const std::vector<double> dy_values =
        dy ? dy.astype(f64).to_vector<double>() : std::vector<double>();
    const std::vector<double> dlse_values =
        dlse ? dlse.astype(f64).to_vector<double>() : std::vector<double>();
    const std::int64_t value_dim = v_.extent(3);
    for (std::int64_t b = 0, row = 0; b < q_.extent(0); ++b) {
      for (std::int64_t h = 0; h < q_.extent(1); ++h) {
        for (std::int64_t i = 0; i < q_.extent(2); ++i, ++row) {
          std::vector<double> dy_row(static_cast<std::size_t>(value_dim), 0.0);
          if (dy) {
            const auto first = dy_values.begin() + row * value_dim;
            std::copy(first, first + value_dim, dy_row.begin());
          }
          const double dlse_here = dlse ? dlse_values[static_cast<std::size_t>(row)] : 0;
          one_query({b, h, i}, dy_row, dlse_here, r, dq, dk, dv, dbias);
        }
      }
    }
    r.dq = dq.values(), r.dk = dk.values(), r.dv = dv.values(), r.dbias = dbias.values();
    return r;
  }

 private:
  struct Query {
    std::int64_t b, h, i;
  };

  bool visible(const Query& at, std::int64_t j) const {
    const std::int64_t keys = k_.extent(2), queries = q_.extent(2);
    const std::int64_t length = lengths_.empty() ? keys : lengths_[static_cast<std::size_t>(at.b)];
    if (j >= length) return false;
    __int128 position = at.i;
    if (a_.align == Align::bottom_right) position += length - queries;
    if (a_.query_offset) position += *a_.query_offset;
    if (a_.causal && j > position) return false;
    if (a_.window.left && j < position - *a_.window.left) return false;
    if (a_.window.right && j > position + *a_.window.right) return false;
    if (mask_ && mask_(at.b, at.h, at.i, j) == 0) return false;
    return !bias_ || bias_(at.b, at.h, at.i, j) != -kInfinity;
  }

  void one_query(const Query& at, const std::vector<double>& dy, double dlse, Reference& r,
                 Array4& dq, Array4& dk, Array4& dv, Array4& dbias) const {
    const auto& [b, h, i] = at;
    const std::int64_t keys = k_.extent(2), dim = q_.extent(3), value_dim = v_.extent(3);
    const std::int64_t g = h / (q_.extent(1) / k_.extent(1));
    std::vector<double> s(static_cast<std::size_t>(keys), -kInfinity), tanhs(s.size(), 0.0);
    double largest = -kInfinity;
    for (std::int64_t j = 0; j < keys; ++j) {
      const auto at_j = static_cast<std::size_t>(j);
      double raw = 0;
      for (std::int64_t d = 0; d < dim; ++d) raw += q_(b, h, i, d) * k_(b, g, j, d);
      raw *= scale_;
      tanhs[at_j] = a_.softcap > 0 ? std::tanh(raw / a_.softcap) : 0;
      const double capped = a_.softcap > 0 ? a_.softcap * tanhs[at_j] : raw;
      r.raw.push_back(raw);
      r.capped.push_back(capped);
      if (visible(at, j)) s[at_j] = capped + (bias_ ? bias_(b, h, i, j) : 0);
      r.biased.push_back(s[at_j]);
      if (!visible(at, j)) continue;
      largest = std::max(largest, s[at_j]);
      r.largest_score = std::max(r.largest_score, std::abs(s[at_j]));
    }
    double sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      if (visible(at, j)) sum += std::exp(s[static_cast<std::size_t>(j)] - largest);
    }
    const double lse = sum > 0 ? largest + std::log(sum) : -kInfinity;
    r.lse.push_back(lse);
    std::vector<double> y(static_cast<std::size_t>(value_dim), 0.0), p(s.size(), 0.0);
    for (std::int64_t j = 0; j < keys; ++j) {
      const auto at_j = static_cast<std::size_t>(j);
      if (visible(at, j)) {
        p[at_j] = std::exp(s[at_j] - largest) / sum;
        for (std::int64_t d = 0; d < value_dim; ++d) {
          y[static_cast<std::size_t>(d)] += p[at_j] * v_(b, g, j, d);
        }
      }
      r.probs.push_back(p[at_j]);
    }
    r.y.insert(r.y.end(), y.begin(), y.end());

    double dot = -dlse;
    for (std::size_t d = 0; d < y.size(); ++d) dot += dy[d] * y[d];
    for (std::int64_t j = 0; j < keys; ++j) {
      if (!visible(at, j)) continue;
      const auto at_j = static_cast<std::size_t>(j);
      double dp = 0;
      for (std::int64_t d = 0; d < value_dim; ++d) {
        const double dy_d = dy[static_cast<std::size_t>(d)];
        dp += dy_d * v_(b, g, j, d);
        dv.at(b, g, j, d) += p[at_j] * dy_d;
      }
      const double ds = p[at_j] * (dp - dot);
      if (dbias) dbias.at(b, h, i, j) += ds;
      const double draw = scale_ * ds * (1 - tanhs[at_j] * tanhs[at_j]);
      for (std::int64_t d = 0; d < dim; ++d) {
        dq.at(b, h, i, d) += draw * k_(b, g, j, d);
        dk.at(b, g, j, d) += draw * q_(b, h, i, d);
      }
    }
  }

  const Attention& a_;
  std::int64_t rank_;
  Array4 q_, k_, v_, mask_, bias_;
  std::vector<std::int64_t> lengths_;
  double scale_ = 1;
};

inline Reference reference(const Attention& a, const Attention::In<Tensor>& in,
                           const Tensor& dy = {}, const Tensor& dlse = {}) {
  return ReferenceAttention(a, in).run(dy, dlse);
}

inline double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double x : values) {
    if (std::isfinite(x)) most = std::max(most, std::abs(x));
  }
  return most;
}

/// The largest difference; infinite where one is not finite and the other is not the same.
inline double difference(const Tensor& got, const std::vector<double>& want) {
  const std::vector<double> values = got.astype(f64).to_vector<double>();
  if (values.size() != want.size()) return kInfinity;
  double most = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (values[i] == want[i]) continue;
    const double here = std::abs(values[i] - want[i]);
    most = std::max(most, std::isnan(here) ? kInfinity : here);
  }
  return most;
}

/// What is promised: f32 within max(1e-5, 4ε·max|s|)·(1 + max|y|), f64 within 1e-10·(1 +
/// max|y|).
inline double tolerance(DType dtype, const Reference& r, const std::vector<double>& want) {
  const double relative = dtype == f64 ? 1e-10 : std::max(1e-5, 4 * 0x1p-23 * r.largest_score);
  return relative * (1 + largest(want));
}

}  // namespace fovea::test
