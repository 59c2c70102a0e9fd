// Text of tensors, character for character as NumPy 1.24 prints arrays.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "fovea/tensor/format.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

namespace {

// d.ddd · 10^exponent, without trailing zeros; `digits` is never empty.
struct Decimal {
  bool negative = false;
  std::string digits;
  int exponent = 0;
};

// The shortest digits that T reads back as `value`.
template <std::floating_point T>
Decimal shortest_decimal(T value) {
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, std::abs(value), std::chars_format::scientific)
          .ptr;
  Decimal decimal;
  decimal.negative = std::signbit(value);
  char* const e = std::find(buffer, end, 'e');
  std::copy_if(buffer, e, std::back_inserter(decimal.digits), [](char c) { return c != '.'; });
  std::from_chars(e + (e[1] == '+' ? 2 : 1), end, decimal.exponent);
  return decimal;
}

// Text before and after the decimal point, and the exponent's sign and digits.
struct Parts {
  std::string whole, fraction, exponent;
};

// At most `most` digits after the point: the shortest that identify `value`, or, when those are
// more, the exact value rounded to `most`. At least `least`, with the exact value's digits.
template <std::floating_point T>
Parts rounded_parts(T value, std::chars_format style, int shortest, int least, int most) {
  Parts parts;
  std::string text(400 + static_cast<std::size_t>(std::max(0, most)), '\0');
  const int digits = std::clamp(shortest, least, most);
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, style, digits).ptr;
  text.resize(static_cast<std::size_t>(end - text.data()));
  const std::size_t e = style == std::chars_format::scientific ? text.find('e') : text.size();
  if (e < text.size()) parts.exponent = text.substr(e + 1);
  const std::size_t point = std::min(text.find('.'), e);
  parts.whole = text.substr(0, point);
  parts.fraction = point < e ? text.substr(point + 1, e - point - 1) : std::string();
  while (static_cast<int>(parts.fraction.size()) > least && parts.fraction.ends_with('0')) {
    parts.fraction.pop_back();
  }
  return parts;
}

template <std::floating_point T>
Parts scientific(T value, int least, int most) {
  const auto fraction = static_cast<int>(shortest_decimal(value).digits.size()) - 1;
  return rounded_parts(value, std::chars_format::scientific, fraction, least, most);
}

template <std::floating_point T>
Parts positional(T value, int most) {
  const Decimal decimal = shortest_decimal(value);
  const int fraction = static_cast<int>(decimal.digits.size()) - 1 - decimal.exponent;
  return rounded_parts(value, std::chars_format::fixed, std::max(fraction, 0), 0, most);
}

std::string spaces(std::int64_t count) {
  return std::string(static_cast<std::size_t>(std::max<std::int64_t>(0, count)), ' ');
}

std::string nonfinite(double value) {
  return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
}

// How the elements of one tensor are written: with one width and one choice of notation for all.
template <class T>
class ElementFormat;

template <std::floating_point T>
class ElementFormat<T> {
 public:
  ElementFormat(const std::vector<T>& values, int precision) : precision_(precision) {
    choose_notation(values);
    bool any_finite = false, any_other = false, negative_infinity = false;
    for (T value : values) {
      if (!std::isfinite(value)) {
        any_other = true;
        negative_infinity |= std::isinf(value) && value < 0;
        continue;
      }
      any_finite = true;
      const Parts parts =
          exponents_ ? scientific(value, 0, precision) : positional(value, precision);
      left_ = std::max(left_, static_cast<int>(parts.whole.size()));
      right_ = std::max(right_, static_cast<int>(parts.fraction.size()));
      exponent_digits_ = std::max(exponent_digits_, static_cast<int>(parts.exponent.size()) - 1);
    }
    if (exponents_) {
      precision_ = right_;
      right_ = exponent_digits_ + 2 + precision_;
    }
    if (any_other) {
      const int infinity = negative_infinity ? 4 : 3;
      left_ = std::max({left_, 3 - (right_ + 1), infinity - (right_ + 1)});
    }
    if (!any_finite) right_ = 0;
  }

