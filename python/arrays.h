// Arrays of Python's libraries as tensors, and results as arrays of the caller's library.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <optional>
#include <string_view>

#include "fovea/python/dlpack.h"
#include "fovea/python/elements.h"

namespace fovea::python {

/// Whose arrays: results come back as the same.
enum class Family {
  numpy,     ///< also lists, and whatever NumPy can read without being an array of its own
  torch,     ///< torch.Tensor
  jax,       ///< jax.Array
  standard,  ///< anything else with `__array_namespace__`
};

/// What an argument's elements may be, and become.
enum class Role {
  number,   ///< f32 and f64 stay, halves become f32, integers f64
  mask,     ///< bool
  boolean,  ///< bool, where nothing else could be meant
  integer,  ///< integers, which become i64
};

/// A function's name and an argument's, for messages.
struct Place {
  std::string_view where, name;
};

/// An argument: a Tensor that views the caller's memory where its dtype and strides allow, else a
/// copy. Made and destroyed with the interpreter's lock held.
class ArrayArgument {
 public:
  ArrayArgument() = default;
  ~ArrayArgument();
  ArrayArgument(const ArrayArgument&) = delete;
  ArrayArgument& operator=(const ArrayArgument&) = delete;

  /// Throws TypeMistake for what is no array of numbers, or not of this role's; Error for byte
  /// orders and devices that cannot be read.
  void read(const Place& place, PyObject* array, Role role);
  /// The caller's memory for a result with these elements: no copy. Throws for memory that is
  /// read-only, of another shape or element type, or whose elements may share memory.
  void open_output(const Place& place, PyObject* array, Element element, const Shape& shape);

  explicit operator bool() const { return array_ != nullptr; }
  const Tensor& tensor() const { return tensor_; }
  std::optional<Tensor> optional_tensor() const {
    return tensor_ ? std::optional(tensor_) : std::nullopt;
  }
  Family family() const { return family_; }
  /// As the caller has them, not as `tensor()` does.
  Element element() const { return raw_.element; }
  /// First byte and strides of the caller's memory.
  const RawArray& raw() const { return raw_; }
  /// A borrowed reference.
  PyObject* object() const { return array_; }

 private:
  void look_at(const Place& place, PyObject* array, bool writable);
  bool by_buffer(const Place& place, PyObject* array, bool writable);
  void by_dlpack(const Place& place, PyObject* array, bool writable);
  void by_numpy(const Place& place, PyObject* array, bool writable);
  void describe(const void* data, Element element, int rank);
  void set_row_major();

  PyObject* array_ = nullptr;
  Family family_ = Family::numpy;
  Tensor tensor_;
  RawArray raw_;
  std::array<std::int64_t, 64> shape_, strides_;
  Py_buffer buffer_{};
  DLManagedTensor* managed_ = nullptr;
  pybind11::object kept_;  // what owns the memory, where that is not the array
};

/// A new array for a result of the caller's kind: row-major memory to be written through `tensor`,
/// then `finish`ed into the array.
class ArrayResult {
 public:
  /// Like `model`: its family; `element` are the array's elements, `model` says which bfloat16.
  ArrayResult(const ArrayArgument& model, Element element, const Shape& shape);

  const Tensor& tensor() const { return tensor_; }
  pybind11::object finish();

 private:
  Family family_;
  Element element_;
  PyObject* model_;
  ArrayArgument memory_;
  pybind11::object array_;
  Tensor tensor_;
};

/// The name, shape and element type of an argument: `q is float16 (2, 3)`.
std::string described(std::string_view name, const ArrayArgument& array);

/// A new NumPy array with the tensor's elements.
pybind11::object to_numpy(const Tensor& tensor);
/// A new, uninitialised one, and its memory.
pybind11::object new_numpy(DType dtype, const Shape& shape, Tensor& memory);

}  // namespace fovea::python
