#include "fovea/python/attention_call.h"

#include <algorithm>

#include "fovea/python/arguments.h"
#include "fovea/python/errors.h"

namespace fovea::python {

namespace {

// What the elements are computed in, halves apart.
Element number_element(Element element) { return is_integer(element) ? Element::f64 : element; }

Window read_window(std::string_view where, PyObject* object) {
  if (!given(object)) return {};
  if (PyTuple_Check(object) == 0 && PyList_Check(object) == 0) {
    type_fail(where, "window is {}; (left, right), each an integer or None, is required",
              shown(object));
  }
  if (PySequence_Fast_GET_SIZE(object) != 2) {
    fail(where, "window has {} entries; (left, right), each an integer or None, is required",
         PySequence_Fast_GET_SIZE(object));
  }
  const auto side = [&](std::string_view name, Py_ssize_t i) {
    const auto keys = integer_argument(where, name, PySequence_Fast_GET_ITEM(object, i));
    if (keys && *keys < 0)
      fail(where, "{} is {}; a number of keys, or None for no bound, is required", name, *keys);
    return keys;
  };
  return {.left = side("window[0]", 0), .right = side("window[1]", 1)};
}

std::optional<Align> read_align(std::string_view where, PyObject* object) {
  const std::optional<std::string> text = text_argument(where, "align", object);
  if (!text) return {};
  const auto& names = EnumNames<Align>::names;
  const auto* at = std::ranges::find(names, *text);
  if (at == names.end()) {
    fail(where, "align is {}; \"top_left\" or \"bottom_right\" is required{}", quoted(*text),
         did_you_mean(*text, {names.begin(), names.end()}));
  }
  return static_cast<Align>(at - names.begin());
}

}  // namespace

void AttentionCall::read(std::string_view function, std::span<PyObject* const> operands,
                         std::span<PyObject* const> options) {
  where = function;
  q.read({where, "q"}, operands[0], Role::number);
  k.read({where, "k"}, operands[1], Role::number);
  v.read({where, "v"}, operands[2], Role::number);
  if (given(options[0])) mask.read({where, "mask"}, options[0], Role::mask);
  if (given(options[1])) bias.read({where, "bias"}, options[1], Role::number);
  if (given(options[2])) key_lengths.read({where, "key_lengths"}, options[2], Role::integer);
  require_dtype_of_q("k", k);
  require_dtype_of_q("v", v);
  require_dtype_of_q("bias", bias);

  attributes.scale = real_argument(where, "scale", options[3]);
  attributes.causal = flag_argument(where, "causal", options[4], false);
  attributes.align = read_align(where, options[5]);
  attributes.query_offset = integer_argument(where, "query_offset", options[6]);
  attributes.window = read_window(where, options[7]);
  attributes.softcap = real_argument(where, "softcap", options[8]).value_or(0);
  if (const auto n = integer_argument(where, "threads", options[9])) {
    if (*n < 1) fail(where, "threads is {}; at least 1 is required", *n);
    threads = static_cast<int>(std::min<std::int64_t>(*n, 1024));
  }
}

void AttentionCall::require_dtype_of_q(std::string_view name, const ArrayArgument& array) const {
  if (!array || number_element(array.element()) == element()) return;
  dtype_fail(where, "{} and {}; one dtype is required", described("q", q), described(name, array));
}

Element AttentionCall::element() const { return number_element(q.element()); }

Element AttentionCall::lse_element() const {
  return is_half(q.element()) ? Element::f32 : element();
}

Attention::In<Tensor> AttentionCall::tensors() const {
  return {.q = q.tensor(),
          .k = k.tensor(),
          .v = v.tensor(),
          .mask = mask.optional_tensor(),
          .bias = bias.optional_tensor(),
          .key_lengths = key_lengths.optional_tensor()};
}

Attention::In<TensorSpec> AttentionCall::specs() const {
  const auto optional = [](const ArrayArgument& array) {
    return array ? std::optional(spec_of(array.tensor())) : std::nullopt;
  };
  return {.q = spec_of(q.tensor()),
          .k = spec_of(k.tensor()),
          .v = spec_of(v.tensor()),
          .mask = optional(mask),
          .bias = optional(bias),
          .key_lengths = optional(key_lengths)};
}

}  // namespace fovea::python
