// Python's array libraries, as far as they are needed: NumPy always, others only where the caller
// has imported them.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <string_view>

#include "fovea/python/arrays.h"

namespace fovea::python {

class Libraries {
 public:
  /// Imports NumPy.
  Libraries();

  pybind11::object asarray;  ///< numpy.asarray

  Family family_of(PyObject* array) const;
  bool is_numpy(PyObject* array) const {
    return PyObject_TypeCheck(array, reinterpret_cast<PyTypeObject*>(ndarray_.ptr())) != 0;
  }
  bool is_masked(PyObject* array) const;

  /// Uninitialised arrays.
  pybind11::object new_numpy(const pybind11::tuple& shape, Element element) const;
  pybind11::object new_torch(const pybind11::tuple& shape, std::string_view dtype) const;

  /// The dtype of a bfloat16 array.
  pybind11::object bfloat16_of(PyObject* array) const;
  /// A NumPy array as one of the family, and library, of `model`.
  pybind11::object adopt(Family family, PyObject* model, const pybind11::object& array) const;

 private:
  pybind11::object ndarray_, masked_, empty_;
  std::array<pybind11::object, 13> dtypes_;
  pybind11::object torch_name_, jax_name_;
};

/// Made when first used; lives as long as the process.
const Libraries& libraries();

}  // namespace fovea::python
