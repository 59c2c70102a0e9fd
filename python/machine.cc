#include "fovea/python/machine.h"

#include <optional>
#include <string>

#include "bench/probe.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/python/errors.h"
#include "fovea/python/release.h"
#include "fovea/tensor/parallel.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

double run_fma(const std::string& dtype, double operations) {
  const std::optional<DType> known = dtype_named(dtype);
  if (!known || !is_float(*known) || !(operations >= 0 && operations < 1e15)) {
    fail("run_fma", "{} and {} operations; f32 or f64, and less than 1e15, are required",
         quoted(dtype), operations);
  }
  const WithoutLock released;
  return bench::run_fma(kernels::isa_in_use(), *known, operations);
}

}  // namespace

void define_machine(py::module_& module) {
  module.def("num_threads", &num_threads,
             "Threads that a call uses: what set_num_threads said, else FOVEA_THREADS, else the "
             "CPUs that this process may use.");
  module.def("set_num_threads", &set_num_threads, py::arg("threads"),
             "Lets calls use so many threads, 1 to 1024. Not while others compute.");
  module.def(
      "instruction_set", [] { return std::string(kernels::name_of(kernels::isa_in_use())); },
      "That of the kernels in use: the best that the machine has, or FOVEA_ISA.");
  module.def("run_fma", &run_fma, py::arg("dtype"), py::arg("operations"),
             "Does about so many fused multiply-adds' operations on all threads, in registers; "
             "returns how many. Timed, it is the peak of the machine.");
}

}  // namespace fovea::python
