// scaled_dot_product_attention and its gradient.
#pragma once

#include <pybind11/pybind11.h>

namespace fovea::python {

/// Adds both functions, and the named tuples that they return, to the module.
void define_attention(pybind11::module_& module);

}  // namespace fovea::python
