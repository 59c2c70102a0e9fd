// Sizes for a model's dims.

#include <algorithm>
#include <functional>

#include "fovea/graph/model/instance.h"
#include "fovea/graph/model/reader.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// Where a dim has its value from.
struct Given {
  std::int64_t size;
  std::string by;  // `sizes["length"] = 16`, `"x" in x.npz`, `the value of input "x"`
};

template <class Size>
std::string size_text(const std::string& word, const std::string& dim, const Size& size) {
  return fmt::format(fmt::runtime(word), dim, size);
}

class Binder {
 public:
  Binder(const Description& description, const Choices& choices, Mistakes& mistakes)
      : d_(description), choices_(choices), mistakes_(mistakes), given_(description.dims.size()) {}

  std::vector<std::optional<Given>> bind() {
    for (const auto& [name, size] : choices_.dims) choose(name, size);
    for (const Declaration& input : d_.body.inputs) {
      if (input.broken) continue;
      const auto array = choices_.arrays.find(input.name);
      if (array != choices_.arrays.end()) {
        const TensorSpec spec = spec_of(array->second);
        match(input, spec.shape, format("{} in {}", quoted(input.name), choices_.arrays_from),
              [&](std::string text) {
                mistakes_.add_in(choices_.arrays_from, input.at,
                                 format("{} is {}{}", quoted(input.name), to_string(spec), text));
              });
      } else if (input.value) {
        match_value(input);
      }
    }
    check_names();
    return std::move(given_);
  }

 private:
  void choose(const std::string& name, std::int64_t size) {
    const auto dim = d_.dim_index.find(name);
    if (dim == d_.dim_index.end()) {
      std::vector<std::string> known;
      for (const Dim& one : d_.dims) known.push_back(one.name);
      mistakes_.add({.place = choices_.sizes_from, .op = {}, .text = unknown("dim", name, known)});
    } else if (size < 0) {
      mistakes_.add({.place = choices_.sizes_from,
                     .op = {},
                     .text = format("{}={}; sizes are 0 or more", name, size)});
    } else {
      given_[dim->second] = Given{size, size_text(choices_.size_word, name, size)};
    }
  }

  void match_value(const Declaration& input) {
    try {
      const Shape shape = json_shape(input.value);
      // An empty list cannot say its inner extents; stated_value checks what it can say.
      if (shape.numel() == 0 && shape.rank() != rank(input)) return;
      match(input, shape, format("the value of input {}", quoted(input.name)),
            [&](std::string text) {
              mistakes_.add(input.value, format("the value of input {} has shape {}{}",
                                                quoted(input.name), shape, text));
            });
    } catch (const Error& error) {
      mistakes_.add(input.value, error);
    }
  }

  static std::int64_t rank(const Declaration& input) {
    return static_cast<std::int64_t>(input.shape.size());
  }

  // `report` is told what is wrong with the shape.
  void match(const Declaration& input, const Shape& shape, const std::string& by,
             const std::function<void(std::string)>& report) {
    if (shape.rank() != rank(input)) {
      std::vector<std::string> sizes;
      for (const Size& size : input.shape) sizes.emplace_back(size.value.text());
      return report(format("; rank {} ({}{}) is required by the input at {}", rank(input),
                           fmt::join(sizes, ", "), sizes.size() == 1 ? "," : "",
                           input.at.key_place()));
    }
    for (std::size_t axis = 0; axis < input.shape.size(); ++axis) {
      const std::string* name = input.shape[axis].value.bare_name();
      if (name == nullptr) continue;
      const std::int64_t size = shape[static_cast<std::int64_t>(axis)];
      std::optional<Given>& given = given_[d_.dim_index.at(*name)];
      if (!given) {
        given = Given{size, by};
      } else if (given->size != size) {
        report(format(", so {0} is {1}; {0} is {2} by {3}", *name, size, given->size, given->by));
      }
    }
  }

  void check_names() {
    for (const auto& [name, array] : choices_.arrays) {
      if (mistakes_.full()) return;
      const bool known =
          std::ranges::find(d_.body.inputs, name, &Declaration::name) != d_.body.inputs.end();
      if (known) continue;
      std::vector<std::string> inputs;
      for (const Declaration& input : d_.body.inputs) inputs.push_back(input.name);
      const bool param =
          std::ranges::find(d_.body.params, name, &Declaration::name) != d_.body.params.end();
      mistakes_.add({.place = choices_.arrays_from,
                     .op = {},
                     .text = param ? format("{} is a param; weights give it", quoted(name))
                                   : unknown("input", name, inputs)});
    }
  }

  const Description& d_;
  const Choices& choices_;
  Mistakes& mistakes_;
  std::vector<std::optional<Given>> given_;
};

}  // namespace

DimValues DimValues::bind(const Description& description, const Choices& choices,
                          Mistakes& mistakes) {
  DimValues dims(description);
  dims.size_word_ = choices.size_word;
  const std::vector<std::optional<Given>> given = Binder(description, choices, mistakes).bind();
  for (std::uint32_t i : description.dim_order) {
    if (given[i]) {
      dims.values_[i] = given[i]->size;
      dims.given_by_[i] = given[i]->by;
    } else {
      dims.evaluate(i, mistakes);
    }
  }
  return dims;
}

