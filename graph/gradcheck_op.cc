#include "fovea/graph/gradcheck_op.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "fovea/graph/gradcheck_locate.h"
#include "fovea/graph/gradcheck_prepared.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/law_run.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

// One sample: the op applied to fresh inputs.
struct OpCheck::Prepared {
  std::string text;
  std::shared_ptr<const Op> op;
  std::vector<Expr> in;
  std::vector<Tensor> values;        // of `in`
  std::vector<std::size_t> outputs;  // float outputs, by number
  std::vector<std::string> slots;    // of each wrt
  std::optional<PreparedCheck> check;
  std::string refusal;  // why it cannot be computed
};

namespace {

int severity(Verdict v) {
  switch (v) {
    case Verdict::fail:
      return 3;
    case Verdict::inconclusive:
      return 2;
    case Verdict::pass:
      return 1;
    case Verdict::vacuous:
      break;
  }
  return 0;
}

// Adds what one sample said to the row of its slot.
void merge(std::vector<GradientRow>& rows, GradientRow found) {
  const auto at = std::ranges::find(rows, found.name, &GradientRow::name);
  if (at == rows.end()) {
    rows.push_back(std::move(found));
    return;
  }
  const int before = severity(at->verdict), now = severity(found.verdict);
  GradientRow worse =
      now > before || (now == before && found.relative > at->relative) ? found : *at;
  worse.elements = at->elements + found.elements;
  worse.checked = at->checked + found.checked;
  worse.directions = at->directions + found.directions;
  worse.kinks = at->kinks + found.kinks;
  worse.fixed = at->fixed + found.fixed;
  worse.skipped = at->skipped + found.skipped;
  worse.absolute = std::max(at->absolute, found.absolute);
  worse.relative = std::max(at->relative, found.relative);
  worse.missed = std::max(at->missed, found.missed);
  worse.oracles.clear();
  for (Oracle oracle : {Oracle::numeric, Oracle::forward, Oracle::decomposition}) {
    if (std::ranges::count(at->oracles, oracle) + std::ranges::count(found.oracles, oracle) > 0) {
      worse.oracles.push_back(oracle);
    }
  }
  *at = std::move(worse);
}

std::string sample_text(std::size_t index, const AnySample& sample) {
  return format("sample {}{}{}", index + 1, sample.text.empty() ? "" : ": ", sample.text);
}

std::string slot_name(const OpType& type, std::size_t i) {
  const Slot& slot = type.inputs[std::min(i, type.inputs.size() - 1)];
  return std::string(slot.name);
}

std::unique_ptr<OpCheck::Prepared> prepare(const OpType& type, const AnySample& sample,
                                           std::size_t index, const GradcheckOptions& options) {
  auto prepared = std::make_unique<OpCheck::Prepared>();
  prepared->text = sample_text(index, sample);
  prepared->op = sample.op;
  const LocationScope scope{Location(prepared->text)};
  try {
    Problem problem;
    std::vector<Binding> others;
    for (std::size_t i = 0; i < sample.in.size(); ++i) {
      const Tensor value = prepared->values.emplace_back(
          make_tensor(sample.in[i], f64, {options.seed, 64 * index + i}));
      if (!value) {
        prepared->in.emplace_back();
        continue;
      }
      prepared->in.push_back(input(slot_name(type, i), value.dtype(), value.shape()));
      if (value.dtype() == f64) {
        problem.wrt.push_back(prepared->in.back());
        problem.bindings.emplace_back(prepared->in.back(), value);
        prepared->slots.push_back(slot_name(type, i));
      } else {
        others.emplace_back(prepared->in.back(), value);
      }
    }
    problem.bindings.insert(problem.bindings.end(), others.begin(), others.end());
    const std::vector<Expr> out = apply(sample.op, prepared->in, Location());
    for (std::size_t o = 0; o < out.size(); ++o) {
      if (out[o].dtype() != f64) continue;
      prepared->outputs.push_back(o);
      problem.outputs.push_back(out[o]);
    }
    if (problem.wrt.empty() || problem.outputs.empty()) return nullptr;
    // Once between guards, before it is run where it could do harm.
    guarded_forward(*sample.op, prepared->values);
    for (int order = 1; order < options.order; ++order) {
      problem = differentiated(problem, options.seed + static_cast<std::uint64_t>(order));
    }
    prepared->check.emplace(std::move(problem), options);
  } catch (const std::exception& error) {
    prepared->refusal = error.what();
  }
  return prepared;
}

}  // namespace

OpCheck::OpCheck(const OpType& type, GradcheckOptions options)
    : type_(&type), options_(std::move(options)) {
  if (!type.has_vjp && !type.has_decomposition) return;
  std::vector<AnySample> samples;
  try {
    samples = type.samples();
  } catch (const std::exception& error) {
    samples_.push_back(std::make_unique<Prepared>());
    samples_.back()->text = "samples";
    samples_.back()->refusal = format("they cannot be made: {}", error.what());
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (auto prepared = prepare(type, samples[i], i, options_)) {
      samples_.push_back(std::move(prepared));
    }
  }
}

OpCheck::~OpCheck() = default;
OpCheck::OpCheck(OpCheck&&) noexcept = default;

GradientReport OpCheck::run(const GradientRule& rule) {
  GradientReport report;
  report.seed = options_.seed;
  report.order = options_.order;
  if (!type_->has_vjp && !type_->has_decomposition) {
    report.notes.push_back(format("{}: it has no gradient", type_->name));
    return report;
  }
  if (rule && options_.order != 1) {
    fail(type_->name, "a substituted rule at order {}; order 1 is required", options_.order);
  }
  const Deadline deadline(options_.budget);
  for (std::size_t s = 0; s < samples_.size(); ++s) {
    Prepared& sample = *samples_[s];
    // The op with the other rule, on the same inputs.
    const auto substituted = [&](const Problem& problem, std::span<const Expr> cotangents) {
      const LocationScope scope{Location(sample.text)};
      const std::vector<Expr> all = apply(with_gradient(sample.op, rule), sample.in, Location());
      std::vector<Expr> outputs;
      for (std::size_t o : sample.outputs) outputs.push_back(all[o]);
      return gradients(outputs, problem.wrt, cotangents);
    };
    const GradientMaker make = rule ? GradientMaker(substituted) : engine_gradients;
    try {
      if (!sample.check) throw Error("", sample.refusal);
      Findings found = sample.check->run(make, options_, deadline.share(samples_.size() - s));
      for (std::size_t k = 0; k < found.rows.size(); ++k) {
        GradientRow& row = found.rows[k];
        row.name = format("{}.{}", type_->name, sample.slots[k]);
        row.location = sample.text;
        row.suspicion = suspicion(*sample.op, sample.values, row, options_.order == 1);
        merge(report.rows, std::move(row));
      }
      for (const std::string& note : found.notes) {
        report.notes.push_back(format("{}, {}: {}", type_->name, sample.text, note));
      }
    } catch (const std::exception& error) {
      GradientRow failed;
      failed.name = std::string(type_->name);
      failed.location = sample.text;
      failed.verdict = Verdict::fail;
      failed.note = format("{}: {}", sample.text, error.what());
      merge(report.rows, std::move(failed));
    }
  }
  if (report.rows.empty()) {
    report.notes.push_back(format("{}: no sample has float inputs and outputs", type_->name));
  }
  return report;
}

GradientReport check_op(const OpType& type, const GradientRule& rule,
                        const GradcheckOptions& options) {
  return OpCheck(type, options).run(rule);
}

GradientReport check_op(const OpType& type, const GradcheckOptions& options) {
  return OpCheck(type, options).run();
}

}  // namespace fovea
