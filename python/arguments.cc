#include "fovea/python/arguments.h"

#include <algorithm>

#include "fovea/python/errors.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

struct Word {
  std::string_view theirs, ours;
};

// Other libraries' words for what Fovea has, or does not have.
constexpr Word kWords[] = {
    {"attn_mask", "mask= (bool, True = visible), or bias= (numbers, added to the scores)"},
    {"attention_mask", "mask= (bool, True = visible), or bias= (numbers, added to the scores)"},
    {"key_padding_mask", "key_lengths=, or mask= (True = visible)"},
    {"is_causal", "causal="},
    {"dropout_p", "none: there is no dropout"},
    {"dropout", "none: there is no dropout"},
    {"enable_gqa", "none: k and v may always have fewer heads than q"},
    {"query", "q"},
    {"key", "k"},
    {"value", "v"},
    {"softmax_scale", "scale="},
    {"sliding_window", "window=(left, right)"},
    {"window_size", "window=(left, right)"},
    {"local_window_size", "window=(left, right)"},
    {"key_value_seq_lengths", "key_lengths="},
    {"logits_soft_cap", "softcap="},
    {"num_threads", "threads="},
};

bool given(PyObject* object) { return object != nullptr && object != Py_None; }

}  // namespace

Signature::Signature(const char* name, std::size_t positional, std::size_t required,
                     std::span<const char* const> parameters)
    : name_(name),
      positional_(positional),
      required_(required),
      parameters_(parameters.begin(), parameters.end()) {
  for (const char* parameter : parameters) {
    interned_.push_back(checked(PyUnicode_InternFromString(parameter)));
  }
}

std::size_t Signature::find(PyObject* name) const {
  const auto same = std::ranges::find(interned_, name);
  if (same != interned_.end()) return static_cast<std::size_t>(same - interned_.begin());
  for (std::size_t i = 0; i < interned_.size(); ++i) {
    if (PyUnicode_Compare(name, interned_[i]) == 0) return i;
  }
  refuse_keyword(name);
}

void Signature::refuse_keyword(PyObject* name) const {
  const std::string text = utf8(name);
  const auto* word = std::ranges::find(kWords, text, &Word::theirs);
  if (word != std::end(kWords)) {
    type_fail(name_, "unknown keyword {}; Fovea's word is {}", quoted(text), word->ours);
  }
  type_fail(name_, "unknown keyword {}{}", quoted(text), did_you_mean(text, parameters_));
}

void Signature::parse(PyObject* const* arguments, Py_ssize_t count, PyObject* names,
                      std::span<PyObject*> out) const {
  const auto n = static_cast<std::size_t>(count);
  if (n > positional_) {
    type_fail(name_,
              "{} positional arguments; at most {} are possible, {}= and what follows are keywords",
              n, positional_, parameters_[positional_]);
  }
  std::copy_n(arguments, n, out.begin());
  std::fill(out.begin() + count, out.end(), nullptr);
  const Py_ssize_t keywords = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    const std::size_t at = find(PyTuple_GET_ITEM(names, i));
    if (out[at] != nullptr) type_fail(name_, "{} is given twice", parameters_[at]);
    out[at] = arguments[count + i];
  }
  for (std::size_t i = 0; i < required_; ++i) {
    if (out[i] == nullptr) type_fail(name_, "{} is missing; it is required", parameters_[i]);
  }
}

std::optional<double> real_argument(std::string_view where, std::string_view name,
                                    PyObject* object) {
  if (!given(object)) return {};
  const double x = PyFloat_AsDouble(object);
  if (x == -1 && PyErr_Occurred() != nullptr) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0 &&
        PyErr_ExceptionMatches(PyExc_OverflowError) == 0 &&
        PyErr_ExceptionMatches(PyExc_ValueError) == 0) {
      throw Raised();
    }
    const bool large = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
    PyErr_Clear();
    if (large) fail(where, "{} does not fit 64 bits; a finite number is required", name);
    type_fail(where, "{} is {}; a number is required", name, shown(object));
  }
  return x;
}

std::optional<std::int64_t> integer_argument(std::string_view where, std::string_view name,
                                             PyObject* object) {
  if (!given(object)) return {};
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(object));
  if (!index) {
    PyErr_Clear();
    type_fail(where, "{} is {}; an integer is required", name, shown(object));
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0) {
    fail(where, "{} is {}; an integer of at most 64 bits is required", name, shown(index.ptr()));
  }
  return value;
}

bool flag_argument(std::string_view where, std::string_view name, PyObject* object, bool standard) {
  if (!given(object)) return standard;
  if (object == Py_True || object == Py_False) return object == Py_True;
  const std::string_view type = Py_TYPE(object)->tp_name;
  if (type == "numpy.bool_" || type == "numpy.bool") return PyObject_IsTrue(object) == 1;
  type_fail(where, "{} is {}; True or False is required", name, shown(object));
}

std::optional<std::string> text_argument(std::string_view where, std::string_view name,
                                         PyObject* object) {
  if (!given(object)) return {};
  if (PyUnicode_Check(object) == 0) {
    type_fail(where, "{} is {}; text is required", name, shown(object));
  }
  return utf8(object);
}

}  // namespace fovea::python
