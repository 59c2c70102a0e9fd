// The extension module `fovea._core`.
#include <pybind11/pybind11.h>

#include "fovea/python/attention.h"
#include "fovea/python/errors.h"
#include "fovea/python/libraries.h"
#include "fovea/python/machine.h"
#include "fovea/python/model.h"
#include "fovea/python/second_order.h"
#include "fovea/tensor/version.h"

PYBIND11_MODULE(_core, module) {
  using namespace fovea;
  module.attr("__version__") = kVersion;
  python::define_errors(module);
  python::libraries();
  python::define_attention(module);
  python::define_second_order(module);
  python::define_model(module);
  python::define_machine(module);
}
