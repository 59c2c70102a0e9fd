// `fovea grad`.

#include <algorithm>

#include "fovea/cli/commands.h"
#include "fovea/cli/terminal.h"
#include "fovea/graph/gradients.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea::cli {

namespace {

using Named = std::vector<std::pair<std::string, Expr>>;

std::vector<std::string> names_of(const Named& values) {
  std::vector<std::string> names;
  for (const auto& [name, expr] : values) names.push_back(name);
  return names;
}

bool is_value(const Session& session, const std::string& name) {
  try {
    session.value(name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Those of `all`, which are `kind`, that `chosen` names. Throws Error for others and non-floats.
Named select(std::string_view option, std::string_view kind, const Session& session,
             const Named& all, const std::vector<std::string>& chosen) {
  Named selected;
  std::vector<Diagnostic> mistakes;
  const auto mistake = [&](std::string text) {
    mistakes.push_back({.place = std::string(option), .op = {}, .text = std::move(text)});
  };
  for (const std::string& name : chosen) {
    const auto at = std::ranges::find(all, name, &Named::value_type::first);
    const std::vector<std::string> known = names_of(all);
    if (at == all.end()) {
      const std::string what = is_value(session, name)
                                   ? format("{} is no {}", fovea::quoted(name), kind)
                                   : format("unknown name {}", fovea::quoted(name));
      mistake(
          format("{}; known are {}{}", what, fmt::join(known, ", "), did_you_mean(name, known)));
    } else if (!is_float(at->second.dtype())) {
      mistake(format("{} is {}; only f32 and f64 have gradients", fovea::quoted(name),
                     to_string(at->second.spec())));
    } else if (std::ranges::find(selected, name, &Named::value_type::first) != selected.end()) {
      mistake(format("{} stands twice", fovea::quoted(name)));
    } else {
      selected.push_back(*at);
    }
  }
  if (!mistakes.empty()) throw Error(std::move(mistakes));
  return selected;
}

Named choose_wrt(const Options& options, const Session& session) {
  Named all;
  for (const ModelValue& input : session.inputs()) all.emplace_back(input.name, input.expr);
  for (const ModelValue& param : session.params()) all.emplace_back(param.name, param.expr);
  if (!options.wrt.empty()) return select("--wrt", "input or param", session, all, options.wrt);
  std::erase_if(all, [](const auto& one) { return !is_float(one.second.dtype()); });
  if (all.empty()) throw Error("grad", "no input and no param is f32 or f64; one is required");
  return all;
}

// Without cotangents there is exactly one output of one element.
void require_scalar(const Options& options, const Named& outputs) {
  if (outputs.size() == 1 && outputs[0].second.shape().numel() == 1) return;
  std::string given;
  for (const auto& [name, expr] : outputs) {
    given += format("{}{} {}", given.empty() ? "" : ", ", name, to_string(expr.spec()));
  }
  const auto scalar = std::ranges::find_if(outputs, [](const auto& one) {
    return is_float(one.second.dtype()) && one.second.shape().numel() == 1;
  });
  const std::string command =
      scalar != outputs.end() && outputs.size() > 1
          ? format("fovea grad {} --of {}", options.model, scalar->first)
          : format("fovea grad {}{} --cotangents ones", options.model,
                   options.of.empty() ? "" : format(" --of {}", fmt::join(options.of, ",")));
  throw Error("grad", format("the outputs are {}; without --cotangents exactly one output of one "
                             "element is required; this would work: {}",
                             given, command));
}

// Cotangents of the outputs; those without one are null.
std::vector<Expr> from_file(const Options& options, const Named& outputs) {
  if (options.cotangents.find('.') == std::string::npos) {
    throw UsageError(format("--cotangents {}: ones, random, or a file is required{}",
                            fovea::quoted(options.cotangents),
                            did_you_mean(options.cotangents, {"ones", "random"})));
  }
  const NamedTensors arrays =
      load_tensors(options.cotangents, [&](std::string_view name) -> std::optional<DType> {
        const auto at = std::ranges::find(outputs, name, &Named::value_type::first);
        return at == outputs.end() ? std::nullopt : std::optional(at->second.dtype());
      });
  std::vector<Expr> cotangents(outputs.size());
  std::vector<Diagnostic> mistakes;
  for (const auto& [name, tensor] : arrays) {
    const auto at = std::ranges::find(outputs, name, &Named::value_type::first);
    std::string text;
    if (at == outputs.end()) {
      const std::vector<std::string> known = names_of(outputs);
      text = format("{} is no output; known are {}{}", fovea::quoted(name), fmt::join(known, ", "),
                    did_you_mean(name, known));
    } else if (!is_float(at->second.dtype())) {
      text = format("{} is {}; only f32 and f64 have gradients", fovea::quoted(name),
                    to_string(at->second.spec()));
    } else if (tensor.shape() != at->second.shape() || !is_float(tensor.dtype())) {
      text = format("the cotangent of {} is {}; {} is required", fovea::quoted(name),
                    to_string(spec_of(tensor)), to_string(at->second.spec()));
    } else {
      cotangents[static_cast<std::size_t>(at - outputs.begin())] =
          constant(tensor.astype(at->second.dtype()));
    }
    if (!text.empty()) mistakes.push_back({options.cotangents, {}, std::move(text)});
  }
  if (arrays.empty())
    mistakes.push_back({options.cotangents, {}, "no arrays; cotangents are required"});
  if (!mistakes.empty()) throw Error(std::move(mistakes));
  return cotangents;
}

std::vector<Expr> make_cotangents(const Options& options, const Named& outputs,
                                  const Session& session) {
  if (options.cotangents.empty()) {
    require_scalar(options, outputs);
    return {constant(Tensor::full(outputs[0].second.dtype(), outputs[0].second.shape(), 1))};
  }
  if (options.cotangents != "ones" && options.cotangents != "random") {
    return from_file(options, outputs);
  }
  std::vector<Expr> cotangents;
  for (const auto& [name, expr] : outputs) {
    if (!is_float(expr.dtype())) {
      cotangents.emplace_back();
    } else if (options.cotangents == "ones") {
      cotangents.push_back(constant(Tensor::scalar(expr.dtype(), 1).broadcast_to(expr.shape())));
    } else {
      session.require_memory({&expr, 1});
      const Key key = key_for(options.seed.value_or(0), "cotangent of " + name);
      cotangents.push_back(constant(random_normal(expr.dtype(), expr.shape(), 0, 1, key)));
    }
  }
  return cotangents;
}

}  // namespace

int grad(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  const Session session = model.bind(options.dims, bind_options(options, model));
  const Named outputs = options.of.empty()
                            ? session.outputs()
                            : select("--of", "output", session, session.outputs(), options.of);
  const Named wrt = choose_wrt(options, session);
  const std::vector<Expr> cotangents = make_cotangents(options, outputs, session);

  std::vector<Expr> output_exprs, wrt_exprs;
  for (const auto& [name, expr] : outputs) output_exprs.push_back(expr);
  for (const auto& [name, expr] : wrt) wrt_exprs.push_back(expr);
  std::vector<Tensor> tensors;
  {
    const Progress progress("computing gradients", options.quiet);
    tensors = session.compute(gradients(output_exprs, wrt_exprs, cotangents));
  }
  Results results;
  for (std::size_t i = 0; i < wrt.size(); ++i) results.emplace_back(wrt[i].first, tensors[i]);
  out = outcome(options, results);
  out.note = drawn_note(options, session);
  return 0;
}

}  // namespace fovea::cli
