#include "fovea/graph/law_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fovea/graph/loss.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr double kRoundings = 64;
constexpr int kSignPatterns = 16;
constexpr double kRelativeStep = 0x1p-26;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 64;
constexpr unsigned char kGuardByte = 0x6b;

// x_i (1 ± step), signs by `key`.
Tensor jostled(const Tensor& x, Key key) {
  if (!x || x.dtype() != f64) return x;
  const Tensor moved = x.copy();
  const Tensor up = random_bernoulli(x.shape(), 0.5, key);
  auto* v = moved.mutable_data<double>();
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    if (std::isfinite(v[i])) v[i] *= up.data<bool>()[i] ? 1 + kRelativeStep : 1 - kRelativeStep;
  }
  return moved;
}

}  // namespace

SampleRun::SampleRun(const OpType& type, const AnySample& sample, std::uint64_t seed,
                     std::size_t index)
    : type_(type), op_(sample.op), seed_(seed) {
  for (std::size_t i = 0; i < sample.in.size(); ++i) {
    const Key key = {seed, 64 * index + i};
    wide_.push_back(make_tensor(sample.in[i], f64, key));
    narrow_.push_back(make_tensor(sample.in[i], f32, key));
    const Tensor& x = wide_.back();
    in_.push_back(x ? input("", x.dtype(), x.shape()) : Expr());
    if (!x) continue;
    bindings_.emplace_back(in_.back(), x);
    if (is_float(x.dtype())) wrt_.push_back(in_.back());
  }
  wide_results_ = forward(wide_);
  narrow_results_ = forward(narrow_);
  out_ = apply(op_, in_, Location());
  choose_outputs();
}

void SampleRun::choose_outputs() {
  std::vector<Expr> d(out_.size());
  for (std::size_t o = 0; o < out_.size(); ++o) {
    if (!is_float(out_[o].dtype())) continue;
    d[o] = input("", out_[o].dtype(), out_[o].shape());
    if (type_.has_vjp && !op_->vjp_covers(d)) {
      d[o] = Expr();
      continue;
    }
    float_out_.push_back(out_[o]);
    cotangents_.push_back(d[o]);
  }
}

std::vector<Tensor> guarded_forward(const Op& op, const std::vector<Tensor>& values, int pattern,
                                    std::int64_t only) {
  std::vector<Op::MaybeSpec> specs;
  std::vector<Tensor> before;
  for (const Tensor& x : values) {
    specs.push_back(x ? Op::MaybeSpec(spec_of(x)) : std::nullopt);
    before.push_back(x ? x.copy() : x);
  }
  std::vector<GuardedOutput> memory;
  std::vector<Tensor> out;
  for (const TensorSpec& spec : op.infer(specs)) {
    const bool wanted = only < 0 || only == std::ssize(memory);
    memory.emplace_back(spec, pattern);
    out.push_back(wanted ? memory.back().tensor() : Tensor());
  }
  Context context;
  op.forward(context, values, out);
  for (std::size_t o = 0; o < out.size(); ++o) {
    if (memory[o].overrun()) {
      throw Trespass(1, format("output {} is written beyond its end; infer promised {}", o,
                               to_string(spec_of(memory[o].tensor()))));
    }
    out[o] = out[o] ? memory[o].tensor().copy() : Tensor();
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (auto text = difference(values[i], before[i])) {
      throw Trespass(8, format("input {} was changed at {}", i, *text));
    }
  }
  return out;
}

bool SampleRun::differentiable() const {
  return (type_.has_vjp || type_.has_decomposition) && !wrt_.empty() && !float_out_.empty();
}

std::vector<Binding> SampleRun::with_cotangents(std::uint64_t stream, double factor) const {
  std::vector<Binding> all = bindings_;
  for (std::size_t k = 0; k < float_out_.size(); ++k) {
    const Tensor y = wide_results_[static_cast<std::size_t>(float_out_[k].output())].astype(f64);
    const Tensor c = random_normal(f64, y.shape(), 0, 1, {~seed_, 64 * stream + k});
    auto* weight = c.mutable_data<double>();
    for (std::int64_t i = 0; i < c.numel(); ++i) {
      weight[i] = std::isfinite(y.data<double>()[i]) ? factor * weight[i] : 0;
    }
    all.emplace_back(cotangents_[k], c.astype(cotangents_[k].dtype()));
  }
  return all;
}

