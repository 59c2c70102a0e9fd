#include <algorithm>

#include "fovea/graph/gradcheck.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

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
void merge(std::vector<GradientRow>& rows, const GradientRow& found) {
  const auto at = std::ranges::find(rows, found.name, &GradientRow::name);
  if (at == rows.end()) {
    rows.push_back(found);
    return;
  }
  GradientRow merged = *at;
  const int before = severity(at->verdict), now = severity(found.verdict);
  if (now > before || (now == before && found.relative > at->relative)) merged = found;
  merged.elements = at->elements + found.elements;
  merged.checked = at->checked + found.checked;
  merged.directions = at->directions + found.directions;
  merged.kinks = at->kinks + found.kinks;
  merged.fixed = at->fixed + found.fixed;
  merged.absolute = std::max(at->absolute, found.absolute);
  merged.relative = std::max(at->relative, found.relative);
  *at = merged;
}

std::string sample_text(std::size_t index, const AnySample& sample) {
  return format("sample {}{}{}", index + 1, sample.text.empty() ? "" : ": ", sample.text);
}

GradientReport check_sample(const OpType& type, const AnySample& sample, std::size_t index,
                            GradcheckOptions options) {
  const LocationScope scope{Location(sample_text(index, sample))};
  std::vector<Expr> in, wrt;
  options.values.clear();
  for (std::size_t i = 0; i < sample.in.size(); ++i) {
    if (!sample.in[i]) {
      in.emplace_back();
      continue;
    }
    const Tensor value = make_tensor(sample.in[i], f64, {options.seed, 64 * index + i});
    const Slot& slot = type.inputs[std::min(i, type.inputs.size() - 1)];
    in.push_back(input(std::string(slot.name), value.dtype(), value.shape()));
    options.values.emplace_back(in.back(), value);
    if (is_float(value.dtype())) wrt.push_back(in.back());
  }
  const std::vector<Expr> out = apply(sample.op, in, Location());
  const bool differentiable =
      !wrt.empty() && std::ranges::any_of(out, [](const Expr& y) { return is_float(y.dtype()); });
  if (!differentiable) return {};
  return check_gradients(out, wrt, options);
}

}  // namespace

GradientReport check_op(const OpType& type, const GradcheckOptions& options) {
  GradientReport report;
  report.seed = options.seed;
  if (!type.has_vjp && !type.has_decomposition) {
    report.notes.push_back(format("{}: it has no gradient", type.name));
    return report;
  }
  const std::vector<AnySample> samples = type.samples();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    try {
      const GradientReport found = check_sample(type, samples[i], i, options);
      for (GradientRow row : found.rows) {
        row.name = format("{}.{}", type.name, row.name);
        merge(report.rows, row);
      }
      for (const std::string& note : found.notes) {
        report.notes.push_back(format("{}, {}: {}", type.name, sample_text(i, samples[i]), note));
      }
    } catch (const Error& error) {
      GradientRow failed;
      failed.name = std::string(type.name);
      failed.verdict = Verdict::fail;
      failed.note = format("{}: {}", sample_text(i, samples[i]), error.what());
      merge(report.rows, failed);
    }
  }
  if (report.rows.empty()) {
    report.notes.push_back(format("{}: no sample has float inputs and outputs", type.name));
  }
  return report;
}

}  // namespace fovea
