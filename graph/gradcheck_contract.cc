// Contracts beyond numbers.
#include <algorithm>
#include <cmath>
#include <set>

#include "fovea/graph/gradcheck_more.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/law_run.h"
#include "fovea/graph/laws.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

// Restores the number of threads.
class Threads {
 public:
  explicit Threads(int count) : before_(num_threads()) { set_num_threads(count); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// The same elements with the axes' memory in the other order.
Tensor transposed(const Tensor& x) {
  std::vector<std::int64_t> perm;
  for (std::int64_t axis = x.rank(); axis-- > 0;) perm.push_back(axis);
  return x.transpose(perm).copy().transpose(perm);
}

class GraphContracts {
 public:
  GraphContracts(const Problem& problem, std::uint64_t seed)
      : problem_(problem), loss_(problem.outputs, problem.bindings, seed) {
    for (const Expr& y : problem.outputs) cotangents_.push_back(input("", f64, y.shape()));
    gradients_ = gradients(problem.outputs, problem.wrt, cotangents_);
  }

  std::vector<std::string> run(std::uint64_t seed) {
    const std::vector<Binding> bindings = with(loss_.cotangents());
    const std::vector<Bounded> first = with_bounds(gradients_, bindings);
    check_bits(bindings);
    check_linearity(first, seed);
    check_zero();
    return std::move(failures_);
  }

 private:
  std::vector<Binding> with(const std::vector<Tensor>& cotangents) const {
    std::vector<Binding> bindings = problem_.bindings;
    for (std::size_t o = 0; o < cotangents.size(); ++o) {
      bindings.emplace_back(cotangents_[o], cotangents[o]);
    }
    return bindings;
  }

  std::string name(std::size_t k) const {
    const std::string& given = problem_.wrt[k].node().name();
    return given.empty() ? format("wrt {}", k) : given;
  }

  void compare(const std::vector<Tensor>& given, const std::vector<Tensor>& expected,
               std::string_view what) {
    for (std::size_t k = 0; k < given.size(); ++k) {
      if (auto text = difference(given[k], expected[k])) {
        failures_.push_back(format("{}: the gradient of {} at {}", what, name(k), *text));
      }
    }
  }

  void check_bits(const std::vector<Binding>& bindings) {
    std::vector<Binding> copies = bindings, views = bindings;
    for (Binding& binding : copies) binding.second = binding.second.copy();
    for (Binding& binding : views) binding.second = transposed(binding.second);
    const std::vector<Tensor> once = evaluate(gradients_, copies);
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (auto text = difference(copies[i].second, bindings[i].second)) {
        failures_.push_back(format("input {} was changed at {}", i, *text));
      }
    }
    compare(evaluate(gradients_, bindings), once, "a second run");
    compare(evaluate(gradients_, views), once, "inputs that are not row-major");
    for (int count : {1, 2, 3}) {
      const Threads threads(count);
      compare(evaluate(gradients_, bindings), once, format("{} threads", count));
    }
  }

  void check_linearity(const std::vector<Bounded>& first, std::uint64_t seed) {
    std::vector<Tensor> other, sum;
    for (std::size_t o = 0; o < cotangents_.size(); ++o) {
      const Tensor& c = loss_.cotangents()[o];
      other.push_back(random_normal(f64, c.shape(), 0, 1, {~seed, o}));
      sum.push_back(c.copy());
      for (std::int64_t i = 0; i < c.numel(); ++i) {
        if (c.data<double>()[i] == 0) other[o].mutable_data<double>()[i] = 0;
        sum[o].mutable_data<double>()[i] += other[o].data<double>()[i];
      }
    }
    const std::vector<Bounded> second = with_bounds(gradients_, with(other));
    const std::vector<Bounded> both = with_bounds(gradients_, with(sum));
    for (std::size_t k = 0; k < both.size(); ++k) {
      for (std::int64_t i = 0; i < both[k].value.numel(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double apart = both[k].value.data<double>()[i] -
                             (first[k].value.data<double>()[i] + second[k].value.data<double>()[i]);
        const double bar = first[k].bars[at] + second[k].bars[at] + both[k].bars[at];
        // The sum of the cotangents is rounded too.
        if (!std::isfinite(apart) || std::abs(apart) <= 2 * bar) continue;
        failures_.push_back(
            format("not linear in the cotangent: the gradient of {} for c1 + c2 at {} differs by "
                   "{:.3g} from the sum of both, +- {:.1e}",
                   name(k), index_text(both[k].value.shape(), i), apart, 2 * bar));
        break;
      }
    }
  }

  void check_zero() {
    // 0 · NaN is NaN: what is not finite in the graph may show.
    if (std::ranges::any_of(loss_.left_out(), [](std::int64_t n) { return n > 0; })) return;
    for (const auto& [x, value] : problem_.bindings) {
      if (value.dtype() != f64) continue;
      for (double v : value.to_vector<double>()) {
        if (!std::isfinite(v)) return;
      }
    }
    std::vector<Tensor> zeros;
    for (const Tensor& c : loss_.cotangents()) zeros.push_back(Tensor::zeros(f64, c.shape()));
    const std::vector<Tensor> given = evaluate(gradients_, with(zeros));
    for (std::size_t k = 0; k < given.size(); ++k) {
      if (auto text = difference(given[k], Tensor::zeros(f64, given[k].shape()), {0})) {
        failures_.push_back(format(
            "a cotangent of 0: the gradient of {} at {}; exactly 0 is required", name(k), *text));
      }
    }
  }

  const Problem& problem_;
  Loss loss_;
  std::vector<Expr> cotangents_, gradients_;
  std::vector<std::string> failures_;
};

// The sample with 0 in place of every extent `old`; null if the op refuses that.
std::unique_ptr<AnySample> emptied(const AnySample& sample, std::int64_t old) {
  auto made = std::make_unique<AnySample>(sample);
  std::vector<Op::MaybeSpec> specs;
  for (Arg& a : made->in) {
    if (!a) {
      specs.emplace_back();
      continue;
    }
    std::vector<Extent> extents;
    for (const Extent& e : a.shape) extents.push_back(e == old ? Extent(0) : e);
    a.shape = Shape(std::move(extents));
    if (a.shape.numel() == 0 && a.kind == Arg::Kind::values) a.numbers.clear();
    specs.emplace_back(TensorSpec{a.dtype, a.shape});
  }
  try {
    made->op->infer(specs);
  } catch (const Error&) {
    return nullptr;
  }
  return made;
}

void check_empty(const OpType& type, const AnySample& sample, std::size_t index, std::uint64_t seed,
                 std::vector<std::string>& failures) {
  std::set<std::int64_t> extents;
  for (const Arg& a : sample.in) {
    for (const Extent& e : a.shape) extents.insert(e);
  }
  extents.erase(0);
  for (std::int64_t extent : extents) {
    const auto empty = emptied(sample, extent);
    if (!empty) continue;
    std::string_view what = "its values";
    try {
      const SampleRun run(type, *empty, seed, 0);
      if (!run.differentiable()) continue;
      what = "its gradient";
      const auto dx = gradients(run.float_out(), run.wrt(), run.cotangents());
      for (const Tensor& g : evaluate(dx, run.with_cotangents(0))) {
        for (double v : g.astype(f64).to_vector<double>()) {
          if (std::isnan(v)) throw Error(type.name, "NaN");
        }
      }
    } catch (const std::exception& error) {
      // An op may refuse values by an Error, but not differentiate what it computes.
      const bool refused = what == "its values" && dynamic_cast<const Error*>(&error) != nullptr;
      if (refused) continue;
      failures.push_back(format("{}, sample {} with extents of {} set to 0: {}: {}", type.name,
                                index + 1, extent, what, error.what()));
    }
  }
}

}  // namespace

std::vector<std::string> check_graph_contracts(const Problem& problem, std::uint64_t seed) {
  if (problem.outputs.empty() || problem.wrt.empty()) return {};
  return GraphContracts(problem, seed).run(seed);
}

std::vector<std::string> check_contracts(const OpType& type, std::uint64_t seed, bool all_laws) {
  std::vector<std::string> failures;
  LawOptions options{.seed = seed};
  if (!all_laws) options.only = {1, 3, 5, 7, 8, 12};
  const LawReport laws = check_laws(type, options);
  for (const LawFailure& failure : laws.failures) {
    failures.push_back(format("{}{}{}: law {}: {}", failure.op, failure.sample.empty() ? "" : ", ",
                              failure.sample, failure.law, failure.text));
  }
  if (laws.broken(1)) return failures;  // not to be run again
  const std::vector<AnySample> samples = type.samples();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check_empty(type, samples[i], i, seed, failures);
  }
  return failures;
}

}  // namespace fovea
