// Models, the gradient checker and the list of ops.
#pragma once

#include <pybind11/pybind11.h>

namespace fovea::python {

/// Adds the classes that fovea.Model is made of, and `check_op_gradients` and `op_types`.
void define_model(pybind11::module_& module);

}  // namespace fovea::python
