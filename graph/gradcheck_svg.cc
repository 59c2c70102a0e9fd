// Heat maps of errors.
#include <algorithm>
#include <array>
#include <cmath>

#include "fovea/graph/gradcheck_files.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr int kWidth = 760;  // of the picture
constexpr int kMargin = 70;  // left of a map: row numbers
constexpr int kLargestCell = 26;
constexpr int kLegend = 24;

// From errors that do not matter to those that are as large as the gradient.
struct Step {
  double from;
  const char* colour;
  const char* label;
};
constexpr std::array kSteps{Step{0, "#eef3f7", "< 1e-12"},   Step{1e-12, "#c6dbef", "1e-12"},
                            Step{1e-9, "#9ecae1", "1e-9"},   Step{1e-6, "#fee391", "1e-6"},
                            Step{1e-4, "#fec44f", "1e-4"},   Step{1e-3, "#fe9929", "1e-3"},
                            Step{1e-2, "#ec7014", "0.01"},   Step{0.1, "#cc4c02", "0.1"},
                            Step{1, "#7f0000", "1 and more"}};

const char* colour_of(double error) {
  const char* colour = kSteps[0].colour;
  for (const Step& step : kSteps) {
    if (error >= step.from) colour = step.colour;
  }
  return colour;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return out;
}

std::string label(int x, int y, std::string_view text, const char* more = "") {
  return format("<text x=\"{}\" y=\"{}\" {}>{}</text>\n", x, y, more, escaped(text));
}

// The index of the first element of a row, without the last axis.
std::string row_label(const Shape& shape, std::int64_t row) {
  if (shape.rank() < 2) return {};
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank() - 1));
  for (std::size_t axis = index.size(); axis-- > 0;) {
    const std::int64_t extent = shape[static_cast<std::int64_t>(axis)];
    index[axis] = row % extent;
    row /= extent;
  }
  return format("[{}]", fmt::join(index, ","));
}

// Draws one map from `top` on; returns where it ends.
int draw(const GradientRow& row, int top, std::string& out) {
  const Shape& shape = row.shape;
  const std::int64_t columns = shape.rank() == 0 ? 1 : shape[shape.rank() - 1].value();
  const std::int64_t rows = std::ssize(row.errors) / std::max<std::int64_t>(columns, 1);
  const double cell = std::min<double>(
      kLargestCell, static_cast<double>(kWidth - kMargin - 20) / static_cast<double>(columns));
  const double high = std::min<double>(cell, 400.0 / static_cast<double>(rows));
  out += label(10, top + 18,
               format("{} {}: |error| / largest element of the gradient ({:.3g})", row.name, shape,
                      row.largest),
               "font-weight=\"bold\"");
  out += label(
      10, top + 36,
      format("worst at {}: gradient {:.6g}, {} {:.6g}", row.worst, row.analytic,
             row.findings.empty() ? "oracle" : name_of(row.findings.front().oracle), row.numeric));
  const int y0 = top + 64;
  const std::int64_t every_column = std::max<std::int64_t>(1, std::llround(24 / cell + 0.5));
  for (std::int64_t c = 0; c < columns; c += every_column) {
    out += label(kMargin + static_cast<int>((static_cast<double>(c) + 0.5) * cell), y0 - 5,
                 format("{}", c), "text-anchor=\"middle\" font-size=\"10\"");
  }
  const std::int64_t every_row = std::max<std::int64_t>(1, std::llround(12 / high + 0.5));
  for (std::int64_t r = 0; r < rows; ++r) {
    const double y = y0 + static_cast<double>(r) * high;
    if (r % every_row == 0) {
      out += label(kMargin - 6, static_cast<int>(y + high / 2 + 4), row_label(shape, r),
                   "text-anchor=\"end\" font-size=\"10\"");
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      const double error = row.errors[static_cast<std::size_t>(r * columns + c)];
      out += format(
          "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\">"
          "<title>{}: {:.2e}</title></rect>\n",
          kMargin + static_cast<double>(c) * cell, y, cell * 0.96, high * 0.96, colour_of(error),
          row_label(shape, r) + format("[{}]", c), error);
    }
  }
  return y0 + static_cast<int>(high * static_cast<double>(rows)) + 20;
}

}  // namespace

std::string report_as_svg(const GradientReport& report) {
  std::string body;
  int top = 10;
  const auto drawn = [&](const GradientRow& row) {
    if (row.errors.empty() || row.verdict != Verdict::fail) return;
    top = draw(row, top, body);
  };
  for (const GradientRow& row : report.rows) drawn(row);
  for (const Culprit& culprit : report.culprits) {
    GradientRow row = culprit.row;
    row.name = format("{}, the op to blame: {}", culprit.op, row.name);
    drawn(row);
  }
  if (body.empty()) {
    body = label(10, 28, format("{}: no map of errors", name_of(report.verdict())));
    top = 40;
  } else {
    for (std::size_t i = 0; i < kSteps.size(); ++i) {
      const int x = 10 + static_cast<int>(i) * 83;
      body += format("<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"14\" fill=\"{}\"/>\n", x, top,
                     kSteps[i].colour);
      body += label(x + 18, top + 12, kSteps[i].label, "font-size=\"11\"");
    }
    top += kLegend;
  }
  return format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"white\"/>\n{}</svg>\n",
      kWidth, top + 10, body);
}

}  // namespace fovea
