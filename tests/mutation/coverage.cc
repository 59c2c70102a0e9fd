#include "coverage.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "fovea/graph/gradients.h"
#include "fovea/graph/law_run.h"
#include "fovea/tensor/format.h"

namespace fovea::mutation {

namespace {

bool has_nonzero(const Tensor& x) {
  return std::ranges::any_of(x.to_vector<double>(),
                             [](double g) { return g != 0 && std::isfinite(g); });
}

// What the samples of an op have shown.
class Coverage {
 public:
  explicit Coverage(const OpType& type) : type_(type) {
    const std::vector<AnySample> samples = type.samples();
    for (std::size_t i = 0; i < samples.size(); ++i) add(SampleRun(type, samples[i], 0, i));
  }

  std::vector<std::string> missing() const {
    std::vector<std::string> all;
    if (floats_.empty()) return all;
    for (std::size_t slot : floats_) {
      if (!slots_.contains(slot)) all.push_back(format("input {}", type_.inputs[slot].name));
    }
    for (const AttributeInfo& info : type_.attributes) {
      for (const std::string& value : wanted(info)) {
        if (!seen_.contains(format("{}={}", info.name, value))) {
          all.push_back(format("attribute {}: {}", info.name, value));
        }
      }
    }
    return all;
  }

 private:
  static constexpr const char* kOther = "a value other than its default";

  static std::vector<std::string> wanted(const AttributeInfo& info) {
    std::vector<std::string> values;
    switch (info.type.kind) {
      case AttributeKind::boolean:
        return {"true", "false"};
      case AttributeKind::choice:
        for (const std::string& choice : info.type.choices) {
          values.push_back(to_string(AttributeValue{choice}));
        }
        return values;
      case AttributeKind::dtype:
      case AttributeKind::text:
        return {};
      case AttributeKind::integer:
      case AttributeKind::real:
      case AttributeKind::list:
        break;
    }
    return {kOther};
  }

  void add(const SampleRun& run) {
    for (const Expr& x : run.wrt()) {
      const auto at = std::ranges::find_if(run.in(), [&](const Expr& y) { return same(x, y); });
      const auto slot = static_cast<std::size_t>(at - run.in().begin());
      floats_.insert(std::min(slot, type_.inputs.size() - 1));
    }
    if (!run.differentiable()) return;
    const std::vector<Tensor> values =
        evaluate(gradients(run.float_out(), run.wrt(), run.cotangents()), run.with_cotangents(0));
    bool any = false;
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (!has_nonzero(values[k])) continue;
      any = true;
      const auto at =
          std::ranges::find_if(run.in(), [&](const Expr& y) { return same(run.wrt()[k], y); });
      slots_.insert(
          std::min(static_cast<std::size_t>(at - run.in().begin()), type_.inputs.size() - 1));
    }
    if (any) add_attributes(run.op().attributes());
  }

  void add_attributes(const AttributeMap& attributes) {
    for (const AttributeInfo& info : type_.attributes) {
      const auto at = std::ranges::find(attributes, info.name, &AttributeMap::value_type::first);
      const bool given = at != attributes.end();
      if (given) seen_.insert(format("{}={}", info.name, to_string(at->second)));
      const bool other = given && (!info.standard || !(at->second == *info.standard));
      if (other) seen_.insert(format("{}={}", info.name, kOther));
    }
  }

  const OpType& type_;
  std::set<std::size_t> floats_, slots_;
  std::set<std::string> seen_;
};

}  // namespace

std::vector<std::string> not_covered(const OpType& type) {
  if (!type.has_vjp && !type.has_decomposition) return {};
  return Coverage(type).missing();
}

}  // namespace fovea::mutation
