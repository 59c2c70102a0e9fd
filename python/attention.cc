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

// What the gradient takes besides attention's own operands.
struct GradientOperands {
  ArrayArgument dy, y, lse, dlse;

  void read(const AttentionCall& call, std::span<PyObject* const> arguments) {
    read_one(call, "dy", arguments[0], dy);
    read_one(call, "y", arguments[4], y);
    read_one(call, "lse", arguments[5], lse);
    read_one(call, "dlse", arguments[6], dlse);
  }

  // Of a call whose y and lse are there.
  AttentionGradient::In<TensorSpec> specs(const AttentionCall& call,
                                          const Attention::In<TensorSpec>& in) const {
    const Attention::Out<TensorSpec> forward = call.attributes.infer(in);
    const auto or_else = [](const ArrayArgument& array, const TensorSpec& standard) {
      return array ? spec_of(array.tensor()) : standard;
    };
    const auto optional = [](const ArrayArgument& array) {
      return array ? std::optional(spec_of(array.tensor())) : std::nullopt;
    };
    return {.q = in.q,
            .k = in.k,
            .v = in.v,
            .mask = in.mask,
            .bias = in.bias,
            .key_lengths = in.key_lengths,
            .y = or_else(y, forward.y),
            .lse = or_else(lse, forward.lse),
            .dy = optional(dy),
            .dlse = optional(dlse)};
  }

  AttentionGradient::In<Tensor> tensors(const AttentionCall& call) const {
    const Attention::In<Tensor> in = call.tensors();
    return {.q = in.q,
            .k = in.k,
            .v = in.v,
            .mask = in.mask,
            .bias = in.bias,
            .key_lengths = in.key_lengths,
            .y = y.optional_tensor(),
            .lse = lse.tensor(),
            .dy = dy.optional_tensor(),
            .dlse = dlse.optional_tensor()};
  }

 private:
  // Log-sums may be as precise as they come back; all else has q's dtype.
  static void read_one(const AttentionCall& call, std::string_view name, PyObject* object,
                       ArrayArgument& array) {
    if (!given(object)) return;
    array.read({kGradientName, name}, object, Role::number);
    const bool log_sum = name.ends_with("lse");
    if (!log_sum || array.element() != call.lse_element()) call.require_dtype_of_q(name, array);
  }
};

py::object call_gradient(std::span<PyObject* const> arguments) {
  AttentionCall call;
  GradientOperands operands;
  call.read(kGradientName, arguments.subspan(1, 3), arguments.last(kOptions));
  operands.read(call, arguments);
  const bool bias_gradient = flag_argument(kGradientName, "bias_gradient", arguments[7], true);
  const AttentionGradient op{call.attributes};
  const Attention::In<TensorSpec> specs = call.specs();
  op.infer(operands.specs(call, specs));

  AttentionGradient::In<Tensor> in = operands.tensors(call);
  ArrayResult dq(call.q, call.element(), specs.q.shape), dk(call.q, call.element(), specs.k.shape),
      dv(call.q, call.element(), specs.v.shape);
  std::optional<ArrayResult> dbias;
  if (call.bias && bias_gradient) dbias.emplace(call.q, call.element(), specs.bias->shape);
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
  forward_signature(), gradient_signature();
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
