// What is hidden from a query reaches neither its results nor any gradient through it.
#include <doctest/doctest.h>

#include "attention_cases.h"
#include "fovea/ops/attention_gradient.h"
#include "fovea/tensor/parallel.h"

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Results {
  Tensor y, lse, probs, dq, dk, dv, dbias;
};

Results run(const Attention& a, const Attention::In<Tensor>& in, const Tensor& dy,
            const Tensor& dlse) {
  const auto out = eval::attention(in, a, {true, true, false, true});
  const auto d = eval::apply(AttentionGradient{a}, {.q = in.q,
                                                    .k = in.k,
                                                    .v = in.v,
                                                    .mask = in.mask,
                                                    .bias = in.bias,
                                                    .key_lengths = in.key_lengths,
                                                    .y = out.y,
                                                    .lse = out.lse,
                                                    .dy = dy,
                                                    .dlse = dlse});
  return {out.y, out.lse, out.probs, d.dq, d.dk, d.dv, d.dbias};
}

// Row `i` (along the last axis but one, or the last of a vector).
bool row_equal(const Tensor& a, const Tensor& b, std::int64_t i) {
  return equal_bits(a.select(0, i).contiguous(), b.select(0, i).contiguous());
}
bool row_finite(const Tensor& t, std::int64_t i) {
  const Tensor row = t.select(0, i).astype(f64).contiguous();
  for (const double x : row.to_vector<double>()) {
    if (!std::isfinite(x)) return false;
  }
  return true;
}
bool row_zero(const Tensor& t, std::int64_t i) {
  const Tensor row = t.select(0, i).astype(f64).contiguous();
  for (const double x : row.to_vector<double>()) {
    if (x != 0) return false;
  }
  return true;
}

Tensor with_row(const Tensor& t, std::int64_t i, double value) {
  const Tensor copy = t.copy();
  const Tensor row = copy.select(0, i);
  row.copy_from(Tensor::full(t.dtype(), row.shape(), value));
  return copy;
}

// 20 queries and 20 keys, causal; bias too.
struct Fixture {
  explicit Fixture(DType dtype) {
    const auto random = [&](const Shape& shape, std::uint64_t stream) {
      return random_normal(dtype, shape, 0, 1, {30, stream});
    };
    in = {.q = random({20, 5}, 0), .k = random({20, 5}, 1), .v = random({20, 3}, 2)};
    in.bias = random({20, 20}, 3);
    dy = random({20, 3}, 4), dlse = random({20}, 5);
    clean = run(a, in, dy, dlse);
  }
  Attention a{.causal = true};
  Attention::In<Tensor> in;
  Tensor dy, dlse;
  Results clean;
};

constexpr std::int64_t kAt = 9;  // the key or query that is not finite

}  // namespace

TEST_CASE("attention: a key that is not finite reaches only who sees it") {
  for (const DType dtype : {f32, f64}) {
    for (const double bad : {kNan, kInfinity, -kInfinity}) {
      for (const bool in_k : {true, false}) {
        CAPTURE(bad);
        CAPTURE(in_k);
        Fixture f(dtype);
        Tensor& changed = in_k ? f.in.k : f.in.v;
        changed = with_row(changed, kAt, bad);
        const Results r = run(f.a, f.in, f.dy, f.dlse);
        for (std::int64_t i = 0; i < 20; ++i) {
          CAPTURE(i);
          if (i >= kAt) {
            CHECK_FALSE(row_finite(r.y, i));
            continue;
          }
          CHECK(row_equal(r.y, f.clean.y, i));
          CHECK(row_equal(r.lse, f.clean.lse, i));
          CHECK(row_equal(r.probs, f.clean.probs, i));
          CHECK(row_finite(r.dq, i));
          CHECK(difference(r.dq.select(0, i),
                           f.clean.dq.select(0, i).astype(f64).contiguous().to_vector<double>()) <
                1e-5);
          CHECK(row_equal(r.dbias, f.clean.dbias, i));
        }
      }
    }
  }
}

