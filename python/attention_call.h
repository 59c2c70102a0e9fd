// What a call of attention and one of its gradient have in common: operands and attributes.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "fovea/ops/attention.h"
#include "fovea/python/arrays.h"
#include "fovea/tensor/parallel.h"

namespace fovea::python {

/// The parameters that both functions have after their own, in this order.
inline constexpr const char* kAttentionOptions[] = {"mask",    "bias",   "key_lengths",  "scale",
                                                    "causal",  "align",  "query_offset", "window",
                                                    "softcap", "threads"};

struct AttentionCall {
  std::string_view where;
  ArrayArgument q, k, v, mask, bias, key_lengths;
  Attention attributes;
  std::optional<int> threads;

  /// `operands` are q, k and v, `options` those above. Throws TypeMistake or Error.
  void read(std::string_view function, std::span<PyObject* const> operands,
            std::span<PyObject* const> options);

  /// Throws TypeMistake unless the array's elements are those of q.
  void require_dtype_of_q(std::string_view name, const ArrayArgument& array) const;

  /// Of results: q's, f64 for integers.
  Element element() const;
  /// Of log-sums: as precise as they are computed.
  Element lse_element() const;

  Attention::In<Tensor> tensors() const;
  Attention::In<TensorSpec> specs() const;
};

/// Scratch memory of the calling thread. It is kept from call to call, but not that of a large one,
/// nor that of a call within another, from a signal's handler.
class CallContext {
 public:
  explicit CallContext(const AttentionCall& call) : context_(std::exchange(kept_, Context())) {
    large_ = call.q.tensor().numel() > (1 << 20);
  }
  ~CallContext() {
    if (!large_) kept_ = std::move(context_);
  }
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;
  Context& get() { return context_; }

 private:
  static inline thread_local Context kept_;
  Context context_;
  bool large_;
};

/// None and what is left out are not given.
inline bool given(PyObject* object) { return object != nullptr && object != Py_None; }

}  // namespace fovea::python
