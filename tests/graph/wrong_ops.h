// Ops that are wrong in one way each, beside an honest one: what the laws must catch.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "fovea/ops/define.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea::wrong {

// y[i] = f(x[i]) for `count` elements of row-major memory that starts at x[0].
template <class F>
void map_elements(const Tensor& x, const Tensor& y, const F& f, std::int64_t count) {
  visit_dtype(x.dtype(), [&]<class T>(std::type_identity<T>) {
    if constexpr (std::is_floating_point_v<T>) {
      auto* out = y.mutable_data<T>();
      for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(f(x.data<T>()[i]));
    }
  });
}
template <class F>
void map_elements(const Tensor& x, const Tensor& y, const F& f) {
  map_elements(x, y, f, y.numel());
}

// y = factor x², all of it right. The others replace one member.
template <class Op>
struct Base {
  static constexpr std::string_view name = "wrong", doc = "y = factor x^2";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  double factor = 1;
  static constexpr std::tuple<Attribute<Op, double>> attributes{
      {"factor", &Base::factor, "factor of the result"}};

  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("wrong", "x is {}; f32 or f64 is required", in.x.dtype);
    return {in.x};
  }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(in.x.contiguous(), out.y,
                 [this]<class T>(T x) { return static_cast<T>(factor) * x * x; });
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {2 * factor * in.x * d.y};
  }
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>&, const In<Expr>& t) const {
    return {2 * factor * in.x * t.x};
  }
  static std::vector<Sample<Op>> samples() {
    Op scaled;
    scaled.factor = -1.5;
    return {{Op(), {arg::spread({3, 3})}}, {scaled, {arg::spread({2, 3})}, "scaled"}};
  }
  static std::vector<Reject<Op>> rejects() { return {{Op(), {arg::bernoulli({2})}, "bool"}}; }
};

struct Honest : Base<Honest> {};

// Computes in f32, whatever its input is.
struct AccumulatesInF32 : Base<AccumulatesInF32> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(in.x.contiguous(), out.y, [this](double x) {
      const auto narrow = static_cast<float>(x);
      return static_cast<float>(factor) * narrow * narrow;
    });
  }
};

struct Throws : Base<Throws> {
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
    if (factor != 1) throw std::runtime_error("boom");
    Base::forward(context, in, out);
  }
};

struct MisspeltInfer {
  static constexpr std::string_view name = "misspelt", doc = "y = x";
  template <class T>
  using In = X<T>;
  template <class T>
  using Out = Y<T>;
  Out<TensorSpec> infers(const In<TensorSpec>& in) const { return {in.x}; }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const { out.y.copy_from(in.x); }
};

// Law 1.
struct LastNotFilled : Base<LastNotFilled> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const std::int64_t n = out.y.numel() - 1;
    map_elements(in.x.contiguous(), out.y.as_strided({n}, {1}), [](auto x) { return x * x; });
  }
};
struct PromisesNarrow : Base<PromisesNarrow> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const { return {{f32, in.x.shape}}; }
};
struct PromisesLess : Base<PromisesLess> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const { return {{in.x.dtype, {2}}}; }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const { out.y.copy_from(in.x); }
};
// The last extent of x less one, or the shape of another input: forward writes more.
struct WritesBeyond : Base<WritesBeyond> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("wrong", "x is {}; f32 or f64 is required", in.x.dtype);
    return {{in.x.dtype, {in.x.shape[0], in.x.shape[-1] - 1}}};
  }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(
        in.x.contiguous(), out.y, [](auto x) { return x * x; }, in.x.numel());
  }
};
struct WritesFarBeyond : Base<WritesFarBeyond> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("wrong", "x is {}; f32 or f64 is required", in.x.dtype);
    return {{in.x.dtype, {1}}};
  }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(
        in.x.contiguous(), out.y, [](auto x) { return x * x; }, in.x.numel());
  }
  static std::vector<Sample<WritesFarBeyond>> samples() {
    return {{{}, {arg::normal({16, 30})}}, {{}, {arg::normal({3})}}};
  }
};
struct ReadsAfterWriting : Base<ReadsAfterWriting> {
  static constexpr bool overwrites = true;
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(in.x.contiguous(), out.y, [](auto x) { return x; });
    map_elements(in.x.contiguous(), out.y, [](auto x) { return x * x; });
    if (out.y.raw() == in.x.raw()) out.y.copy_from(Tensor::zeros(out.y.dtype(), out.y.shape()));
  }
};

