// Gradients of attention's gradient, for fovea.torch.
#pragma once

#include <pybind11/pybind11.h>

namespace fovea::python {

void define_second_order(pybind11::module_& module);

}  // namespace fovea::python
