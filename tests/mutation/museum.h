// A small museum: gradient bugs that other projects shipped, made again as Fovea ops. Values are
// right (each op has a decomposition), the rule is wrong as it was there. All must be caught.
#pragma once

#include <array>
#include <string_view>
#include <tuple>
#include <vector>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/ops/softmax.h"

namespace fovea::museum {

inline Expr matrix(const std::vector<double>& values, std::int64_t rows, std::int64_t columns) {
  return constant(Tensor::from(values, {rows, columns}));
}
inline Expr mean_of_rows(const Expr& x) { return mean(x, {.axes = -1, .keep_dims = true}); }

// The vector A x, for a matrix A.
inline Expr times_vector(const Expr& a, const Expr& x) {
  return reshape(matmul(a, reshape(x, {.shape = {x.shape()[0], 1}})), {.shape = {a.shape()[0]}});
}

/// What all exhibits have. `Self::samples` are the calls that showed the bug.
template <class Self>
struct Exhibit {
  static std::vector<Reject<Self>> rejects() { return {}; }
};

template <class T>
struct XWeight {
  T x, weight;
  static constexpr std::array<std::string_view, 2> names{"x", "weight"};
};

/// Repeated indices: the gradient is written, not added up.
struct Gather : Exhibit<Gather> {
  static constexpr std::string_view name = "gather_overwrites", doc = "y = x[indices]",
                                    source = "https://github.com/pytorch/pytorch/issues/1631";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  std::vector<std::int64_t> indices = {0, 0};
  static constexpr std::tuple attributes{Attribute{"indices", &Gather::indices, "positions"}};

  // Row r has a 1 at column c if x[r] is read for y[c]; with `last`, only for the last such c.
  Expr readers(std::int64_t n, bool last) const {
    const auto count = static_cast<std::int64_t>(indices.size());
    std::vector<double> ones(static_cast<std::size_t>(n * count), 0);
    for (std::int64_t c = 0; c < count; ++c) {
      const std::int64_t row = indices[static_cast<std::size_t>(c)] * count;
      if (last) std::fill_n(ones.begin() + row, count, 0.0);
      ones[static_cast<std::size_t>(row + c)] = 1;
    }
    return matrix(ones, n, count);
  }
  Out<Expr> decomposition(const In<Expr>& in) const {
    return {times_vector(transpose(readers(in.x.shape()[0], false)), in.x)};
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {times_vector(readers(in.x.shape()[0], true), d.y)};
  }
  static std::vector<Sample<Gather>> samples() { return {{{}, {arg::normal({1})}}}; }
};

/// A limit of 0: the gradient is that of leaving x as it is.
struct Renorm : Exhibit<Renorm> {
  static constexpr std::string_view name = "renorm", doc = "y = x, scaled down to norm `limit`",
                                    source = "https://github.com/pytorch/pytorch/issues/80804";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  double limit = 0;
  static constexpr std::tuple attributes{Attribute{"limit", &Renorm::limit, "largest norm"}};

  static Expr norm(const Expr& x) { return sqrt(sum(square(x), {.axes = 0, .keep_dims = true})); }
  Out<Expr> decomposition(const In<Expr>& in) const {
    const Expr n = norm(in.x);
    return {in.x * where(greater(n, limit), limit / (n + 1e-7), 1)};
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {d.y}; }
  static std::vector<Sample<Renorm>> samples() {
    return {{{}, {arg::values({0.1, 0, 0, 0}, {2, 2})}}};
  }
};

/// The gradient of a scalar that is added to a matrix: the mean in place of the sum.
struct Add1 : Exhibit<Add1> {
  static constexpr std::string_view name = "add1", doc = "y = a + b, b a scalar",
                                    source = "ggml, ggml.c, GGML_OP_ADD1 of the backward pass";
  template <class T>
  using In = AB<T>;
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const { return {in.a + in.b}; }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
    return {d.y, mean(d.y)};
  }
  static std::vector<Sample<Add1>> samples() {
    return {{{}, {arg::normal({2, 3}), arg::normal({})}}};
  }
};

/// The softmax is added to the cotangent.
struct LogSoftmaxPlus : Exhibit<LogSoftmaxPlus> {
  static constexpr std::string_view name = "log_softmax_plus", doc = "y = log softmax(x)",
                                    source = "https://github.com/mlpack/mlpack/issues/2360";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const { return {log_softmax(in.x)}; }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>& out, const Out<Expr>& d) const {
    return {exp(out.y) + d.y};
  }
  static std::vector<Sample<LogSoftmaxPlus>> samples() {
    return {{{}, {arg::values({0.1, 0.9}, {2})}}};
  }
};

