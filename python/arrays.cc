#include "fovea/python/arrays.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fovea/python/errors.h"
#include "fovea/python/libraries.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

// The element type of a buffer's format: struct's letters. Nothing for those that are no numbers.
std::optional<Element> element_of(char letter, Py_ssize_t size) {
  if (letter == 'f') return Element::f32;
  if (letter == 'd' && size == 8) return Element::f64;
  if (letter == 'e') return Element::f16;
  if (letter == '?') return Element::boolean;
  const bool is_signed = std::strchr("bhilqn", letter) != nullptr;
  if (!is_signed && std::strchr("BHILQN", letter) == nullptr) return {};
  switch (size) {
    case 1:
      return is_signed ? Element::i8 : Element::u8;
    case 2:
      return is_signed ? Element::i16 : Element::u16;
    case 4:
      return is_signed ? Element::i32 : Element::u32;
    default:
      return is_signed ? Element::i64 : Element::u64;
  }
}

std::optional<Element> element_of(DLDataType type) {
  if (type.lanes != 1) return {};
  const int bits = type.bits;
  switch (type.code) {
    case kDLFloat:
      if (bits == 32) return Element::f32;
      if (bits == 64) return Element::f64;
      if (bits == 16) return Element::f16;
      return {};
    case kDLBfloat:
      return bits == 16 ? std::optional(Element::bf16) : std::nullopt;
    case kDLBool:
      return bits == 8 ? std::optional(Element::boolean) : std::nullopt;
    case kDLInt:
      return element_of('b', bits / 8);
    case kDLUInt:
      return element_of('B', bits / 8);
    default:
      return {};
  }
}

// Whether the strides cannot make two elements share memory (cautious: true means they cannot).
bool separate(const RawArray& array) {
  std::vector<std::pair<std::int64_t, std::int64_t>> axes;  // stride, extent
  for (std::size_t a = 0; a < array.shape.size(); ++a) {
    if (array.shape[a] == 0) return true;
    if (array.shape[a] > 1) axes.emplace_back(std::abs(array.strides[a]), array.shape[a]);
  }
  std::ranges::sort(axes);
  auto reach = static_cast<std::int64_t>(size_of(array.element));
  for (const auto& [stride, extent] : axes) {
    if (stride < reach) return false;
    reach += stride * (extent - 1);
  }
  return true;
}

// `dtype object`, or what the buffer protocol calls it.
std::string element_text(PyObject* array, const char* format) {
  const auto dtype = py::reinterpret_steal<py::object>(PyObject_GetAttrString(array, "dtype"));
  if (dtype) return "dtype " + utf8(owned(PyObject_Str(dtype.ptr())).ptr());
  PyErr_Clear();
  return "format " + quoted(format);
}

// Nested lists of unequal lengths, say, are refused in Fovea's words, with NumPy's within.
py::object made_by_numpy(const Place& place, PyObject* array) {
  PyObject* made = PyObject_CallOneArg(libraries().asarray.ptr(), array);
  const bool is_list = PyList_Check(array) != 0 || PyTuple_Check(array) != 0;
  if (made == nullptr && is_list && PyErr_ExceptionMatches(PyExc_ValueError) != 0) {
    const py::error_already_set reason;
    fail(place.where, "{} is {} that is no array ({}); nested lists of equal lengths are required",
         place.name, shown(array), utf8(py::str(reason.value()).ptr()));
  }
  return owned(made);
}

py::object capsule_of(const Place& place, PyObject* array) {
  const py::tuple device =
      capsule_or_refusal(place, PyObject_CallMethod(array, "__dlpack_device__", nullptr));
  if (py::int_(device[0]).cast<int>() != kDLCPU) {
    fail(place.where, "{} is on another device than the CPU; an array in its memory is required",
         place.name);
  }
  return capsule_or_refusal(place, PyObject_CallMethod(array, "__dlpack__", nullptr));
}

DType require_role(const Place& place, const ArrayArgument& array, Role role) {
  const Element element = array.element();
  switch (role) {
    case Role::number:
      if (element == Element::boolean) break;
      return element == Element::f32 || is_half(element) ? f32 : f64;
    case Role::mask:
      if (element == Element::boolean) return boolean;
      dtype_fail(place.where,
                 "{}; bool is required, True = visible (what is added to the scores is bias=)",
                 described(place.name, array));
    case Role::boolean:
      if (element == Element::boolean) return boolean;
      dtype_fail(place.where, "{}; bool is required", described(place.name, array));
    case Role::integer:
      if (is_integer(element)) return i64;
      if (PyList_Check(array.object()) != 0 && std::ranges::count(array.raw().shape, 0) != 0) {
        return i64;  // NumPy makes f64 of an empty list
      }
      dtype_fail(place.where, "{}; integers are required", described(place.name, array));
  }
  dtype_fail(place.where, "{}; numbers are required", described(place.name, array));
}

}  // namespace

