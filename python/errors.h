// C++ exceptions as Python's, and the other way round.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <string_view>

#include "fovea/tensor/error.h"
#include "fovea/tensor/format.h"

namespace fovea::python {

/// Thrown while a Python exception is set: code on the way only cleans up.
struct Raised {};

/// Wrong kind of argument or element type.
struct TypeMistake {
  std::string text;
  bool dtype;  ///< of elements: also a ValueError
};

/// `where: text` as a TypeError.
template <class... Args>
[[noreturn]] void type_fail(std::string_view where, fmt::format_string<Args...> text,
                            Args&&... args) {
  throw TypeMistake{format("{}: {}", where, fmt::format(text, std::forward<Args>(args)...)), false};
}
/// The same as a DTypeError.
template <class... Args>
[[noreturn]] void dtype_fail(std::string_view where, fmt::format_string<Args...> text,
                             Args&&... args) {
  throw TypeMistake{format("{}: {}", where, fmt::format(text, std::forward<Args>(args)...)), true};
}

/// Adds `Error` (a ValueError, with `diagnostics`) and `DTypeError` (an Error and a TypeError) to
/// the module, and lets pybind11's functions raise them.
void define_errors(pybind11::module_& module);

/// Sets the Python exception that the C++ exception being handled stands for.
void raise_current() noexcept;

/// Runs a function that a C entry of the module consists of; null, with an exception set, if it
/// throws.
template <class F>
PyObject* guarded(const F& f) noexcept {
  try {
    return f();
  } catch (...) {
    raise_current();
    return nullptr;
  }
}

/// A new reference, or Raised if it is null.
inline PyObject* checked(PyObject* object) {
  if (object == nullptr) throw Raised();
  return object;
}
/// The same, owned.
inline pybind11::object owned(PyObject* object) {
  return pybind11::reinterpret_steal<pybind11::object>(checked(object));
}

/// Python's text as UTF-8; what cannot be written so is escaped.
std::string utf8(PyObject* text);
/// `'abc'`, `2.5`, `list`: what was given, for messages.
std::string shown(PyObject* object);

}  // namespace fovea::python
