// `fovea run`.

#include <algorithm>
#include <cmath>

#include "fovea/cli/commands.h"
#include "fovea/cli/terminal.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

std::vector<std::pair<std::string, Expr>> wanted(const Options& options, const Session& session) {
  if (options.values.empty()) return session.outputs();
  std::vector<std::pair<std::string, Expr>> values;
  std::vector<Diagnostic> mistakes;
  for (const std::string& name : options.values) {
    const bool twice = std::ranges::count(options.values, name) > 1;
    if (twice) throw UsageError(format("--values: {} stands twice", fovea::quoted(name)));
    try {
      values.emplace_back(name, session.value(name));
    } catch (const Error& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) mistakes.push_back(diagnostic);
    }
  }
  if (!mistakes.empty()) throw Error(std::move(mistakes)).at("--values");
  return values;
}

// The largest difference of two arrays, in units of what is allowed.
struct Difference {
  double excess = 0;
  std::int64_t at = -1;
  double given = 0, expected = 0;
};

double excess(double given, double expected, const Options& options) {
  if (given == expected || (std::isnan(given) && std::isnan(expected))) return 0;
  const double allowed = options.atol + options.rtol * std::abs(expected);
  const double ratio = std::abs(given - expected) / allowed;
  return std::isfinite(expected) && !std::isnan(ratio) ? ratio
                                                       : std::numeric_limits<double>::infinity();
}

Difference compare(const Tensor& given, const Tensor& expected, const Options& options) {
  const std::vector<double> a = given.astype(f64).to_vector<double>();
  const std::vector<double> b = expected.astype(f64).to_vector<double>();
  Difference worst;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double one = excess(a[i], b[i], options);
    if (one > worst.excess) worst = {one, static_cast<std::int64_t>(i), a[i], b[i]};
  }
  return worst;
}

std::string index_text(std::int64_t flat, const Shape& shape) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()));
  for (std::size_t axis = index.size(); axis-- > 0;) {
    const std::int64_t extent = shape[static_cast<std::int64_t>(axis)];
    index[axis] = flat % extent;
    flat /= extent;
  }
  return format("[{}]", fmt::join(index, ", "));
}

using Values = std::vector<std::pair<std::string, Expr>>;

// The results that are known, which must be such as the model has: that is looked at before
// anything is computed. Not all need be there.
NamedTensors read_expected(const Options& options, const Values& values) {
  const auto value_of = [&](std::string_view name) {
    return std::ranges::find(values, name, &Values::value_type::first);
  };
  NamedTensors expected =
      load_tensors(options.expect, [&](std::string_view name) -> std::optional<DType> {
        const auto at = value_of(name);
        return at == values.end() ? std::nullopt : std::optional(at->second.dtype());
      });
  std::vector<Diagnostic> mistakes;
  std::vector<std::string> names;
  for (const auto& [name, expr] : values) names.push_back(name);
  for (const auto& [name, tensor] : expected) {
    const auto at = value_of(name);
    std::string text;
    if (at == values.end()) {
      text = format("no result is named {}; there are {}{}", fovea::quoted(name),
                    fmt::join(names, ", "), did_you_mean(name, names));
    } else if (const TensorSpec given = spec_of(tensor), &spec = at->second.spec();
               given.shape != spec.shape ||
               !(given.dtype == spec.dtype || (is_float(given.dtype) && is_float(spec.dtype)))) {
      text = format("{} is {}; the result is {}", fovea::quoted(name), to_string(given),
                    to_string(spec));
    }
    if (!text.empty()) mistakes.push_back({options.expect, {}, std::move(text)});
  }
  if (expected.empty()) mistakes.push_back({options.expect, {}, "no arrays to compare with"});
  if (!mistakes.empty()) throw Error(std::move(mistakes));
  return expected;
}

// What differs, or nothing.
std::string mismatch(const std::string& name, const Tensor& given, const Tensor& expected,
                     const Options& options) {
  const Difference worst = compare(given, expected, options);
  if (worst.excess <= 1) return {};
  return format("{}: worst at {}: {} computed, {} expected", name,
                index_text(worst.at, given.shape()), worst.given, worst.expected);
}

int check_expected(const Options& options, const Results& results, const NamedTensors& expected) {
  int status = 0;
  std::string same, left_out;
  for (const auto& [name, tensor] : results) {
    const auto at = expected.find(name);
    std::string& list = at == expected.end() ? left_out : same;
    list += (list.empty() ? "" : ", ") + name;
    if (at == expected.end()) continue;
    const std::string text = mismatch(name, tensor, at->second, options);
    if (text.empty()) continue;
    status = 1;
    note(format("{} (rtol {}, atol {})", text, options.rtol, options.atol));
  }
  if (status == 0 && !options.quiet) {
    note(format("as expected: {}{}", same,
                left_out.empty() ? "" : format("; not in {}: {}", options.expect, left_out)));
  }
  return status;
}

}  // namespace

int run(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  const Session session = model.bind(options.dims, bind_options(options, model));
  const Values values = wanted(options, session);
  NamedTensors expected;
  if (!options.expect.empty()) expected = read_expected(options, values);
  std::vector<Expr> exprs;
  for (const auto& [name, expr] : values) exprs.push_back(expr);
  std::vector<Tensor> tensors;
  {
    const Progress progress("computing", options.quiet);
    tensors = session.compute(exprs);
  }
  Results results;
  for (std::size_t i = 0; i < values.size(); ++i) results.emplace_back(values[i].first, tensors[i]);
  const int status = options.expect.empty() ? 0 : check_expected(options, results, expected);
  out = outcome(options, results);
  out.note = drawn_note(options, session);
  return status;
}

}  // namespace fovea::cli