// Law 2.
struct RefusesNothing : Base<RefusesNothing> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const { return {in.x}; }
};
struct RefusesWithoutReason : Base<RefusesWithoutReason> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("wrong", "no");
    return {in.x};
  }
};
struct RefusesAnonymously : Base<RefusesAnonymously> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("somebody", "bool");
    return {in.x};
  }
};
struct ThrowsOther : Base<ThrowsOther> {
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) throw std::runtime_error("wrong: bool");
    return {in.x};
  }
};

// Law 3.
struct GradientOfOtherShape : Base<GradientOfOtherShape> {
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {sum(d.y)}; }
};

// Law 4.
struct ZeroGradient : Base<ZeroGradient> {
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {0 * d.y}; }
};
struct NoGradient : Base<NoGradient> {
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>&) const { return {}; }
};
struct WrongSign : Base<WrongSign> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {-2 * factor * in.x * d.y};
  }
};
struct SlightlyWrong : Base<SlightlyWrong> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {(2 + 1e-6) * factor * in.x * d.y};
  }
};
struct Transposed : Base<Transposed> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr dx = 2 * factor * in.x * d.y;
    const bool square = dx.shape()[0] == dx.shape()[1];
    return {square ? transpose(dx, {.perm = {1, 0}}) : dx};
  }
};
struct ForgetsFactor : Base<ForgetsFactor> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {2 * in.x * d.y};
  }
};
struct WrongInLastRow : Base<WrongInLastRow> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const std::int64_t rows = in.x.shape()[0];
    std::vector<double> right(static_cast<std::size_t>(rows), 2);
    right.back() = 2.01;
    const Tensor factors = Tensor::from(right, {rows, 1}).astype(in.x.dtype());
    return {constant(factors) * factor * in.x * d.y};
  }
};
struct SeesNothing : Base<SeesNothing> {
  void forward(Context&, const In<Tensor>&, Out<Tensor>& out) const {
    out.y.copy_from(Tensor::full(out.y.dtype(), out.y.shape(), 1));
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const { return {0 * d.y}; }
  Out<Expr> jvp(const In<Expr>&, const Out<Expr>&, const In<Expr>&) const { return {}; }
};

// y = x s + x, s along the last axis of x.
template <class Op>
struct RowsBase {
  static constexpr std::string_view name = "wrong_rows", doc = "y = x s + x";
  template <class T>
  struct In {
    T x, s;
    static constexpr std::array<std::string_view, 2> names{"x", "s"};
  };
  template <class T>
  using Out = Y<T>;
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (in.s.shape.rank() != 1 || in.x.shape[-1] != in.s.shape[0]) fail("wrong_rows", "extents");
    return {in.x};
  }
  Out<Expr> decomposition(const In<Expr>& in) const { return {in.x * in.s + in.x}; }
  static std::vector<Sample<Op>> samples() {
    return {{Op(), {arg::normal({2, 3}), arg::normal({3})}},
            {Op(), {arg::normal({3}), arg::normal({3})}, "one row"}};
  }
  static std::vector<Reject<Op>> rejects() {
    return {{Op(), {arg::normal({2, 3}), arg::normal({2})}, "extents"}};
  }
  static Expr over_rows(const Expr& d) { return d.rank() == 2 ? sum(d, {.axes = 0}) : d; }
};
struct HonestRows : RowsBase<HonestRows> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {d.y * in.s + d.y, over_rows(d.y * in.x)};
  }
};
struct MissingTerm : RowsBase<MissingTerm> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {d.y * in.s, over_rows(d.y * in.x)};
  }
};
struct MeanForSum : RowsBase<MeanForSum> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr dx = d.y * in.x;
    return {d.y * in.s + d.y, dx.rank() == 2 ? mean(dx, {.axes = 0}) : dx};
  }
};
struct NotReduced : RowsBase<NotReduced> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {d.y * in.s + d.y, d.y * in.x};
  }
};
// Law 12: takes equal inputs for one.
struct SharedInputOnce : RowsBase<SharedInputOnce> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {d.y * in.s + d.y, same(in.x, in.s) ? Expr() : over_rows(d.y * in.x)};
  }
};

