#include "fovea/python/attention.h"

#include <array>
#include <optional>
#include <vector>

#include "fovea/ops/attention_gradient.h"
#include "fovea/python/arguments.h"
#include "fovea/python/attention_call.h"
#include "fovea/python/attention_docs.h"
#include "fovea/python/errors.h"
#include "fovea/python/release.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

constexpr std::size_t kOptions = std::size(kAttentionOptions);

std::vector<const char*> with_options(std::vector<const char*> own) {
  own.insert(own.end(), std::begin(kAttentionOptions), std::end(kAttentionOptions));
  return own;
}

constexpr char kForwardName[] = "scaled_dot_product_attention";
constexpr char kGradientName[] = "scaled_dot_product_attention_grad";

const Signature& forward_signature() {
  static const Signature signature(
      kForwardName, 3, 3, with_options({"q", "k", "v", "return_lse", "return_probs", "out"}));
  return signature;
}

const Signature& gradient_signature() {
  static const Signature signature(
      kGradientName, 4, 4,
      with_options({"dy", "q", "k", "v", "y", "lse", "dlse", "bias_gradient"}));
  return signature;
}

// The named tuples; they live as long as the process.
struct Results {
  py::object with_lse, with_probs, with_both, gradient;
};
Results* results = nullptr;

bool shares_memory(const Tensor& out, const Attention::In<Tensor>& in) {
  if (out.overlaps(in.q) || out.overlaps(in.k) || out.overlaps(in.v)) return true;
  const auto overlaps = [&](const std::optional<Tensor>& x) { return x && out.overlaps(*x); };
  return overlaps(in.mask) || overlaps(in.bias) || overlaps(in.key_lengths);
}

// The memory that y is computed in: that of `out` where a kernel can write it without harm to the
// inputs.
Tensor y_memory(const ArrayArgument& out, const Attention::In<Tensor>& in, const TensorSpec& y) {
  const Tensor& t = out.tensor();
  const bool direct = t && (y.shape[-1] <= 1 || t.strides().back() == 1) && !shares_memory(t, in);
  return direct ? t : Tensor::empty(y.dtype, y.shape);
}

py::object call_forward(std::span<PyObject* const> arguments) {
  AttentionCall call;
  call.read(kForwardName, arguments.first(3), arguments.last(kOptions));
  const bool want_lse = flag_argument(kForwardName, "return_lse", arguments[3], false);
  const bool want_probs = flag_argument(kForwardName, "return_probs", arguments[4], false);
  const Attention::Out<TensorSpec> specs = call.attributes.infer(call.specs());
  const Attention::In<Tensor> in = call.tensors();

  ArrayArgument out;
  std::optional<ArrayResult> y, lse, probs;
  Attention::Out<Tensor> results_in;
  if (given(arguments[5])) {
    out.open_output({kForwardName, "out"}, arguments[5], call.element(), specs.y.shape);
    results_in.y = y_memory(out, in, specs.y);
  } else {
    results_in.y = y.emplace(call.q, call.element(), specs.y.shape).tensor();
  }
  if (want_lse) {
    results_in.lse = lse.emplace(call.q, call.lse_element(), specs.lse.shape).tensor();
  }
  if (want_probs) {
    results_in.probs = probs.emplace(call.q, call.element(), specs.probs.shape).tensor();
  }
  {
    const WithoutLock released;
    std::optional<ThreadLimit> limit;
    if (call.threads) limit.emplace(*call.threads);
    CallContext context(call);
    call.attributes.forward(context.get(), in, results_in);
    if (out && results_in.y.raw() != out.raw().data) store(results_in.y, out.raw());
  }
  py::object first = out ? py::reinterpret_borrow<py::object>(arguments[5]) : y->finish();
  if (want_lse && want_probs) return results->with_both(first, lse->finish(), probs->finish());
  if (want_lse) return results->with_lse(first, lse->finish());
  if (want_probs) return results->with_probs(first, probs->finish());
  return first;
}

// y and lse of the forward pass, as far as they are needed and not given.
void complete(Context& context, const AttentionCall& call, AttentionGradient::In<Tensor>& in) {
  const bool need_y = in.dy && !in.y, need_lse = !in.lse;
  if (!need_y && !need_lse) return;
  const Attention::Out<TensorSpec> specs = call.attributes.infer(call.specs());
  Attention::Out<Tensor> out;
  if (need_y) out.y = Tensor::empty(specs.y.dtype, specs.y.shape);
  if (need_lse) out.lse = Tensor::empty(specs.lse.dtype, specs.lse.shape);
  call.attributes.forward(context, call.tensors(), out);
  if (need_y) in.y = out.y;
  if (need_lse) in.lse = out.lse;
}