  std::string operator()(T value) const {
    if (!std::isfinite(value)) {
      const std::string text = nonfinite(static_cast<double>(value));
      return spaces(left_ + right_ + 1 - static_cast<int>(text.size())) + text;
    }
    if (exponents_) {
      Parts parts = scientific(value, precision_, precision_);
      const int missing = exponent_digits_ + 1 - static_cast<int>(parts.exponent.size());
      parts.exponent.insert(1, static_cast<std::size_t>(std::max(0, missing)), '0');
      return spaces(left_ - static_cast<int>(parts.whole.size())) + parts.whole + "." +
             parts.fraction + "e" + parts.exponent;
    }
    const Parts parts = positional(value, precision_);
    return spaces(left_ - static_cast<int>(parts.whole.size())) + parts.whole + "." +
           parts.fraction + spaces(right_ - static_cast<int>(parts.fraction.size()));
  }

 private:
  void choose_notation(const std::vector<T>& values) {
    T least = std::numeric_limits<T>::infinity(), most = 0;
    for (T value : values) {
      if (!std::isfinite(value) || value == 0) continue;
      least = std::min(least, std::abs(value));
      most = std::max(most, std::abs(value));
    }
    exponents_ = most > 0 && (static_cast<double>(most) >= 1e8 ||
                              static_cast<double>(least) < 1e-4 || most / least > T(1000));
  }

  int precision_;
  bool exponents_ = false;
  int left_ = 0, right_ = 0;  // characters before and after the point
  int exponent_digits_ = 0;
};

template <>
class ElementFormat<std::int64_t> {
 public:
  ElementFormat(const std::vector<std::int64_t>& values, int) {
    for (std::int64_t value : values) width_ = std::max(width_, format("{}", value).size());
  }
  std::string operator()(std::int64_t value) const { return format("{:{}}", value, width_); }

 private:
  std::size_t width_ = 0;
};

template <>
class ElementFormat<bool> {
 public:
  ElementFormat(const std::vector<bool>&, int) {}
  std::string operator()(bool value) const { return value ? " True" : "False"; }
};

// A scalar is written as its own shortest text: whatever `precision`, with another switch to
// exponents.
template <class T>
std::string scalar_text(T value) {
  if constexpr (std::same_as<T, bool>) {
    return value ? "True" : "False";
  } else if constexpr (std::same_as<T, std::int64_t>) {
    return format("{}", value);
  } else {
    if (!std::isfinite(value)) return nonfinite(static_cast<double>(value));
    const auto magnitude = static_cast<double>(std::abs(value));
    constexpr int kAll = 400;
    if (magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16)) {
      Parts parts = positional(value, kAll);
      // Unlike in an array, zeros stand behind the shortest digits of a large whole number.
      const Decimal decimal = shortest_decimal(value);
      const auto length = static_cast<std::size_t>(std::max(0, decimal.exponent + 1));
      if (length > decimal.digits.size()) {
        parts.whole = (decimal.negative ? "-" : "") + decimal.digits +
                      std::string(length - decimal.digits.size(), '0');
      }
      return parts.whole + "." + (parts.fraction.empty() ? "0" : parts.fraction);
    }
    const Parts parts = scientific(value, 0, kAll);
    return parts.whole + (parts.fraction.empty() ? "" : ".") + parts.fraction + "e" +
           parts.exponent;
  }
}

// The positions of one axis that are shown; -1 stands for the dots between them.
std::vector<std::int64_t> shown_positions(std::int64_t extent, bool summarise, std::int64_t edge) {
  std::vector<std::int64_t> positions;
  const bool dots = summarise && extent - edge > edge;
  for (std::int64_t i = 0; i < (dots ? edge : extent); ++i) positions.push_back(i);
  if (!dots) return positions;
  positions.push_back(-1);
  for (std::int64_t i = extent - edge; i < extent; ++i) positions.push_back(i);
  return positions;
}

// Walks over the shown elements of a tensor of rank 1 or more: on_row(changed_axis, offset) for
// each row, where `changed_axis` is the outermost axis that moved (-1 at first), and on_dots(axis)
// where rows are left out.
template <class OnRow, class OnDots>
void visit_shown(const Tensor& tensor, const std::vector<std::vector<std::int64_t>>& positions,
                 const OnRow& on_row, const OnDots& on_dots) {
  const std::size_t outer = positions.size() - 1;
  std::vector<std::size_t> index(outer, 0);
  std::int64_t offset = 0, changed = -1;
  for (;;) {
    on_row(changed, offset);
    std::size_t axis = outer;
    while (axis-- > 0) {
      const std::vector<std::int64_t>& shown = positions[axis];
      const std::int64_t before = shown[index[axis]];
      ++index[axis];
      const bool carry = index[axis] == shown.size();
      if (carry) index[axis] = 0;
      if (shown[index[axis]] < 0) {
        on_dots(static_cast<std::int64_t>(axis));
        ++index[axis];
      }
      offset += (shown[index[axis]] - before) * tensor.strides()[axis];
      if (!carry) {
        changed = static_cast<std::int64_t>(axis);
        break;
      }
      if (axis == 0) return;
    }
    if (outer == 0) return;
  }
}