// Law 4, each output alone: the gradient of z stands in that of y.
struct NeedsBoth {
  static constexpr std::string_view name = "wrong_pair", doc = "y = 2 x, z = 3 x";
  template <class T>
  using In = X<T>;
  template <class T>
  struct Out {
    T y, z;
    static constexpr std::array<std::string_view, 2> names{"y", "z"};
  };
  static constexpr Linear linear = Linear::jointly;
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.x.dtype)) fail("wrong_pair", "bool");
    return {in.x, in.x};
  }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const Tensor x = in.x.contiguous();
    if (out.y) map_elements(x, out.y, [](auto v) { return 2 * v; });
    if (out.z) map_elements(x, out.z, [](auto v) { return 3 * v; });
  }
  In<Expr> vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
    if (!d.y) return {};
    return {d.z ? 2 * d.y + 3 * d.z : 2 * d.y};
  }
  static std::vector<Sample<NeedsBoth>> samples() {
    return {{{}, {arg::normal({2})}}, {{}, {arg::normal({3})}}};
  }
  static std::vector<Reject<NeedsBoth>> rejects() { return {{{}, {arg::bernoulli({2})}, "bool"}}; }
};

// Law 5.
struct NonlinearGradient : Base<NonlinearGradient> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {2 * factor * in.x * d.y + 1e-7 * d.y * d.y};
  }
};
struct NanTimesZero : Base<NanTimesZero> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>& out, const Out<Expr>& d) const {
    return {d.y * (2 * out.y / in.x)};
  }
  static std::vector<Sample<NanTimesZero>> samples() {
    return {{{}, {arg::values({0, 1}, {2})}}, {{}, {arg::values({-1, 0}, {2})}}};
  }
};

// Law 6: right itself, but what it is made of is not.
struct WrongSecond : Base<WrongSecond> {
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    const Expr x2 = apply(ForgetsFactor{{.factor = 0.5}}, {in.x}, Location()).y;
    return {4 * factor * x2 / in.x * d.y};
  }
};

// Law 7.
struct IgnoresStrides : Base<IgnoresStrides> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const auto f = [this](auto x) { return static_cast<decltype(x)>(factor) * x * x; };
    // Row-major from x[0], as far as that stays inside the view's own memory.
    std::int64_t reach = 1;
    for (std::int64_t axis = 0; axis < in.x.rank(); ++axis) {
      const std::int64_t stride = in.x.strides()[static_cast<std::size_t>(axis)];
      reach += std::max<std::int64_t>(0, stride) * (in.x.shape()[axis] - 1);
    }
    const bool inside = reach >= in.x.numel();
    map_elements(inside ? in.x : in.x.contiguous(), out.y, f);
  }
};

