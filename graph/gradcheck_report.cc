#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "fovea/graph/gradcheck.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

// The last `width` characters that fit, so that indices and the ends of long names stay readable.
std::string shortened(const std::string& text, std::size_t width) {
  return text.size() <= width ? text : "~" + text.substr(text.size() - width + 1);
}

// `text` in `width` characters: the first `head`, and the last ones that fit.
std::string cut(const std::string& text, std::size_t width, std::size_t head) {
  if (text.size() <= width) return text;
  return text.substr(0, head) + shortened(text.substr(head), width - head);
}

// What stands before the names' own parts: all of it ends with a dot or slash.
std::size_t common_path(const std::vector<std::string>& names) {
  std::size_t length = names.empty() ? 0 : names.front().size();
  for (const std::string& name : names) {
    const auto differs = std::ranges::mismatch(name, names.front()).in1 - name.begin();
    length = std::min(length, static_cast<std::size_t>(differs));
  }
  const std::size_t end =
      names.empty() ? std::string::npos : names.front().substr(0, length).find_last_of("./");
  return end == std::string::npos ? 0 : end + 1;
}

// Rows' names in `width` characters, of names that are too long the parts in which they differ: the
// ends, if those are enough, else some of the beginnings too, after what all of them begin with.
std::vector<std::string> short_names(const std::vector<GradientRow>& rows, std::size_t width) {
  std::vector<std::string> names, longer;
  for (const GradientRow& row : rows) {
    names.push_back(row.name);
    if (row.name.size() > width) longer.push_back(row.name);
  }
  const std::size_t all = std::set(names.begin(), names.end()).size();
  const std::size_t path = common_path(longer);
  std::vector<std::string> best;
  std::size_t most = 0;
  for (const std::size_t left_out : {std::size_t{0}, path}) {
    for (std::size_t head = 0; head < width; ++head) {
      std::vector<std::string> cuts;
      for (const std::string& name : names) {
        const bool keep = name.size() <= width || left_out == 0;
        cuts.push_back(cut(keep ? name : "~" + name.substr(left_out), width, head));
      }
      const std::size_t distinct = std::set(cuts.begin(), cuts.end()).size();
      if (distinct <= most) continue;
      most = distinct;
      best = std::move(cuts);
      if (most == all) return best;
    }
  }
  return best;
}

bool compared_all(const GradientRow& row) {
  return row.skipped == 0 && row.missed == 0 && row.checked + row.fixed >= row.elements;
}

std::string checked_text(const GradientRow& row) {
  if (compared_all(row)) return format("all {}", row.checked);
  return format("{}+{}d/{}", row.checked, row.directions, row.elements);
}

// `n`, `f`, `d` for the oracles that took part.
std::string letters(const GradientRow& row) {
  std::string text;
  for (Oracle oracle : row.oracles) text += name_of(oracle).front();
  return text.empty() ? "-" : text;
}

std::string line(const std::array<std::string, 9>& cells) {
  return format("{:<18} {:>12} {:>3} {:>6} {:>12} {:>11} {:>11} {:>6}  {}\n", cells[0], cells[1],
                cells[2], cells[3], cells[4], cells[5], cells[6], cells[7], cells[8]);
}

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += i == 0 ? "" : i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

// Which oracles stand against which, and what that says.
std::string conclusion(const GradientRow& row) {
  std::vector<std::string_view> against, beside;
  bool numeric_agrees = false, forward_differs = false;
  for (const OracleFinding& f : row.findings) {
    (f.agrees ? beside : against).push_back(name_of(f.oracle));
    numeric_agrees |= f.oracle == Oracle::numeric && f.agrees;
    forward_differs |= f.oracle == Oracle::forward && !f.agrees;
  }
  if (against.empty()) return "no oracle is exact enough to decide";
  if (beside.empty()) {
    const std::string_view verdict = !row.suspicion.empty() ? std::string_view(row.suspicion)
                                     : against.size() == 1  ? ""
                                                            : "the gradient is wrong";
    return format("{} contradict{} the gradient{}{}", joined(against),
                  against.size() == 1 ? "s" : "", verdict.empty() ? "" : ": ", verdict);
  }
  const std::string_view suspect = !row.suspicion.empty() ? std::string_view(row.suspicion)
                                   : numeric_agrees && forward_differs ? "forward mode is wrong"
                                   : numeric_agrees ? "the decomposition is wrong"
                                                    : "the oracles do not agree";
  return format("{} contradict{}, {} agree{}: {}", joined(against), against.size() == 1 ? "s" : "",
                joined(beside), beside.size() == 1 ? "s" : "", suspect);
}

// What the oracles say where the worst comparison of a row was made.
std::string evidence(const GradientRow& row, const std::string& indent) {
  if (row.worst.empty()) return {};
  std::string text =
      format("{}{:<14} {:>23.16g} +- {:.1e}\n", indent, "gradient", row.analytic, row.bar);
  for (const OracleFinding& f : row.findings) {
    text += format("{}{:<14} {:>23.16g} +- {:.1e}  {}\n", indent, name_of(f.oracle), f.value, f.bar,
                   f.agrees ? "agrees" : "contradicts");
  }
  text += format("{}{}\n", indent, conclusion(row));
  if (row.verdict == Verdict::fail) {
    text += format("{}off by {:.3g} of the largest element, {:.3g} units in the last place\n",
                   indent, row.relative, row.ulps);
  }
  return text;
}