py::object call_gradient(std::span<PyObject* const> arguments) {
  AttentionCall call;
  call.read(kGradientName, arguments.subspan(1, 3), arguments.last(kOptions));
  ArrayArgument dy, y, lse, dlse;
  const auto read = [&](ArrayArgument& array, const char* name, PyObject* object, bool narrow) {
    if (!given(object)) return;
    array.read({kGradientName, name}, object, Role::number);
    const bool wide = !narrow && array.element() == call.lse_element();
    if (!wide) call.require_dtype_of_q(name, array);
  };
  read(dy, "dy", arguments[0], true);
  read(y, "y", arguments[4], true);
  read(lse, "lse", arguments[5], false);
  read(dlse, "dlse", arguments[6], false);

  const AttentionGradient op{call.attributes};
  const Attention::In<TensorSpec> specs = call.specs();
  const Attention::Out<TensorSpec> forward = call.attributes.infer(specs);
  const auto spec = [](const ArrayArgument& array, const TensorSpec& standard) {
    return array ? spec_of(array.tensor()) : standard;
  };
  op.infer({.q = specs.q,
            .k = specs.k,
            .v = specs.v,
            .mask = specs.mask,
            .bias = specs.bias,
            .key_lengths = specs.key_lengths,
            .y = spec(y, forward.y),
            .lse = spec(lse, forward.lse),
            .dy = dy ? std::optional(spec_of(dy.tensor())) : std::nullopt,
            .dlse = dlse ? std::optional(spec_of(dlse.tensor())) : std::nullopt});

  const Attention::In<Tensor> tensors = call.tensors();
  AttentionGradient::In<Tensor> in{.q = tensors.q,
                                   .k = tensors.k,
                                   .v = tensors.v,
                                   .mask = tensors.mask,
                                   .bias = tensors.bias,
                                   .key_lengths = tensors.key_lengths,
                                   .y = y.optional_tensor(),
                                   .lse = lse.tensor(),
                                   .dy = dy.optional_tensor(),
                                   .dlse = dlse.optional_tensor()};
  ArrayResult dq(call.q, call.element(), specs.q.shape), dk(call.q, call.element(), specs.k.shape),
      dv(call.q, call.element(), specs.v.shape);
  std::optional<ArrayResult> dbias;
  if (call.bias && flag_argument(kGradientName, "bias_gradient", arguments[7], true)) {
    dbias.emplace(call.q, call.element(), specs.bias->shape);
  }
  {
    const WithoutLock released;
    std::optional<ThreadLimit> limit;
    if (call.threads) limit.emplace(*call.threads);
    CallContext context(call);
    complete(context.get(), call, in);
    AttentionGradient::Out<Tensor> out{.dq = dq.tensor(),
                                       .dk = dk.tensor(),
                                       .dv = dv.tensor(),
                                       .dbias = dbias ? dbias->tensor() : Tensor()};
    op.forward(context.get(), in, out);
  }
  return results->gradient(dq.finish(), dk.finish(), dv.finish(),
                           dbias ? dbias->finish() : py::none());
}

template <const Signature& (*kSignature)(), std::size_t kOwn,
          py::object (*kCall)(std::span<PyObject* const>)>
PyObject* entry(PyObject*, PyObject* const* arguments, Py_ssize_t count, PyObject* names) noexcept {
  return guarded([&] {
    std::array<PyObject*, kOwn + kOptions> parsed;
    kSignature().parse(arguments, count, names, parsed);
    return kCall(parsed).release().ptr();
  });
}

template <class Function>
PyCFunction c_function(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace

void define_attention(py::module_& module) {
  const py::object namedtuple = py::module_::import("collections").attr("namedtuple");
  const auto tuple = [&](const char* name, const char* fields, const char* doc) {
    py::object type = namedtuple(name, fields, py::arg("module") = "fovea");
    type.attr("__doc__") = doc;
    module.add_object(name, type);
    return type;
  };
  results = new Results{
      .with_lse = tuple("AttentionLse", "y lse", "y (…, Lq, Dv) and lse (…, Lq)."),
      .with_probs = tuple("AttentionProbs", "y probs", "y (…, Lq, Dv) and probs (…, Lq, Lk)."),
      .with_both = tuple("AttentionLseProbs", "y lse probs",
                         "y (…, Lq, Dv), lse (…, Lq) and probs (…, Lq, Lk)."),
      .gradient = tuple("AttentionGradient", "dq dk dv dbias",
                        "Gradients, each of its input's shape; dbias is None without a bias.")};

  static PyMethodDef functions[] = {
      {kForwardName, c_function(&entry<forward_signature, 6, call_forward>),
       METH_FASTCALL | METH_KEYWORDS, kForwardDoc},
      {kGradientName, c_function(&entry<gradient_signature, 8, call_gradient>),
       METH_FASTCALL | METH_KEYWORDS, kGradientDoc},
      {nullptr, nullptr, 0, nullptr}};
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw Raised();
}

}  // namespace fovea::python