void DimValues::evaluate(std::uint32_t dim, Mistakes& mistakes) {
  const Dim& one = d_->dims[dim];
  if (!one.value) {
    open_[dim] = true;
    return;
  }
  for (const std::string& name : one.value->names()) {
    open_[dim] = open_[dim] || open_[d_->dim_index.at(name)];
  }
  const bool known = std::ranges::all_of(one.value->names(), [&](const std::string& name) {
    return values_[d_->dim_index.at(name)].has_value();
  });
  if (!known) return;
  if (const auto value = whole(one.at, *one.value, mistakes)) values_[dim] = value->value();
  if (values_[dim] && *values_[dim] < 0) {
    if (!open_[dim]) {
      mistakes.add(one.at,
                   format("the dim {} is {}; sizes are 0 or more", one.name, *values_[dim]));
    }
    values_[dim].reset();
  }
}

std::vector<std::uint32_t> DimValues::unbound() const {
  std::vector<std::uint32_t> dims;
  for (std::uint32_t i = 0; i < values_.size(); ++i) {
    if (!values_[i] && !d_->dims[i].value) dims.push_back(i);
  }
  return dims;
}

DimValues DimValues::with(const std::vector<std::int64_t>& sizes) const {
  DimValues result = *this;
  result.stands_in_ = true;
  const std::vector<std::uint32_t> dims = unbound();
  for (std::size_t i = 0; i < dims.size(); ++i) result.values_[dims[i]] = sizes[i];
  Mistakes none;  // a stand-in is to blame
  for (std::uint32_t i : d_->dim_order) {
    if (!result.values_[i]) result.evaluate(i, none);
  }
  return result;
}

bool DimValues::open(const DimExpression& expression) const {
  return std::ranges::any_of(
      expression.names(), [&](const std::string& name) { return open_[d_->dim_index.at(name)]; });
}

void DimValues::report_unbound(std::uint32_t dim, Mistakes& mistakes) const {
  std::vector<std::uint32_t> stack{dim};
  std::vector<bool> seen(values_.size());
  while (!stack.empty()) {
    const std::uint32_t at = stack.back();
    stack.pop_back();
    if (seen[at] || values_[at]) continue;
    seen[at] = true;
    const Dim& one = d_->dims[at];
    if (!one.value) {
      if (!one.at.is(JsonKind::null)) continue;  // its value is broken, which has been reported
      mistakes.add(one.at, format("the dim \"{0}\" has no size; say {1}", one.name,
                                  size_text(size_word_, one.name, "N")));
      continue;
    }
    for (const std::string& name : one.value->names()) stack.push_back(d_->dim_index.at(name));
  }
}

bool DimValues::collect(const DimExpression& expression, std::vector<std::int64_t>& values,
                        bool& open, Mistakes& mistakes) const {
  for (const std::string& name : expression.names()) {
    const std::uint32_t dim = d_->dim_index.at(name);
    open |= open_[dim];
    if (values_[dim]) {
      values.push_back(*values_[dim]);
    } else {
      report_unbound(dim, mistakes);
    }
  }
  return values.size() == expression.names().size();
}

bool DimValues::knows(const JsonValue& at, const DimExpression& expression,
                      Mistakes& mistakes) const {
  return all_known(*d_, at, expression, mistakes);
}

std::optional<Extent> DimValues::whole(const JsonValue& at, const DimExpression& expression,
                                       Mistakes& mistakes) const {
  std::vector<std::int64_t> values;
  bool open = false;
  if (!collect(expression, values, open, mistakes)) return {};
  try {
    return expression.whole(values);
  } catch (const Error& error) {
    if (!open) mistakes.add(at, error);
    return {};
  }
}

std::optional<double> DimValues::real(const JsonValue& at, const DimExpression& expression,
                                      Mistakes& mistakes) const {
  std::vector<std::int64_t> values;
  bool open = false;
  if (!collect(expression, values, open, mistakes)) return {};
  try {
    return expression.real(values);
  } catch (const Error& error) {
    if (!open) mistakes.add(at, error);
    return {};
  }
}

std::optional<Extent> DimValues::size(const Size& size, Mistakes& mistakes) const {
  const std::optional<Extent> extent = whole(size.at, size.value, mistakes);
  if (!extent || extent->value() >= 0) return extent;
  if (!open(size.value)) {
    mistakes.add(size.at, format("the size {} is {}; sizes are 0 or more",
                                 quoted(size.value.text()), extent->value()));
  }
  return {};
}

std::optional<Shape> DimValues::shape(const std::vector<Size>& sizes, Mistakes& mistakes) const {
  std::vector<Extent> extents;
  for (const Size& one : sizes) {
    if (const auto extent = size(one, mistakes)) extents.push_back(*extent);
  }
  if (extents.size() != sizes.size()) return {};
  try {
    return Shape(std::move(extents));
  } catch (const Error& error) {
    const bool stand_in =
        std::ranges::any_of(sizes, [&](const Size& one) { return open(one.value); });
    if (!stand_in && !sizes.empty()) mistakes.add(sizes.front().at, error);
    return {};
  }
}

}  // namespace fovea::model
