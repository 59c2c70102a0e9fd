// The extension module `fovea._core`.
#include <pybind11/pybind11.h>

#include "fovea/python/attention.h"
#include "fovea/python/errors.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/version.h"

PYBIND11_MODULE(_core, module) {
  using namespace fovea;
  module.attr("__version__") = kVersion;
  python::define_errors(module);
  python::define_attention(module);
  module.def(
      "num_threads", &num_threads,
      "Threads that a call uses: what set_num_threads said, else FOVEA_THREADS, else the CPUs "
      "that this process may use.");
  module.def("set_num_threads", &set_num_threads, pybind11::arg("threads"),
             "Lets calls use so many threads, 1 to 1024. Not while others compute.");
}
