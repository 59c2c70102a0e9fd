#include "fovea/python/errors.h"

#include <new>

namespace fovea::python {

namespace py = pybind11;

namespace {

// The two exception types; they live as long as the process.
PyObject* error_type = nullptr;
PyObject* dtype_error_type = nullptr;

PyObject* new_exception(py::module_& module, const char* name, const char* doc,
                        const py::tuple& bases) {
  PyObject* type = checked(PyErr_NewExceptionWithDoc(name, doc, bases.ptr(), nullptr));
  module.add_object(std::strrchr(name, '.') + 1, py::handle(type));
  return type;
}

void raise_error(const Error& error) {
  const py::object exception =
      owned(PyObject_CallFunction(error_type, "s", static_cast<const char*>(error.what())));
  py::list diagnostics;
  for (const Diagnostic& d : error.diagnostics()) {
    diagnostics.append(py::make_tuple(d.place, d.op, d.text));
  }
  exception.attr("diagnostics") = diagnostics;
  PyErr_SetObject(error_type, exception.ptr());
}

void raise(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Raised&) {
  } catch (const TypeMistake& mistake) {
    PyErr_SetString(mistake.dtype ? dtype_error_type : PyExc_TypeError, mistake.text.c_str());
  } catch (const Error& error) {
    raise_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

}  // namespace

void define_errors(py::module_& module) {
  error_type = new_exception(
      module, "fovea.Error",
      "What Fovea refuses: `where: what was given; what is required`.\n\n`diagnostics` lists one "
      "(place, op, text) for each mistake.",
      py::make_tuple(py::reinterpret_borrow<py::object>(PyExc_ValueError)));
  dtype_error_type = new_exception(
      module, "fovea.DTypeError", "An array's elements are of a type that does not fit.",
      py::make_tuple(py::reinterpret_borrow<py::object>(error_type),
                     py::reinterpret_borrow<py::object>(PyExc_TypeError)));
  py::object(py::reinterpret_borrow<py::object>(error_type)).attr("diagnostics") = py::tuple();
  py::register_exception_translator([](std::exception_ptr thrown) {
    if (thrown) raise(thrown);
  });
}

void raise_current() noexcept {
  try {
    raise(std::current_exception());
  } catch (...) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_SystemError, "error while raising");
  }
}

std::string utf8(PyObject* text) {
  Py_ssize_t size = 0;
  if (const char* direct = PyUnicode_AsUTF8AndSize(text, &size)) {
    return {direct, static_cast<std::size_t>(size)};
  }
  PyErr_Clear();  // lone surrogates
  const py::object bytes = owned(PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

std::string shown(PyObject* object) {
  const bool is_number = PyLong_Check(object) || PyFloat_Check(object) || PyComplex_Check(object);
  if (!PyUnicode_Check(object) && !is_number && object != Py_None) return Py_TYPE(object)->tp_name;
  constexpr std::size_t kLongest = 80;
  std::string text = utf8(owned(PyObject_Repr(object)).ptr());
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "…");
  return text;
}

}  // namespace fovea::python