std::string described(std::string_view name, const ArrayArgument& array) {
  const RawArray& raw = array.raw();
  return format("{} is {} {}", name, name_of(raw.element), Shape(raw.shape));
}

ArrayArgument::~ArrayArgument() {
  tensor_ = {};
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
  if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
}

void ArrayArgument::read(const Place& place, PyObject* array, Role role) {
  look_at(place, array, false);
  const DType dtype = require_role(place, *this, role);
  if (same_dtype(raw_.element) == dtype) {
    if (std::optional<Tensor> view = viewed(raw_, false)) {
      tensor_ = std::move(*view);
      return;
    }
  }
  tensor_ = converted(raw_, dtype);
}

void ArrayArgument::open_output(const Place& place, PyObject* array, Element element,
                                const Shape& shape) {
  look_at(place, array, true);
  if (raw_.element != element) {
    dtype_fail(place.where, "{}; {}, as the result, is required", described(place.name, *this),
               name_of(element));
  }
  if (!std::ranges::equal(raw_.shape, shape.extents(), {}, {}, &Extent::value)) {
    fail(place.where, "{}; {}, as the result, is required", described(place.name, *this), shape);
  }
  if (!separate(raw_)) {
    fail(place.where, "elements of {} may share memory; an array without that is required",
         place.name);
  }
  if (std::optional<Tensor> view = viewed(raw_, true)) tensor_ = std::move(*view);
}

void ArrayArgument::look_at(const Place& place, PyObject* array, bool writable) {
  array_ = array;
  family_ = libraries().family_of(array);
  if (family_ == Family::numpy) {
    if (libraries().is_masked(array)) {
      type_fail(place.where, "{} is a masked array; a plain one, and mask=, is required",
                place.name);
    }
    if (PyObject_CheckBuffer(array) != 0 && by_buffer(place, array, writable)) return;
    if (libraries().is_numpy(array) || PyObject_HasAttrString(array, "__dlpack__") == 0) {
      by_numpy(place, array, writable);
      return;
    }
  }
  if (writable && family_ != Family::torch) {  // other libraries' arrays never change
    type_fail(place.where,
              "{} is {}, whose memory cannot be written; a NumPy array or a PyTorch "
              "tensor is required",
              place.name, shown(array));
  }
  by_dlpack(place, array, writable);
}

void ArrayArgument::describe(const void* data, Element element, int rank) {
  const auto n = static_cast<std::size_t>(rank);
  raw_ = {.data = static_cast<const std::byte*>(data),
          .element = element,
          .shape = {shape_.data(), n},
          .strides = {strides_.data(), n}};
}

void ArrayArgument::set_row_major() {
  auto stride = static_cast<std::int64_t>(size_of(raw_.element));
  for (std::size_t a = raw_.shape.size(); a-- > 0;) {
    strides_[a] = stride;
    stride *= std::max<std::int64_t>(1, shape_[a]);
  }
}

// False, without an exception, if the object's elements have no format.
bool ArrayArgument::by_buffer(const Place& place, PyObject* array, bool writable) {
  const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(array, &buffer_, flags) != 0) {
    buffer_.obj = nullptr;
    PyErr_Clear();
    return false;
  }
  const char* format = buffer_.format != nullptr ? buffer_.format : "B";
  const bool swapped = *format == '>' || *format == '!';
  if (std::strchr("@=<>!^", *format) != nullptr) ++format;
  const bool simple = format[0] != '\0' && format[1] == '\0';
  const std::optional<Element> element =
      simple ? element_of(*format, buffer_.itemsize) : std::nullopt;
  if (!element) {
    dtype_fail(place.where, "{} has elements of {}; numbers are required", place.name,
               element_text(array, buffer_.format));
  }
  if (buffer_.ndim > static_cast<int>(shape_.size())) {
    fail(place.where, "{} has rank {}; at most {} is possible", place.name, buffer_.ndim,
         shape_.size());
  }
  if (swapped && buffer_.itemsize > 1) {
    fail(place.where, "{} is big-endian {}; native byte order, {}.astype(\"{}\"), is required",
         place.name, name_of(*element), place.name, name_of(*element));
  }
  std::copy_n(buffer_.shape, buffer_.ndim, shape_.begin());
  describe(buffer_.buf, *element, buffer_.ndim);
  if (buffer_.strides != nullptr) {
    std::copy_n(buffer_.strides, buffer_.ndim, strides_.begin());
  } else {  // ctypes has none, also where they are asked for
    set_row_major();
  }
  return true;
}