// Law 8.
struct ChangesInput : Base<ChangesInput> {
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
    Base::forward(context, in, out);
    map_elements(in.x, in.x, [](auto x) { return -x; });
  }
};
// What it leaves behind gives the same result again.
struct MakesInputPositive : Base<MakesInputPositive> {
  void forward(Context& context, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(in.x, in.x, [](auto x) { return x < 0 ? -x : x; });
    Base::forward(context, in, out);
  }
};
struct Forgetful : Base<Forgetful> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    static std::atomic<int> calls = 0;
    const double drift = 1e-15 * (++calls % 7);
    map_elements(in.x.contiguous(), out.y, [&](double x) { return x * x + drift * x; });
  }
};
struct CountsThreads : Base<CountsThreads> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const double noise = 1 + 1e-7 * num_threads();
    map_elements(in.x.contiguous(), out.y, [&](double x) { return x * x * noise; });
  }
};

// Law 9.
struct RoughInF32 : Base<RoughInF32> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    map_elements(in.x.contiguous(), out.y, [this]<class T>(T x) {
      const T rough = std::is_same_v<T, float> ? T(1.0001) : T(1);
      return static_cast<T>(factor) * x * x * rough;
    });
  }
};

// Law 10.
struct DependsOnIsa : Base<DependsOnIsa> {
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const bool scalar = kernels::isa_in_use() == kernels::Isa::scalar;
    map_elements(in.x.contiguous(), out.y, [&](double x) { return scalar ? x * x : 1.01 * x * x; });
  }
};

// Law 11.
struct LosesAttribute : Base<LosesAttribute> {
  static constexpr std::tuple<> attributes{};
};

// Law 13.
struct WrongForwardMode : Base<WrongForwardMode> {
  Out<Expr> jvp(const In<Expr>& in, const Out<Expr>&, const In<Expr>& t) const {
    return {factor * in.x * t.x};
  }
};
struct NotLinear : Base<NotLinear> {
  static constexpr Linear linear = Linear::jointly;
};
// Linear in each input, not in both together; its own gradient, so that law 6 sees it as well.
struct NotJointlyLinear {
  static constexpr std::string_view name = "wrong_product", doc = "y = a b";
  template <class T>
  struct In {
    T a, b;
    static constexpr std::array<std::string_view, 2> names{"a", "b"};
  };
  template <class T>
  using Out = Y<T>;
  static constexpr Linear linear = Linear::jointly;
  Out<TensorSpec> infer(const In<TensorSpec>& in) const {
    if (!is_float(in.a.dtype) || in.a != in.b) fail("wrong_product", "bool");
    return {in.a};
  }
  void forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
    const Tensor b = in.b.contiguous();
    std::int64_t i = 0;
    map_elements(in.a.contiguous(), out.y,
                 [&](auto a) { return a * b.as_strided({}, {}, i++).item(); });
  }
  In<Expr> vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
    return {apply(*this, {d.y, in.b}, Location()).y, apply(*this, {in.a, d.y}, Location()).y};
  }
  static std::vector<Sample<NotJointlyLinear>> samples() {
    return {{{}, {arg::normal({2}), arg::normal({2})}}, {{}, {arg::normal({3}), arg::normal({3})}}};
  }
  static std::vector<Reject<NotJointlyLinear>> rejects() {
    return {{{}, {arg::bernoulli({2}), arg::bernoulli({2})}, "bool"}};
  }
};
struct WrongDecomposition : Base<WrongDecomposition> {
  Out<Expr> decomposition(const In<Expr>& in) const { return {in.x * in.x}; }
};
struct DecompositionOfOtherShape : Base<DecompositionOfOtherShape> {
  Out<Expr> decomposition(const In<Expr>& in) const { return {sum(in.x)}; }
};

// Law 14.
struct NoDoc : Base<NoDoc> {
  static constexpr std::string_view doc = "";
};
struct NoHelp : Base<NoHelp> {
  static constexpr std::tuple<Attribute<NoHelp, double>> attributes{{"factor", &Base::factor, ""}};
};
struct OneSample : Base<OneSample> {
  static std::vector<Sample<OneSample>> samples() { return {{{}, {arg::spread({3})}}}; }
};
struct NoRejects : Base<NoRejects> {
  static std::vector<Reject<NoRejects>> rejects() { return {}; }
};

}  // namespace fovea::wrong
