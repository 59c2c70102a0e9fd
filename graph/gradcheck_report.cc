#include <algorithm>
#include <array>
#include <iterator>

#include "fovea/graph/gradcheck.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

// The last `width` characters that fit, so that indices and the ends of long names stay readable.
std::string shortened(const std::string& text, std::size_t width) {
  return text.size() <= width ? text : "~" + text.substr(text.size() - width + 1);
}

std::string checked_text(const GradientRow& row) {
  if (row.directions == 0 && row.checked + row.fixed == row.elements) {
    return format("all {}", row.checked);
  }
  return format("{}+{}d/{}", row.checked, row.directions, row.elements);
}

std::string line(const std::array<std::string, 9>& cells) {
  return format("{:<15} {:>12} {:>6} {:>6} {:>12} {:>11} {:>11} {:>6}  {}\n", cells[0], cells[1],
                cells[2], cells[3], cells[4], cells[5], cells[6], cells[7], cells[8]);
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

Verdict GradientReport::verdict() const {
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
      line({"input", "checked", "abs", "rel", "worst at", "analytic", "numeric", "+-", "verdict"});
  std::string details;
  for (const GradientRow& row : report.rows) {
    const bool measured = !row.worst.empty();
    text += line(
        {shortened(row.name, 15), shortened(checked_text(row), 12),
         measured ? format("{:.0e}", row.absolute) : "-",
         measured ? format("{:.0e}", row.relative) : "-", measured ? shortened(row.worst, 12) : "-",
         measured ? format("{:.4g}", row.analytic) : "-",
         measured ? format("{:.4g}", row.numeric) : "-",
         measured ? format("{:.0e}", row.uncertainty) : "-", std::string(name_of(row.verdict))});
    if (!row.note.empty()) details += format("{}: {}\n", row.name, row.note);
    if (row.directions > 0) {
      details += format("{}: {} of {} elements, and {} random directions through all of them\n",
                        row.name, row.checked, row.elements, row.directions);
    }
    if (row.kinks > 0) {
      details += format("{}: {} comparisons at kinks were left out\n", row.name, row.kinks);
    }
    if (row.fixed > 0) {
      details += format("{}: {} elements that are not finite were left out\n", row.name, row.fixed);
    }
    if (measured && (row.verdict == Verdict::fail || row.verdict == Verdict::inconclusive)) {
      details += format("{} at {}: analytic {:.15g}\n    numeric {:.15g} +- {:.1e}{}{}\n", row.name,
                        row.worst, row.analytic, row.numeric, row.uncertainty,
                        row.location.empty() ? "" : ", from ", row.location);
    }
  }
  text += details;
  for (const std::string& note : report.notes) text += note + "\n";
  const auto count = [&](Verdict v) {
    return std::ranges::count(report.rows, v, &GradientRow::verdict);
  };
  text += format("{}: {} pass, {} fail, {} inconclusive, {} vacuous; f64, seed {}\n",
                 name_of(report.verdict()), count(Verdict::pass), count(Verdict::fail),
                 count(Verdict::inconclusive), count(Verdict::vacuous), report.seed);
  return text;
}

}  // namespace fovea
