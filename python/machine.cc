#include "fovea/python/machine.h"

#include <optional>
#include <string>
#include <utility>

#include "bench/probe.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/python/arguments.h"
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

void set_threads(const py::object& threads) {
  constexpr std::string_view kWhere = "set_num_threads";
  const std::optional<std::int64_t> n = integer_argument(kWhere, "threads", threads.ptr());
  if (!n) type_fail(kWhere, "threads is None; an integer is required");
  if (!std::in_range<int>(*n)) fail(kWhere, "{}; a number from 1 to 1024 is required", *n);
  set_num_threads(static_cast<int>(*n));
}

}  // namespace

void define_machine(py::module_& module) {
  module.def("num_threads", &num_threads,
             "Threads that a call uses: what set_num_threads said, else FOVEA_THREADS, else the "
             "CPUs that this process may use.");
  module.def("set_num_threads", &set_threads, py::arg("threads"),
             "Lets calls use so many threads, 1 to 1024. Not while others compute.");
  module.def(
      "instruction_set", [] { return std::string(kernels::name_of(kernels::isa_in_use())); },
      "That of the kernels in use: the best that the machine has, or FOVEA_ISA.");
  module.def("run_fma", &run_fma, py::arg("dtype"), py::arg("operations"),
             "Does about so many fused multiply-adds' operations on all threads, in registers; "
             "returns how many. Timed, it is the peak of the machine.");
}

}  // namespace fovea::python
