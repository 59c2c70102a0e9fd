// Arguments of the functions that are called too often for pybind11's way: parsed in place, in a
// fraction of a microsecond.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::python {

/// The parameters of one function: the first `positional` may be given by position, and of these
/// the first `required` must be given.
class Signature {
 public:
  Signature(const char* name, std::size_t positional, std::size_t required,
            std::span<const char* const> parameters);

  const char* name() const { return name_; }
  /// Borrowed references, null for what is not given, in the order of the parameters. Throws
  /// TypeMistake as Python would, and for other libraries' words with Fovea's.
  void parse(PyObject* const* arguments, Py_ssize_t count, PyObject* names,
             std::span<PyObject*> out) const;

 private:
  std::size_t find(PyObject* name) const;
  [[noreturn]] void refuse_keyword(PyObject* name) const;

  const char* name_;
  std::size_t positional_, required_;
  std::vector<PyObject*> interned_;
  std::vector<std::string> parameters_;
};

// Values of arguments; `object` may be null or None where the result is optional. Each throws
// TypeMistake, or Error for numbers that do not fit, naming `where` and `name`.
std::optional<double> real_argument(std::string_view where, std::string_view name,
                                    PyObject* object);
std::optional<std::int64_t> integer_argument(std::string_view where, std::string_view name,
                                             PyObject* object);
bool flag_argument(std::string_view where, std::string_view name, PyObject* object, bool standard);
std::optional<std::string> text_argument(std::string_view where, std::string_view name,
                                         PyObject* object);

}  // namespace fovea::python