void ArrayArgument::by_dlpack(const Place& place, PyObject* array, bool writable) {
  const py::object capsule =
      family_ == Family::torch
          ? libraries().torch_capsule(place, py::reinterpret_borrow<py::object>(array), writable)
          : capsule_of(place, array);
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw Raised();
  if (PyCapsule_SetName(capsule.ptr(), "used_dltensor") != 0) throw Raised();
  managed_ = managed;
  const DLTensor& t = managed->tensor;
  const std::optional<Element> element = element_of(t.dtype);
  if (!element) {
    dtype_fail(place.where, "{} has elements of DLPack type {} with {} bits; numbers are required",
               place.name, t.dtype.code, t.dtype.bits);
  }
  if (t.ndim > static_cast<std::int32_t>(shape_.size())) {
    fail(place.where, "{} has rank {}; at most {} is possible", place.name, t.ndim, shape_.size());
  }
  const auto size = static_cast<std::int64_t>(size_of(*element));
  std::copy_n(t.shape, t.ndim, shape_.begin());
  const bool empty = std::find(t.shape, t.shape + t.ndim, 0) != t.shape + t.ndim;
  if (t.data == nullptr && !empty) {
    fail(place.where, "{} has no memory, only a shape; an array of numbers is required",
         place.name);
  }
  describe(static_cast<std::byte*>(t.data) + t.byte_offset, *element, t.ndim);
  if (t.strides != nullptr) {
    std::transform(t.strides, t.strides + t.ndim, strides_.begin(),
                   [size](std::int64_t stride) { return stride * size; });
  } else {
    set_row_major();
  }
}

// Lists, and arrays whose elements the buffer protocol cannot name.
void ArrayArgument::by_numpy(const Place& place, PyObject* array, bool writable) {
  const Libraries& known = libraries();
  if (writable && !known.is_numpy(array)) {
    type_fail(place.where, "{} is {}; a NumPy array or a PyTorch tensor is required", place.name,
              shown(array));
  }
  if (PyUnicode_Check(array) || PyBytes_Check(array) || array == Py_None) {
    type_fail(place.where, "{} is {}; an array is required", place.name, shown(array));
  }
  kept_ = made_by_numpy(place, array);
  const py::object dtype = kept_.attr("dtype");
  const std::string name = py::str(py::object(dtype.attr("name")));
  if (writable && !kept_.attr("flags").attr("writeable").cast<bool>()) {
    fail(place.where, "{} is read-only; an array that can be written is required", place.name);
  }
  if (name == "bfloat16") {
    kept_ = kept_.attr("view")("uint16");
    if (!by_buffer(place, kept_.ptr(), writable)) throw Raised();
    raw_.element = Element::bf16;
  } else if (kept_.ptr() == array || !by_buffer(place, kept_.ptr(), writable)) {
    dtype_fail(place.where, "{} has elements of dtype {}; numbers are required", place.name, name);
  }
}

namespace {

constexpr Place kResult{"result", "result"};

py::tuple shape_tuple(const Shape& shape) {
  py::tuple tuple(static_cast<std::size_t>(shape.rank()));
  for (std::int64_t a = 0; a < shape.rank(); ++a) {
    PyTuple_SET_ITEM(tuple.ptr(), a, checked(PyLong_FromLongLong(shape[a].value())));
  }
  return tuple;
}

}  // namespace

ArrayResult::ArrayResult(const ArrayArgument& model, Element element, const Shape& shape)
    : family_(model.family()), element_(element), model_(model.object()) {
  const Libraries& known = libraries();
  const py::tuple extents = shape_tuple(shape);
  if (family_ == Family::torch) {
    array_ = known.new_torch(extents, element);
  } else {  // NumPy has no bfloat16 of its own
    const Element stored = element == Element::bf16 ? Element::u16 : element;
    array_ = known.new_numpy(extents, stored);
  }
  if (is_half(element)) {
    tensor_ = Tensor::empty(f32, shape);
  } else if (family_ == Family::torch) {
    tensor_ = Tensor::borrow(known.torch_memory(array_), *same_dtype(element), shape);
  } else {
    memory_.open_output(kResult, array_.ptr(), element, shape);
    tensor_ = memory_.tensor();
  }
}

py::object ArrayResult::finish() {
  const Libraries& known = libraries();
  if (is_half(element_)) {
    const bool numpy_bf16 = family_ != Family::torch && element_ == Element::bf16;
    memory_.open_output(kResult, array_.ptr(), numpy_bf16 ? Element::u16 : element_,
                        tensor_.shape());
    RawArray to = memory_.raw();
    to.element = element_;
    store(tensor_, to);
    if (numpy_bf16) array_ = array_.attr("view")(known.bfloat16_of(model_));
  }
  if (family_ == Family::numpy || family_ == Family::torch) return array_;
  return known.adopt(family_, model_, array_);
}

py::object new_numpy(DType dtype, const Shape& shape, Tensor& memory) {
  const Element element = element_of(dtype);
  py::object array = libraries().new_numpy(shape_tuple(shape), element);
  ArrayArgument view;
  view.open_output(kResult, array.ptr(), element, shape);
  memory = view.tensor();
  return array;
}

py::object to_numpy(const Tensor& tensor) {
  Tensor memory;
  py::object array = new_numpy(tensor.dtype(), tensor.shape(), memory);
  memory.copy_from(tensor);
  return array;
}

}  // namespace fovea::python
