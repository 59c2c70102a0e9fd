// Expressions over named dimensions: `"3*width"`, `"width/heads"`, `"1/sqrt(width/heads)"`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/shape.h"

namespace fovea {

/// `[A-Za-z_][A-Za-z0-9_]*`.
bool is_model_name(std::string_view text);

/// `+ - * /`, brackets, a leading minus, integers and names. A real one may also have decimal
/// numbers and `sqrt(…)`.
class DimExpression {
 public:
  enum class Kind { whole, real };

  DimExpression() = default;
  explicit DimExpression(std::int64_t value);
  /// Throws Error, text alone, if `text` is not an expression has brackets deeper than 100, or more
  /// than 1000 characters.
  static DimExpression parse(std::string_view text, Kind kind);

  /// As written.
  const std::string& text() const { return text_; }
  /// The dimensions it uses, in order of first appearance.
  const std::vector<std::string>& names() const { return names_; }
  /// The one name of which the expression consists, or null.
  const std::string* bare_name() const;

  /// With `values[i]` for `names()[i]`. Throws Error, text alone, when the value leaves 64 bits or
  /// a division is not exact. The extent has the expression as its name unless it is a plain
  /// number or long.
  Extent whole(std::span<const std::int64_t> values) const;
  /// Real arithmetic. Throws Error, text alone, when the value is not finite.
  double real(std::span<const std::int64_t> values) const;

 private:
  friend class DimParser;
  enum class Code : char { number, name, add, sub, mul, div, neg, sqrt };
  struct Step {
    Code code;
    std::int64_t whole = 0;  // or the name's index
    double real = 0;
  };
  std::string with_values(std::span<const std::int64_t> values) const;

  std::string text_;
  std::vector<std::string> names_;
  std::vector<Step> steps_;  // postfix
};

}  // namespace fovea