TEST_CASE("attention: a query or cotangent that is not finite reaches only keys that it sees") {
  for (const DType dtype : {f32, f64}) {
    for (const double bad : {kNan, kInfinity}) {
      for (const int which : {0, 1, 2}) {
        CAPTURE(bad);
        CAPTURE(which);
        Fixture f(dtype);
        Tensor& changed = which == 0 ? f.in.q : which == 1 ? f.dy : f.dlse;
        changed = with_row(changed, kAt, bad);
        const Results r = run(f.a, f.in, f.dy, f.dlse);
        for (std::int64_t i = 0; i < 20; ++i) {
          CAPTURE(i);
          if (i != kAt) {
            CHECK(row_equal(r.y, f.clean.y, i));
            CHECK(row_finite(r.dq, i));
            CHECK(row_equal(r.dbias, f.clean.dbias, i));
          }
          if (i > kAt) {  // keys that query kAt does not see
            CHECK(row_finite(r.dk, i));
            CHECK(row_finite(r.dv, i));
          }
        }
      }
    }
  }
}

TEST_CASE("attention: a query that sees nothing gives and sends exact zeros") {
  for (const DType dtype : {f32, f64}) {
    for (const bool by_bias : {false, true}) {
      Fixture f(dtype);
      f.a = {};
      if (by_bias) {
        f.in.bias = with_row(*f.in.bias, kAt, -kInfinity);
      } else {
        f.in.mask = with_row(Tensor::full(boolean, {20, 20}, 1), kAt, 0);
      }
      const Results clean = run(f.a, f.in, f.dy, f.dlse);
      f.in.q = with_row(f.in.q, kAt, kNan);
      f.dy = with_row(f.dy, kAt, kNan);
      f.dlse = with_row(f.dlse, kAt, kInfinity);
      const Results r = run(f.a, f.in, f.dy, f.dlse);
      CHECK(row_zero(r.y, kAt));
      CHECK(r.lse.select(0, kAt).astype(f64).item() == -kInfinity);
      CHECK(row_zero(r.probs, kAt));
      CHECK(row_zero(r.dq, kAt));
      CHECK(row_zero(r.dbias, kAt));
      for (std::int64_t j = 0; j < 20; ++j) {
        CAPTURE(j);
        CHECK(row_finite(r.dk, j));
        CHECK(row_finite(r.dv, j));
      }
      CHECK(difference(r.dk, clean.dk.astype(f64).to_vector<double>()) < 1e-5);
      CHECK(difference(r.dv, clean.dv.astype(f64).to_vector<double>()) < 1e-5);
    }
  }
}

TEST_CASE("attention: keys that nobody sees receive exact zeros, whatever they hold") {
  for (const double bad : {1.0, kNan, kInfinity}) {
    Fixture f(f32);
    f.in.k = with_row(f.in.k, kAt, bad);
    f.in.v = with_row(f.in.v, kAt, bad);
    const Tensor mask = Tensor::full(boolean, {20}, 1);
    mask.mutable_data<bool>()[kAt] = false;
    f.in.mask = mask;
    f.in.bias->select(1, kAt).copy_from(Tensor::full(f32, {20}, bad));
    const Results r = run({}, f.in, f.dy, f.dlse);
    CHECK(row_zero(r.dk, kAt));
    CHECK(row_zero(r.dv, kAt));
    CHECK(row_zero(r.dbias.transpose({1, 0}), kAt));
    for (std::int64_t i = 0; i < 20; ++i) {
      CHECK(row_finite(r.y, i));
      CHECK(row_finite(r.dq, i));
    }
  }
}

