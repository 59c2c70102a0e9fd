#include "fovea/graph/model/dims.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

bool is_model_name(std::string_view text) {
  return !text.empty() && is_letter(text[0]) &&
         std::ranges::all_of(text, [](char c) { return is_letter(c) || is_digit(c); });
}

// Recursive descent; the depth counts brackets and leading minuses.
class DimParser {
 public:
  DimParser(std::string_view text, DimExpression::Kind kind) : rest_(text), kind_(kind) {
    result_.text_ = text;
  }

  DimExpression parse() {
    if (rest_.size() > kMaxSize) refuse(format("longer than {} characters", kMaxSize));
    sum(0);
    if (peek() != '\0' || !rest_.empty()) refuse(format("unexpected {}", quoted(rest_)));
    return std::move(result_);
  }

 private:
  using Code = DimExpression::Code;
  static constexpr int kMaxDepth = 100;
  static constexpr std::size_t kMaxSize = 1000;

  [[noreturn]] void refuse(std::string_view what) const {
    throw Error("", format("{} as an expression: {}; integers, dims, + - * / and brackets{} are "
                           "allowed",
                           quoted(result_.text_), what,
                           kind_ == DimExpression::Kind::real ? ", decimals and sqrt(…)" : ""));
  }

  char peek() {
    while (!rest_.empty() && rest_[0] == ' ') rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_[0];
  }
  bool take(char c) {
    if (peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void emit(Code code) { result_.steps_.push_back({.code = code}); }

  void sum(int depth) {
    product(depth);
    while (true) {
      if (take('+')) {
        product(depth);
        emit(Code::add);
      } else if (take('-')) {
        product(depth);
        emit(Code::sub);
      } else {
        return;
      }
    }
  }

  void product(int depth) {
    factor(depth);
    while (true) {
      if (take('*')) {
        factor(depth);
        emit(Code::mul);
      } else if (take('/')) {
        factor(depth);
        emit(Code::div);
      } else {
        return;
      }
    }
  }

  void factor(int depth) {
    if (depth > kMaxDepth) refuse(format("brackets deeper than {}", kMaxDepth));
    const char c = peek();
    if (take('-')) {
      factor(depth + 1);
      emit(Code::neg);
    } else if (c == '(') {
      bracket(depth);
    } else if (is_digit(c)) {
      number();
    } else if (is_letter(c)) {
      name(depth);
    } else {
      refuse(rest_.empty() ? "it ends too early" : format("unexpected {}", quoted(rest_)));
    }
  }

  void bracket(int depth) {
    take('(');
    sum(depth + 1);
    if (!take(')')) refuse("a bracket is not closed");
  }

  void number() {
    std::size_t size = 0;
    while (size < rest_.size() && (is_digit(rest_[size]) || rest_[size] == '.')) ++size;
    const std::string_view digits = rest_.substr(0, size);
    DimExpression::Step step{.code = Code::number};
    const char* end = digits.data() + size;
    if (digits.find('.') == digits.npos) {
      if (std::from_chars(digits.data(), end, step.whole).ec != std::errc()) {
        refuse(format("{} does not fit in 63 bits", quoted(digits)));
      }
      step.real = static_cast<double>(step.whole);
    } else {
      const auto read = std::from_chars(digits.data(), end, step.real);
      if (kind_ != DimExpression::Kind::real || read.ec != std::errc() || read.ptr != end) {
        refuse(format("{} is not an integer", quoted(digits)));
      }
    }
    rest_.remove_prefix(size);
    result_.steps_.push_back(step);
  }

  void name(int depth) {
    std::size_t size = 0;
    while (size < rest_.size() && (is_digit(rest_[size]) || is_letter(rest_[size]))) ++size;
    const std::string name(rest_.substr(0, size));
    rest_.remove_prefix(size);
    if (peek() == '(') {
      if (name != "sqrt" || kind_ != DimExpression::Kind::real) {
        refuse(format("{} is not a function here", quoted(name)));
      }
      bracket(depth);
      emit(Code::sqrt);
      return;
    }
    const auto at = std::ranges::find(result_.names_, name);
    const auto index = at - result_.names_.begin();
    if (at == result_.names_.end()) result_.names_.push_back(name);
    result_.steps_.push_back({.code = Code::name, .whole = index});
  }

  std::string_view rest_;
  DimExpression::Kind kind_;
  DimExpression result_;
};

DimExpression::DimExpression(std::int64_t value) : text_(format("{}", value)) {
  steps_.push_back({Code::number, value, static_cast<double>(value)});
}

DimExpression DimExpression::parse(std::string_view text, Kind kind) {
  return DimParser(text, kind).parse();
}

const std::string* DimExpression::bare_name() const {
  return names_.size() == 1 && names_[0] == text_ ? &names_[0] : nullptr;
}

std::string DimExpression::with_values(std::span<const std::int64_t> values) const {
  std::string text = quoted(text_);
  for (std::size_t i = 0; i < std::min<std::size_t>(names_.size(), 8); ++i) {
    text += format("{}{}={}", i == 0 ? " with " : ", ", names_[i], values[i]);
  }
  return text;
}

Extent DimExpression::whole(std::span<const std::int64_t> values) const {
  std::vector<std::int64_t> stack;
  const auto combine = [&](Code code, std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    bool overflow = false;
    if (code == Code::add) overflow = __builtin_add_overflow(a, b, &result);
    if (code == Code::sub) overflow = __builtin_sub_overflow(a, b, &result);
    if (code == Code::mul) overflow = __builtin_mul_overflow(a, b, &result);
    if (code == Code::div) {
      if (b == 0) fail("", "{}: {}/0; a division must be exact", with_values(values), a);
      overflow = b == -1 && __builtin_sub_overflow(std::int64_t{0}, a, &result);
      if (b != -1 && a % b != 0) {
        fail("", "{}: {}/{} is not a whole number; a division must be exact", with_values(values),
             a, b);
      }
      if (b != -1) result = a / b;
    }
    if (overflow) {
      fail("", "{} is too large; sizes must fit in 63 bits", with_values(values));
    }
    return result;
  };
  for (const Step& step : steps_) {
    if (step.code == Code::number) {
      stack.push_back(step.whole);
    } else if (step.code == Code::name) {
      stack.push_back(values[static_cast<std::size_t>(step.whole)]);
    } else if (step.code == Code::neg) {
      stack.back() = combine(Code::sub, 0, stack.back());
    } else {
      const std::int64_t b = stack.back();
      stack.pop_back();
      stack.back() = combine(step.code, stack.back(), b);
    }
  }
  // A long expression would hide the shape in which it is printed.
  const bool named = !names_.empty() && text_.size() <= 40;
  return named ? Extent(stack.back(), text_) : Extent(stack.back());
}

double DimExpression::real(std::span<const std::int64_t> values) const {
  std::vector<double> stack;
  for (const Step& step : steps_) {
    if (step.code == Code::number) {
      stack.push_back(step.real);
      continue;
    }
    if (step.code == Code::name) {
      stack.push_back(static_cast<double>(values[static_cast<std::size_t>(step.whole)]));
      continue;
    }
    if (step.code == Code::neg || step.code == Code::sqrt) {
      stack.back() = step.code == Code::neg ? -stack.back() : std::sqrt(stack.back());
      continue;
    }
    const double b = stack.back();
    stack.pop_back();
    double& a = stack.back();
    a = step.code == Code::add   ? a + b
        : step.code == Code::sub ? a - b
        : step.code == Code::mul ? a * b
                                 : a / b;
  }
  if (!std::isfinite(stack.back())) {
    fail("", "{} is {}; a finite number is required", with_values(values),
         std::isnan(stack.back()) ? "not a number" : "infinite");
  }
  return stack.back();
}

}  // namespace fovea