const std::vector<std::vector<double>>& SampleRun::conditions() const {
  if (!conditions_.empty()) return conditions_;
  for (const Tensor& y : wide_results_) {
    conditions_.emplace_back(static_cast<std::size_t>(y.numel()), 0.0);
  }
  for (int pattern = 0; pattern < kSignPatterns; ++pattern) {
    std::vector<Tensor> moved;
    for (const Tensor& x : wide_) {
      const auto stream = static_cast<std::uint64_t>(pattern) * 64 + moved.size();
      moved.push_back(jostled(x, {seed_ ^ 0x5bd1e995, stream}));
    }
    const std::vector<Tensor> results = forward(moved);
    for (std::size_t o = 0; o < results.size(); ++o) {
      const Tensor now = results[o].astype(f64), before = wide_results_[o].astype(f64);
      for (std::size_t i = 0; i < conditions_[o].size(); ++i) {
        const double change = std::abs(now.data<double>()[i] - before.data<double>()[i]);
        if (std::isfinite(change)) {
          conditions_[o][i] = std::max(conditions_[o][i], change / kRelativeStep);
        }
      }
    }
  }
  return conditions_;
}

std::vector<double> SampleRun::rounding(std::size_t o, DType real) const {
  const double epsilon =
      real == f32 ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
  const double tiny =
      real == f32 ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min();
  const Tensor y = wide_results_[o].astype(f64);
  std::vector<double> bounds = conditions()[o];
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    const double value = std::abs(y.data<double>()[i]);
    bounds[i] = kRoundings * (epsilon * (std::isfinite(value) ? value + bounds[i] : 0) + tiny);
  }
  return bounds;
}

GuardedOutput::GuardedOutput(const TensorSpec& spec, int pattern)
    : bytes_(static_cast<std::size_t>(spec.shape.numel()) * size_of(spec.dtype)),
      // Twice the elements in the widest dtype do no harm.
      guard_(kPage + (16 * static_cast<std::size_t>(spec.shape.numel()) + kAlignment - 1) /
                         kAlignment * kAlignment),
      memory_(Tensor::zeros(boolean, {static_cast<std::int64_t>(bytes_ + 2 * guard_)})) {
  std::memset(guard(0), kGuardByte, guard_);
  std::memset(guard(1), kGuardByte, guard_);
  tensor_ = Tensor::borrow(guard(0) + guard_, spec.dtype, spec.shape, {},
                           std::make_shared<Tensor>(memory_));
  const int byte = spec.dtype == boolean ? pattern : pattern == 0 ? 0xff : 0x25;
  std::memset(tensor_.mutable_raw(), byte, bytes_);
}

std::byte* GuardedOutput::guard(int side) const {
  auto* begin = static_cast<std::byte*>(memory_.mutable_raw());
  return side == 0 ? begin : begin + guard_ + bytes_;
}

bool GuardedOutput::overrun() const {
  const auto touched = [this](const std::byte* p) {
    return std::any_of(p, p + guard_, [](std::byte b) { return b != std::byte{kGuardByte}; });
  };
  return touched(guard(0)) || touched(guard(1));
}

std::optional<std::string> difference(const Tensor& given, const Tensor& expected) {
  if (given.defined() != expected.defined()) {
    return given ? "a result where none was wanted" : "no result";
  }
  if (!given) return {};
  if (spec_of(given) != spec_of(expected)) {
    return format("{} where {} is required", to_string(spec_of(given)),
                  to_string(spec_of(expected)));
  }
  if (equal_bits(given, expected)) return {};
  const Tensor a = given.contiguous(), b = expected.contiguous();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const auto element = [i](const Tensor& t) { return t.as_strided({}, {}, i); };
    if (equal_bits(element(a), element(b))) continue;
    return format("{}: {:.17g}, required {:.17g}", index_text(a.shape(), i), element(a).item(),
                  element(b).item());
  }
  return {};
}

std::optional<std::string> difference(const std::vector<Tensor>& given,
                                      const std::vector<Tensor>& expected) {
  if (given.size() != expected.size()) {
    return format("{} outputs, required {}", given.size(), expected.size());
  }
  for (std::size_t o = 0; o < given.size(); ++o) {
    if (auto text = difference(given[o], expected[o])) return format("output {} at {}", o, *text);
  }
  return {};
}

std::optional<std::string> difference(const Tensor& given, const Tensor& expected,
                                      const std::vector<double>& bounds) {
  if (given.shape() != expected.shape()) {
    return format("shape {}, required {}", given.shape(), expected.shape());
  }
  const Tensor a = given.astype(f64), b = expected.astype(f64);
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double x = a.data<double>()[i], y = b.data<double>()[i];
    if (same_number(x, y)) continue;
    const double bound = bounds.size() == 1 ? bounds[0] : bounds[static_cast<std::size_t>(i)];
    if (std::abs(x - y) <= bound) continue;
    return format("{}: {:.17g}, required {:.17g} +- {:.1e}", index_text(a.shape(), i), x, y, bound);
  }
  return {};
}

}  // namespace fovea