TEST_CASE("attention: a bias that is not finite, but hidden or not -inf") {
  Fixture f(f64);
  f.in.bias->select(0, 3).slice(0, 10).copy_from(Tensor::full(f64, {10}, kNan));  // hidden: causal
  const Results same = run(f.a, f.in, f.dy, f.dlse);
  CHECK(equal_bits(same.y, f.clean.y));
  CHECK(equal_bits(same.dbias, f.clean.dbias));
  f.in.bias->select(0, 15).slice(0, 2, 3).copy_from(Tensor::full(f64, {1}, kInfinity));
  const Results seen = run(f.a, f.in, f.dy, f.dlse);
  CHECK_FALSE(row_finite(seen.y, 15));
  CHECK(row_equal(seen.y, f.clean.y, 14));
}

TEST_CASE("attention: extents of 0") {
  const auto random = [](const Shape& shape) { return random_normal(f32, shape, 0, 1, {31, 0}); };
  const Attention::In<Tensor> no_keys{
      .q = random({2, 3, 4}), .k = random({2, 0, 4}), .v = random({2, 0, 5}), .bias = random({1})};
  const Results r = run({}, no_keys, random({2, 3, 5}), random({2, 3}));
  CHECK(largest(r.y.astype(f64).to_vector<double>()) == 0);
  for (const float x : r.lse.to_vector<float>())
    CHECK(x == -std::numeric_limits<float>::infinity());
  CHECK(largest(r.dq.astype(f64).to_vector<double>()) == 0);
  CHECK(r.dk.shape() == Shape{2, 0, 4});
  CHECK(r.dbias.item() == 0);

  const Attention::In<Tensor> no_queries{
      .q = random({2, 0, 4}), .k = random({2, 3, 4}), .v = random({2, 3, 5})};
  const Results s = run({}, no_queries, random({2, 0, 5}), random({2, 0}));
  CHECK(s.y.shape() == Shape{2, 0, 5});
  CHECK(largest(s.dk.astype(f64).to_vector<double>()) == 0);
  CHECK(largest(s.dv.astype(f64).to_vector<double>()) == 0);

  const int threads = num_threads();
  set_num_threads(1);  // so that nothing follows the scratch of one thread
  const Attention::In<Tensor> nothing{
      .q = random({0, 1}), .k = random({0, 1}), .v = random({0, 1}), .bias = random({1, 1})};
  CHECK(run({}, nothing, random({0, 1}), random({0})).dbias.item() == 0);
  set_num_threads(threads);

  for (const auto& [batch, heads, kv_heads] :
       {std::array{0, 2, 1}, std::array{2, 0, 0}, std::array{2, 0, 3}}) {
    const Attention::In<Tensor> empty{.q = random({batch, heads, 3, 4}),
                                      .k = random({batch, kv_heads, 6, 4}),
                                      .v = random({batch, kv_heads, 6, 0})};
    const Results t = run({}, empty, random({batch, heads, 3, 0}), random({batch, heads, 3}));
    CHECK(t.y.shape() == Shape{batch, heads, 3, 0});
    CHECK(largest(t.dk.astype(f64).to_vector<double>()) == 0);
  }
}

TEST_CASE("attention: an infinite product is neither capped nor hidden") {
  for (const double bad : {kInfinity, -kInfinity}) {
    for (const double softcap : {0.0, 2.0}) {
      CAPTURE(bad);
      CAPTURE(softcap);
      const Tensor one = Tensor::full(f64, {1, 1}, 1);
      const Attention::In<Tensor> in{Tensor::full(f64, {1, 1}, bad), one, one};
      const auto out = eval::attention(in, {.softcap = softcap}, {true, true, false, true});
      CHECK_FALSE(row_finite(out.y, 0));
      CHECK_FALSE(row_finite(out.probs, 0));
      const AttentionGradient gradient{{.softcap = softcap}};
      const AttentionGradient::In<Tensor> given{
          .q = in.q, .k = in.k, .v = in.v, .y = out.y, .lse = out.lse, .dy = one};
      CHECK_FALSE(row_finite(eval::apply(gradient, given, {false, false, true, false}).dv, 0));
    }
  }
}