/// Zeros for the additive mask of attention, which has a gradient.
struct MaskedAttention : Exhibit<MaskedAttention> {
  static constexpr std::string_view name = "mask_without_gradient",
                                    doc = "y = softmax(scores + mask) v",
                                    source = "https://github.com/ml-explore/mlx/pull/2909";
  template <class T>
  struct In {
    T scores, mask, v;
    static constexpr std::array<std::string_view, 3> names{"scores", "mask", "v"};
  };
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const {
    return {matmul(softmax(in.scores + in.mask), in.v)};
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr p = softmax(in.scores + in.mask);
    const Expr dp = matmul(d.y, in.v, {.transpose_b = true});
    const Expr ds = p * (dp - sum(dp * p, {.axes = -1, .keep_dims = true}));
    return {ds, 0 * ds, matmul(p, d.y, {.transpose_a = true})};
  }
  static std::vector<Sample<MaskedAttention>> samples() {
    return {{{}, {arg::normal({3, 4}), arg::normal({3, 4}), arg::normal({4, 2})}}};
  }
};

/// Division by x, and 0 where that is not possible.
struct CumProd : Exhibit<CumProd> {
  static constexpr std::string_view name = "cumprod", doc = "y[i] = x[0] ... x[i]",
                                    source =
                                        "https://github.com/tensorflow/tensorflow/issues/119430";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const {
    std::vector<Expr> products;
    for (std::int64_t i = 0; i < in.x.shape()[0]; ++i) {
      const Expr next = slice(in.x, {.axis = 0, .start = i, .end = i + 1});
      products.push_back(i == 0 ? next : products.back() * next);
    }
    return {concat(products)};
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
    const std::int64_t n = in.x.shape()[0];
    std::vector<double> upper;
    for (std::int64_t i = 0; i < n * n; ++i) upper.push_back(i % n >= i / n ? 1 : 0);
    const Expr later = times_vector(matrix(upper, n, n), d.y * out.y);
    return {where(equal(in.x, 0), 0, later / in.x)};
  }
  static std::vector<Sample<CumProd>> samples() {
    return {{{}, {arg::values({2, 3, 4}, {3})}}, {{}, {arg::values({2, 3, 0}, {3})}, "a zero"}};
  }
};

inline Expr normalized(const Expr& x) {
  const Expr c = x - mean_of_rows(x);
  return c * rsqrt(mean_of_rows(square(c)) + 1e-5);
}
inline Expr normalized_gradient(const Expr& x, const Expr& g) {
  const Expr c = x - mean_of_rows(x), r = rsqrt(mean_of_rows(square(c)) + 1e-5), n = c * r;
  return r * (g - mean_of_rows(g) - n * mean_of_rows(g * n));
}

/// The weight's gradient has the weight where the normalised x should be.
struct LayerNormWeight : Exhibit<LayerNormWeight> {
  static constexpr std::string_view name = "layer_norm_weight", doc = "y = weight (x - mean) / sd",
                                    source = "https://github.com/pytorch/pytorch/pull/18233";
  template <class T>
  using In = XWeight<T>;
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const { return {in.weight * normalized(in.x)}; }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {normalized_gradient(in.x, d.y * in.weight), sum(d.y * in.weight, {.axes = 0})};
  }
  static std::vector<Sample<LayerNormWeight>> samples() {
    return {{{}, {arg::normal({3, 4}), arg::normal({4})}}};
  }
};

/// The second term has the weight twice. It is right for a weight of ones.
struct RmsNorm : Exhibit<RmsNorm> {
  static constexpr std::string_view name = "rms_norm_weight_twice", doc = "y = weight x / rms(x)",
                                    source = "https://github.com/NVIDIA/Megatron-LM/pull/6859";
  template <class T>
  using In = XWeight<T>;
  template <class T>
  using Out = Y<T>;
  static Expr inverse(const Expr& x) { return rsqrt(mean_of_rows(square(x)) + 1e-6); }
  Out<Expr> decomposition(const In<Expr>& in) const { return {in.weight * in.x * inverse(in.x)}; }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr r = inverse(in.x);
    const Expr mean_term = mean_of_rows(d.y * in.x * in.weight);
    return {d.y * in.weight * r - in.weight * r * r * r * in.x * mean_term,
            sum(d.y * in.x * r, {.axes = 0})};
  }
  static std::vector<Sample<RmsNorm>> samples() {
    return {{{}, {arg::normal({3, 4}), arg::values({1, 1, 1, 1}, {4})}, "ones"},
            {{}, {arg::normal({3, 4}), arg::normal({4})}}};
  }
};