template <class T>
class Printer {
 public:
  Printer(const Tensor& tensor, const PrintOptions& options)
      : tensor_(tensor),
        data_(tensor.data<T>()),
        rank_(tensor.rank()),
        width_(options.line_width - rank_) {
    for (const Extent& extent : tensor.shape()) {
      positions_.push_back(
          shown_positions(extent, tensor.numel() > options.threshold, options.edge_items));
    }
    std::vector<T> shown;
    visit(
        [&](std::int64_t, std::int64_t offset) {
          for (std::int64_t i : positions_.back()) {
            if (i >= 0) shown.push_back(data_[offset + i * tensor_.strides().back()]);
          }
        },
        [](std::int64_t) {});
    element_.emplace(shown, options.precision);
  }

  std::string text() {
    std::int64_t dots = -1;
    visit(
        [&](std::int64_t changed, std::int64_t offset) {
          if (changed >= 0) text_.append(static_cast<std::size_t>(rank_ - 1 - changed), ']');
          if (dots >= 0) begin_line(dots, "...");
          if (changed >= 0) begin_line(changed, {});
          dots = -1;
          text_.append(static_cast<std::size_t>(rank_ - 1 - changed), '[');
          row(offset);
        },
        [&](std::int64_t axis) { dots = axis; });
    text_.append(static_cast<std::size_t>(rank_), ']');
    return std::move(text_);
  }

 private:
  template <class OnRow, class OnDots>
  void visit(const OnRow& on_row, const OnDots& on_dots) const {
    visit_shown(tensor_, positions_, on_row, on_dots);
  }

  void begin_line(std::int64_t axis, std::string_view content) {
    text_.append(static_cast<std::size_t>(rank_ - 1 - axis), '\n');
    text_.append(static_cast<std::size_t>(axis + 1), ' ');
    text_ += content;
  }

  // Elements of the last axis, wrapped at the line's width; a line holds at least one.
  void row(std::int64_t offset) {
    const std::string indent = spaces(rank_);
    std::string line = indent;
    bool first_line = true;
    const auto end_line = [&] {
      text_ += std::string_view(line).substr(first_line ? indent.size() : 0);
      first_line = false;
    };
    for (std::size_t i = 0; i < positions_.back().size(); ++i) {
      const std::int64_t position = positions_.back()[i];
      const std::string word =
          position < 0 ? "..." : (*element_)(data_[offset + position * tensor_.strides().back()]);
      if (static_cast<std::int64_t>(line.size() + word.size()) > width_ &&
          line.size() > indent.size()) {
        line.erase(line.find_last_not_of(' ') + 1);
        end_line();
        text_ += '\n';
        line = indent;
      }
      line += word;
      if (i + 1 < positions_.back().size()) line += ' ';
    }
    end_line();
  }

  const Tensor& tensor_;
  const T* data_;
  std::int64_t rank_, width_;
  std::vector<std::vector<std::int64_t>> positions_;
  std::optional<ElementFormat<T>> element_;
  std::string text_;
};

}  // namespace

std::string to_string(const Tensor& tensor, const PrintOptions& options) {
  if (!tensor) fail("to_string", "a null tensor; a tensor with a dtype and shape is required");
  if (options.precision < 0 || options.precision > 1000 || options.edge_items < 1) {
    fail("to_string", "precision {} and edge_items {}; 0 to 1000, and 1 or more, are required",
         options.precision, options.edge_items);
  }
  if (tensor.numel() == 0) return "[]";
  return visit_dtype(tensor.dtype(), [&]<class T>(std::type_identity<T>) {
    if (tensor.rank() == 0) return scalar_text(*tensor.data<T>());
    return Printer<T>(tensor, options).text();
  });
}

}  // namespace fovea
