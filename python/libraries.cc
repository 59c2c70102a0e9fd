#include "fovea/python/libraries.h"

#include <utility>

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

py::object interned(const char* text) { return owned(PyUnicode_InternFromString(text)); }

bool is_true(PyObject* tensor, const py::object& attribute) {
  return PyObject_IsTrue(owned(PyObject_GetAttr(tensor, attribute.ptr())).ptr()) == 1;
}

bool is_recording(const Torch& torch) {
  return PyObject_IsTrue(owned(PyObject_CallNoArgs(torch.is_grad_enabled.ptr())).ptr()) == 1;
}

}  // namespace

py::object capsule_or_refusal(const Place& place, PyObject* made) {
  const bool refused = made == nullptr && (PyErr_ExceptionMatches(PyExc_BufferError) != 0 ||
                                           PyErr_ExceptionMatches(PyExc_AttributeError) != 0 ||
                                           PyErr_ExceptionMatches(PyExc_RuntimeError) != 0 ||
                                           PyErr_ExceptionMatches(PyExc_ValueError) != 0 ||
                                           PyErr_ExceptionMatches(PyExc_TypeError) != 0);
  if (!refused) return owned(made);
  const py::error_already_set reason;
  const std::string text = utf8(py::str(reason.value()).ptr());
  fail(place.where,
       "{} cannot be read ({}); a dense array in the CPU's memory, not a tracer's, is required",
       place.name, text.substr(0, text.find('\n')));
}

Torch::Torch(const py::object& module)
    : tensor(module.attr("Tensor")),
      to_dlpack(py::module_::import("torch.utils.dlpack").attr("to_dlpack")),
      empty(module.attr("empty")),
      is_grad_enabled(module.attr("is_grad_enabled")),
      cpu(module.attr("device")("cpu")),
      is_cpu(interned("is_cpu")),
      is_neg(interned("is_neg")),
      requires_grad(interned("requires_grad")),
      resolve_neg(interned("resolve_neg")),
      data_ptr(interned("data_ptr")) {
  for (const Element element : {Element::f32, Element::f64, Element::f16, Element::bf16}) {
    dtypes[static_cast<std::size_t>(element)] = module.attr(std::string(name_of(element)).c_str());
  }
}

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
  torch_name_ = interned("torch");
  jax_name_ = interned("jax");
  torch_keywords_ = py::make_tuple(interned("dtype"), interned("device"));
}

Family Libraries::family_of(PyObject* array) {
  if (is_numpy(array)) return Family::numpy;
  if (torch_ && Py_IS_TYPE(array, reinterpret_cast<PyTypeObject*>(torch_->tensor.ptr()))) {
    return Family::torch;
  }
  if (const py::object torch = imported(torch_name_); is_instance(array, torch, "Tensor")) {
    if (!torch_) {
      Torch made(torch);  // other threads may run meanwhile, and do the same
      if (!torch_) torch_.emplace(std::move(made));
    }
    return Family::torch;
  }
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

py::object Libraries::new_torch(const py::tuple& shape, Element element) const {
  PyObject* const arguments[] = {
      shape.ptr(), torch_->dtypes[static_cast<std::size_t>(element)].ptr(), torch_->cpu.ptr()};
  return owned(PyObject_Vectorcall(torch_->empty.ptr(), arguments, 1, torch_keywords_.ptr()));
}

void* Libraries::torch_memory(const py::object& tensor) const {
  return PyLong_AsVoidPtr(
      owned(PyObject_CallMethodNoArgs(tensor.ptr(), torch_->data_ptr.ptr())).ptr());
}

py::object Libraries::torch_capsule(const Place& place, py::object tensor, bool writable) const {
  if (is_true(tensor.ptr(), torch_->requires_grad) && is_recording(*torch_)) {
    type_fail(place.where,
              "{} requires a gradient, which is not recorded here; {}.detach(), "
              "torch.no_grad(), or fovea.torch.scaled_dot_product_attention, is required",
              place.name, place.name);
  }
  if (!is_true(tensor.ptr(), torch_->is_cpu)) {
    fail(place.where, "{} is on the device {}; one in the CPU's memory is required", place.name,
         utf8(py::str(tensor.attr("device")).ptr()));
  }
  // A capsule does not say that what it holds is to be negated.
  if (PyObject_IsTrue(owned(PyObject_CallMethodNoArgs(tensor.ptr(), torch_->is_neg.ptr())).ptr())) {
    if (writable) {
      fail(place.where, "{} is a view that negates; memory of its own is required", place.name);
    }
    tensor = owned(PyObject_CallMethodNoArgs(tensor.ptr(), torch_->resolve_neg.ptr()));
  }
  return capsule_or_refusal(place, PyObject_CallOneArg(torch_->to_dlpack.ptr(), tensor.ptr()));
}

py::object Libraries::bfloat16_of(PyObject* array) const {
  return py::reinterpret_borrow<py::object>(array).attr("dtype");
}

py::object Libraries::adopt(Family family, PyObject* model, const py::object& array) const {
  if (family == Family::jax) return imported(jax_name_).attr("numpy").attr("asarray")(array);
  return py::reinterpret_borrow<py::object>(model).attr("__array_namespace__")().attr("asarray")(
      array);
}

Libraries& libraries() {
  static auto* known = new Libraries();
  return *known;
}

}  // namespace fovea::python
