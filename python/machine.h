// Threads, instruction sets, and the peak of the machine.
#pragma once

#include <pybind11/pybind11.h>

namespace fovea::python {

void define_machine(pybind11::module_& module);

}  // namespace fovea::python
