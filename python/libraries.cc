#include "fovea/python/libraries.h"

#include "fovea/python/errors.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

// The module, if somebody has imported it.
py::object imported(const py::object& name) {
  return py::reinterpret_steal<py::object>(PyImport_GetModule(name.ptr()));
}

bool is_instance(PyObject* object, const py::object& module, const char* type_name) {
  if (!module) return false;
  const auto type =
      py::reinterpret_steal<py::object>(PyObject_GetAttrString(module.ptr(), type_name));
  if (!type) {  // while it is being imported
    PyErr_Clear();
    return false;
  }
  const int is = PyObject_IsInstance(object, type.ptr());
  if (is < 0) throw Raised();
  return is == 1;
}

}  // namespace

Libraries::Libraries() {
  const py::module_ numpy = py::module_::import("numpy");
  asarray = numpy.attr("asarray");
  ndarray_ = numpy.attr("ndarray");
  masked_ = numpy.attr("ma").attr("MaskedArray");
  empty_ = numpy.attr("empty");
  for (std::size_t i = 0; i < dtypes_.size(); ++i) {
    const auto element = static_cast<Element>(i);
    if (element != Element::bf16) {
      dtypes_[i] = numpy.attr("dtype")(py::str(std::string(name_of(element))));
    }
  }
  torch_name_ = owned(PyUnicode_InternFromString("torch"));
  jax_name_ = owned(PyUnicode_InternFromString("jax"));
}

Family Libraries::family_of(PyObject* array) const {
  if (is_numpy(array)) return Family::numpy;
  if (is_instance(array, imported(torch_name_), "Tensor")) return Family::torch;
  if (is_instance(array, imported(jax_name_), "Array")) return Family::jax;
  const bool standard = PyObject_HasAttrString(array, "__array_namespace__") != 0 &&
                        PyObject_HasAttrString(array, "__dlpack__") != 0;
  return standard ? Family::standard : Family::numpy;
}

bool Libraries::is_masked(PyObject* array) const {
  return !Py_IS_TYPE(array, reinterpret_cast<PyTypeObject*>(ndarray_.ptr())) &&
         PyObject_TypeCheck(array, reinterpret_cast<PyTypeObject*>(masked_.ptr())) != 0;
}

py::object Libraries::new_numpy(const py::tuple& shape, Element element) const {
  PyObject* const arguments[] = {shape.ptr(), dtypes_[static_cast<std::size_t>(element)].ptr()};
  return owned(PyObject_Vectorcall(empty_.ptr(), arguments, 2, nullptr));
}

py::object Libraries::new_torch(const py::tuple& shape, std::string_view dtype) const {
  const py::object torch = imported(torch_name_);
  return torch.attr("empty")(shape, py::arg("dtype") = torch.attr(std::string(dtype).c_str()));
}

py::object Libraries::bfloat16_of(PyObject* array) const {
  return py::reinterpret_borrow<py::object>(array).attr("dtype");
}

py::object Libraries::adopt(Family family, PyObject* model, const py::object& array) const {
  if (family == Family::jax) return imported(jax_name_).attr("numpy").attr("asarray")(array);
  return py::reinterpret_borrow<py::object>(model).attr("__array_namespace__")().attr("asarray")(
      array);
}

const Libraries& libraries() {
  static const auto* known = new Libraries();
  return *known;
}

}  // namespace fovea::python
