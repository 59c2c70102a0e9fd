// Python's array libraries, as far as they are needed: NumPy always, others only where the caller
// has imported them.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <optional>

#include "fovea/python/arrays.h"

namespace fovea::python {

/// What is used of PyTorch.
struct Torch {
  explicit Torch(const pybind11::object& module);

  pybind11::object tensor, to_dlpack, empty, is_grad_enabled, cpu;
  std::array<pybind11::object, 13> dtypes;                                ///< by Element
  pybind11::object is_cpu, is_neg, requires_grad, resolve_neg, data_ptr;  ///< attributes' names
};

class Libraries {
 public:
  /// Imports NumPy.
  Libraries();

  pybind11::object asarray;  ///< numpy.asarray

  Family family_of(PyObject* array);
  bool is_numpy(PyObject* array) const {
    return PyObject_TypeCheck(array, reinterpret_cast<PyTypeObject*>(ndarray_.ptr())) != 0;
  }
  bool is_masked(PyObject* array) const;

  /// Uninitialised arrays.
  pybind11::object new_numpy(const pybind11::tuple& shape, Element element) const;
  pybind11::object new_torch(const pybind11::tuple& shape, Element element) const;
  /// Of a new tensor: its first byte.
  void* torch_memory(const pybind11::object& tensor) const;
  /// A DLPack capsule of a tensor. Throws for what the CPU cannot read, and for tensors that want a
  /// gradient, which would be lost, unless gradients are switched off.
  pybind11::object torch_capsule(const Place& place, pybind11::object tensor, bool writable) const;

  /// The dtype of a bfloat16 array.
  pybind11::object bfloat16_of(PyObject* array) const;
  /// A NumPy array as one of the family, and library, of `model`.
  pybind11::object adopt(Family family, PyObject* model, const pybind11::object& array) const;

 private:
  pybind11::object ndarray_, masked_, empty_;
  std::array<pybind11::object, 13> dtypes_;
  pybind11::object torch_name_, jax_name_, torch_keywords_;
  std::optional<Torch> torch_;  // once somebody gave a tensor
};

/// What a library's export gave, or an Error with its reason for not giving anything.
pybind11::object capsule_or_refusal(const Place& place, PyObject* made);

/// Made when the module is imported, not by whichever thread calls first: NumPy's import lets other
/// threads run, and these would wait for each other. Lives as long as the process.
Libraries& libraries();

}  // namespace fovea::python
