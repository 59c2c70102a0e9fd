#include "fovea/python/second_order.h"

#include <array>
#include <deque>
#include <optional>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradients.h"
#include "fovea/ops/attention_gradient.h"
#include "fovea/python/attention_call.h"
#include "fovea/python/errors.h"
#include "fovea/python/release.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

constexpr char kName[] = "attention_second_order";

// Arrays that the caller may leave out, as inputs of a graph.
class Inputs {
 public:
  Expr add(const ArrayArgument& array) {
    if (!array) return {};
    exprs.push_back(input("", array.tensor().dtype(), array.tensor().shape()));
    tensors.push_back(array.tensor());
    return exprs.back();
  }

  std::vector<Expr> exprs;
  std::vector<Tensor> tensors;
};

std::optional<Expr> maybe(const Expr& x) { return x ? std::optional(x) : std::nullopt; }

// The gradients of Σ ddq∘dq + Σ ddk∘dk + Σ ddv∘dv + Σ ddbias∘dbias with respect to dy, dlse, q, k,
// v, bias, y and lse; None for what was not given.
py::tuple second_order(const std::array<py::object, 13>& arrays, const py::object& scale,
                       const py::object& causal) {
  const auto& [dy, dlse, q, k, v, bias, mask, y, lse, ddq, ddk, ddv, ddbias] = arrays;
  const py::str align("top_left");
  AttentionCall call;
  const std::array<PyObject*, 3> operands{q.ptr(), k.ptr(), v.ptr()};
  std::array<PyObject*, std::size(kAttentionOptions)> options{};
  options[0] = mask.ptr(), options[1] = bias.ptr(), options[3] = scale.ptr(),
  options[4] = causal.ptr(), options[5] = align.ptr();
  call.read(kName, operands, options);

  const std::array<PyObject*, 8> others{dy.ptr(),  dlse.ptr(), y.ptr(),   lse.ptr(),
                                        ddq.ptr(), ddk.ptr(),  ddv.ptr(), ddbias.ptr()};
  std::array<ArrayArgument, 8> read;
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (given(others[i])) read[i].read({kName, "a gradient"}, others[i], Role::number);
  }

  Inputs in;
  const Expr x_q = in.add(call.q), x_k = in.add(call.k), x_v = in.add(call.v);
  const Expr x_bias = in.add(call.bias), x_mask = in.add(call.mask);
  const Expr x_dy = in.add(read[0]), x_dlse = in.add(read[1]), x_y = in.add(read[2]),
             x_lse = in.add(read[3]);
  const auto first = apply(AttentionGradient{call.attributes},
                           {.q = x_q,
                            .k = x_k,
                            .v = x_v,
                            .mask = maybe(x_mask),
                            .bias = maybe(x_bias),
                            .y = x_dy ? maybe(x_y) : std::nullopt,
                            .lse = x_lse,
                            .dy = maybe(x_dy),
                            .dlse = maybe(x_dlse)},
                           Location());
  const std::array outputs{first.dq, first.dk, first.dv, first.dbias};
  const std::array cotangents{in.add(read[4]), in.add(read[5]), in.add(read[6]), in.add(read[7])};
  const std::array wanted{x_dy, x_dlse, x_q, x_k, x_v, x_bias, x_y, x_lse};
  const std::array models{&read[0], &read[1],   &call.q,  &call.k,
                          &call.v,  &call.bias, &read[2], &read[3]};
  std::vector<Expr> wrt;
  std::deque<ArrayResult> results;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]) continue;
    wrt.push_back(wanted[i]);
    results.emplace_back(*models[i], models[i]->element(), wanted[i].shape());
  }
  {
    const WithoutLock released;
    const std::vector<Tensor> values =
        compile(in.exprs, gradients(outputs, wrt, cotangents))(in.tensors);
    for (std::size_t i = 0; i < values.size(); ++i) results[i].tensor().copy_from(values[i]);
  }
  py::tuple all(wanted.size());
  for (std::size_t i = 0, next = 0; i < wanted.size(); ++i) {
    all[i] = wanted[i] ? results[next++].finish() : py::none();
  }
  return all;
}

}  // namespace

void define_second_order(py::module_& module) {
  module.def(
      kName,
      [](const py::args& arrays, const py::object& scale, const py::object& causal) {
        std::array<py::object, 13> all;
        if (arrays.size() != all.size()) throw py::type_error("13 arrays are required");
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = arrays[i];
        return second_order(all, scale, causal);
      },
      py::arg("scale"), py::arg("causal"),
      "(dy, dlse, q, k, v, bias, mask, y, lse, ddq, ddk, ddv, ddbias): gradients of "
      "sum(ddq · dq + …) for attention's gradients dq, … with respect to dy, dlse, q, k, v, bias, "
      "y and lse.");
}

}  // namespace fovea::python