std::string details_of(const GradientRow& row) {
  std::string text;
  const std::string at = row.location.empty() ? "" : format(", {}", row.location);
  if (!row.note.empty()) text += format("{}: {}\n", row.name, row.note);
  if (row.missed > 0) {
    text += format(
        "{}: {} of {} elements and {} directions; unless by a chance of 1e-6, no error in the\n"
        "    gradient is larger (2-norm) than {:.1e} of its largest element\n",
        row.name, row.checked, row.elements, row.directions, row.missed);
  }
  if (row.skipped > 0) {
    text += format("{}: {} comparisons left out for lack of time\n", row.name, row.skipped);
  }
  if (row.kinks > 0) {
    text += format("{}: {} comparisons at kinks were left out", row.name, row.kinks);
    for (std::size_t i = 0; i < row.kinks_at.size(); ++i) {
      const Kink& kink = row.kinks_at[i];
      text += format("{}{}", i == 0 ? ": " : ", ", kink.input);
      if (!kink.op.empty()) text += format(" ({})", kink.op);
    }
    text += "\n";
  }
  if (row.fixed > 0) {
    text += format("{}: {} elements that are not finite were left out\n", row.name, row.fixed);
  }
  if (row.verdict == Verdict::fail && !row.worst.empty()) {
    text += format("{} at {}{}:\n{}", row.name, row.worst, at, evidence(row, "    "));
  } else if (row.verdict == Verdict::inconclusive && !row.worst.empty()) {
    text += format("{} at {}{} is open:\n{}", row.name, row.worst, at, evidence(row, "    "));
  }
  return text;
}

std::string text_of(const Culprit& culprit) {
  std::string text = format("the first op whose own gradient disagrees: {}{}{}\n", culprit.op,
                            culprit.name.empty() ? "" : format(" ({})", culprit.name),
                            culprit.location.empty() ? "" : format(", {}", culprit.location));
  text += format("    input {} at {}:\n{}", culprit.row.name, culprit.row.worst,
                 evidence(culprit.row, "    "));
  if (!culprit.row.note.empty()) text += format("    {}\n", culprit.row.note);
  return text;
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "pass";
    case Verdict::fail:
      return "FAIL";
    case Verdict::inconclusive:
      return "inconclusive";
    case Verdict::vacuous:
      break;
  }
  return "vacuous";
}

std::string_view name_of(Oracle oracle) {
  static constexpr std::string_view kNames[] = {"numeric", "forward", "decomposition", "wide"};
  return kNames[static_cast<std::size_t>(oracle)];
}

Verdict GradientReport::verdict() const {
  if (!failures.empty()) return Verdict::fail;
  const auto any = [&](Verdict v) {
    return std::ranges::any_of(rows, [v](const GradientRow& row) { return row.verdict == v; });
  };
  for (Verdict v : {Verdict::fail, Verdict::inconclusive, Verdict::pass}) {
    if (any(v)) return v;
  }
  return Verdict::vacuous;
}

std::string to_string(const GradientReport& report) {
  std::string text =
      line({"input", "checked", "by", "rel", "worst at", "analytic", "oracle", "+-", "verdict"});
  constexpr std::size_t kNameWidth = 18;
  const std::vector<std::string> names = short_names(report.rows, kNameWidth);
  std::string details;
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    const GradientRow& row = report.rows[i];
    const bool measured = !row.worst.empty();
    text += line(
        {names[i], shortened(checked_text(row), 12), letters(row),
         measured ? format("{:.0e}", row.relative) : "-", measured ? shortened(row.worst, 12) : "-",
         measured ? format("{:.4g}", row.analytic) : "-",
         measured ? format("{:.4g}", row.numeric) : "-",
         measured ? format("{:.0e}", row.uncertainty) : "-", std::string(name_of(row.verdict))});
    details += details_of(row);
  }
  text += "by: n numeric, f forward mode, d gradient of the decomposition, w f64 gradient\n";
  text += details;
  for (const std::string& failure : report.failures) text += "FAIL: " + failure + "\n";
  for (const Culprit& culprit : report.culprits) text += text_of(culprit);
  for (const std::string& note : report.notes) text += note + "\n";
  const auto count = [&](Verdict v) {
    return std::ranges::count(report.rows, v, &GradientRow::verdict);
  };
  text += format("{}: {} pass, {} fail, {} inconclusive, {} vacuous; f64, order {}, seed {}\n",
                 name_of(report.verdict()), count(Verdict::pass),
                 count(Verdict::fail) + std::ssize(report.failures), count(Verdict::inconclusive),
                 count(Verdict::vacuous), report.order, report.seed);
  if (!report.passed() && !report.command.empty()) text += "repeat: " + report.command + "\n";
  return text;
}

}  // namespace fovea