/// Backward takes every input for a matrix: statistics over all axes but the first.
struct LayerNorm2d : Exhibit<LayerNorm2d> {
  static constexpr std::string_view name = "layer_norm_2d", doc = "y = (x - mean) / sd",
                                    source = "https://github.com/flagos-ai/FlagGems/issues/5392";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Out<Expr> decomposition(const In<Expr>& in) const { return {normalized(in.x)}; }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Shape& shape = in.x.shape();
    const Reshape rows{.shape = {shape[0], shape.numel() / shape[0]}};
    const Expr dx = normalized_gradient(reshape(in.x, rows), reshape(d.y, rows));
    return {reshape(dx, {.shape = {shape.begin(), shape.end()}})};
  }
  static std::vector<Sample<LayerNorm2d>> samples() {
    return {{{}, {arg::normal({3, 4})}}, {{}, {arg::normal({2, 3, 4})}, "rank 3"}};
  }
};

/// Heads of a group that stand apart: divided by the size of a group in place of the number of
/// groups. It is right where the two are equal.
struct GroupedHeads : Exhibit<GroupedHeads> {
  static constexpr std::string_view
      name = "grouped_heads",
      doc = "y[h] = q[h] k[h mod groups]",
      source = "https://github.com/XunhaoLai/native-sparse-attention-triton/issues/27";
  template <class T>
  struct In {
    T q, k;
    static constexpr std::array<std::string_view, 2> names{"q", "k"};
  };
  template <class T>
  using Out = Y<T>;
  // (groups, heads): which heads use a group, by `divisor`.
  static Expr users(const In<Expr>& in, std::int64_t divisor) {
    const std::int64_t heads = in.q.shape()[0], groups = in.k.shape()[0];
    std::vector<double> ones;
    for (std::int64_t i = 0; i < groups * heads; ++i) {
      ones.push_back(i % heads % divisor == i / heads ? 1 : 0);
    }
    return matrix(ones, groups, heads);
  }
  Out<Expr> decomposition(const In<Expr>& in) const {
    return {in.q * matmul(users(in, in.k.shape()[0]), in.k, {.transpose_a = true})};
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const std::int64_t groups = in.k.shape()[0], size = in.q.shape()[0] / groups;
    const Expr k_of_head = matmul(users(in, groups), in.k, {.transpose_a = true});
    return {d.y * k_of_head, matmul(users(in, size), d.y * in.q)};
  }
  static std::vector<Sample<GroupedHeads>> samples() {
    return {{{}, {arg::normal({4, 3}), arg::normal({2, 3})}, "two groups of two"},
            {{}, {arg::normal({6, 3}), arg::normal({2, 3})}, "two groups of three"}};
  }
};

/// The cotangent of the sum goes through the gradient of the norm as well.
struct PreNorm : Exhibit<PreNorm> {
  static constexpr std::string_view name = "pre_norm", doc = "s = x + r, y = (s - mean) / sd",
                                    source = "https://github.com/Dao-AILab/quack/pull/53";
  template <class T>
  struct In {
    T x, r;
    static constexpr std::array<std::string_view, 2> names{"x", "r"};
  };
  template <class T>
  struct Out {
    T s, y;
    static constexpr std::array<std::string_view, 2> names{"s", "y"};
  };
  Out<Expr> decomposition(const In<Expr>& in) const {
    return {in.x + in.r, normalized(in.x + in.r)};
  }
  bool vjp_covers(const Out<Expr>& d) const { return d.s && d.y; }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>& out, const Out<Expr>& d) const {
    const Expr ds = normalized_gradient(out.s, d.s + d.y);
    return {ds, ds};
  }
  static std::vector<Sample<PreNorm>> samples() {
    return {{{}, {arg::normal({2, 4}), arg::normal({2, 4})}}};
  }
};

/// Two zeros or more: the gradient is 0, and said by a constant, so that its own gradient is lost.
struct Prod : Exhibit<Prod> {
  static constexpr std::string_view name = "prod", doc = "y = x[0] ... x[n-1]",
                                    source = "https://github.com/pytorch/pytorch/issues/106789";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  static Expr product(const Expr& x, std::int64_t without) {
    Expr y;
    for (std::int64_t i = 0; i < x.shape()[0]; ++i) {
      if (i == without) continue;
      const Expr next = select(x, {.axis = 0, .index = i});
      y = y ? y * next : next;
    }
    return y;
  }
  Out<Expr> decomposition(const In<Expr>& in) const { return {product(in.x, -1)}; }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    std::vector<Expr> others;
    for (std::int64_t i = 0; i < in.x.shape()[0]; ++i) {
      others.push_back(reshape(product(in.x, i), {.shape = {1}}));
    }
    const Expr zeros = sum(where(equal(in.x, 0), constant(f64, 1), constant(f64, 0)));
    return {where(greater_equal(zeros, 2), 0, concat(others) * d.y)};
  }
  static std::vector<Sample<Prod>> samples() { return {{{}, {arg::values({2, 3, 0, 0}, {4})}}}; }
};

}  // namespace fovea::museum
