// Makes an Op of a plain struct. Include it in the source that defines the op, and instantiate it
// there:
//
//     FOVEA_DEFINE_OP(fovea::Softmax);
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

namespace detail {

template <class A>
concept HasForward = requires(const A& a, Context& c, const typename A::template In<Tensor>& in,
                              typename A::template Out<Tensor>& out) {
  a.forward(c, in, out);
};
template <class A>
concept HasInfer = requires(const A& a, const typename A::template In<TensorSpec>& in) {
  a.infer(in);
};
template <class A>
concept HasVjp = requires(const A& a, const typename A::template In<Expr>& in,
                          const typename A::template Out<Expr>& out) {
  a.vjp(in, out, out);
};
template <class A>
concept HasVjpCovers = requires(const A& a, const typename A::template Out<Expr>& d) {
  a.vjp_covers(d);
};
template <class A>
concept HasJvp = requires(const A& a, const typename A::template In<Expr>& in,
                          const typename A::template Out<Expr>& out) {
  a.jvp(in, out, in);
};
template <class A>
concept HasDecomposition = requires(const A& a, const typename A::template In<Expr>& in) {
  a.decomposition(in);
};
template <class A>
concept HasView = requires(const A& a, const Tensor& x) {
  a.view(x);
};
template <class A>
concept HasTileKernel = requires(const A& a, std::span<const DType> dtypes) {
  a.tile_kernel(dtypes);
};
template <class A>
concept HasFlops = requires(const A& a, const typename A::template In<TensorSpec>& in) {
  a.flops(in);
};
template <class A>
concept HasWorkspace = requires(const A& a, const typename A::template In<TensorSpec>& in) {
  a.workspace(in);
};

/// Shape rule of an op that has only a decomposition: traced on placeholders.
std::vector<TensorSpec> infer_by_decomposition(const Op& op, std::span<const Op::MaybeSpec> in);
/// Floating-point operations of an op that does not count its own.
double count_flops(const Op& op, std::span<const Op::MaybeSpec> in);
/// Forward of an op that has only a decomposition.
void forward_by_decomposition(const Op& op, std::span<const Tensor> in, std::span<Tensor> out);
/// Forward of an elementwise op: tiles of its kernel over broadcast, strided inputs, in parallel.
void forward_by_tiles(Context& context, const TileKernel& kernel, std::span<const Tensor> in,
                      const Tensor& out);
[[noreturn]] void lacks(const Op& op, std::string_view what);

template <template <class> class Bundle>
std::vector<Slot> describe_slots() {
  Bundle<Arg> bundle{};
  std::vector<Slot> slots;
  for_each_member(bundle, [&]<class M>(const M&) {
    Slot slot{Bundle<Arg>::names[slots.size()], arity_of<M>};
    if constexpr (requires { Bundle<Arg>::docs; }) {
      static_assert(Bundle<Arg>::docs.size() == Bundle<Arg>::names.size());
      slot.doc = Bundle<Arg>::docs[slots.size()];
    }
    slots.push_back(slot);
  });
  return slots;
}

// TensorSpec has no null; the flat list of specs does.
template <template <class> class Bundle>
Bundle<TensorSpec> unflatten_specs(std::span<const Op::MaybeSpec> flat) {
  Bundle<TensorSpec> bundle{};
  std::size_t next = 0;
  for_each_member(bundle, [&]<class M>(M& member) {
    constexpr Arity arity = arity_of<M>;
    if constexpr (arity == Arity::required) {
      member = *flat[next++];
    } else if constexpr (arity == Arity::optional) {
      if (flat[next]) member = *flat[next];
      ++next;
    } else {
      for (; next < flat.size(); ++next) member.push_back(*flat[next]);
    }
  });
  return bundle;
}

// Pointers to the members of a bundle, in the order of its flat list.
template <class Bundle>
void append_pointers(Bundle& bundle, std::vector<Tensor*>& all) {
  const auto append = [&](Tensor& t) { all.push_back(t ? &t : nullptr); };
  for_each_member(bundle, [&]<class M>(M& member) {
    constexpr Arity arity = arity_of<M>;
    if constexpr (arity == Arity::required) {
      append(member);
    } else if constexpr (arity == Arity::optional) {
      all.push_back(member ? &*member : nullptr);
    } else {
      for (Tensor& t : member) append(t);
    }
  });
}

template <class A>
class CallOf final : public Call {
 public:
  CallOf(const A& a, std::span<const Tensor> in, std::span<const Tensor> out)
      : a_(a), in_(unflatten<A::template In>(in)), out_(unflatten<A::template Out>(out)) {}

  void run(Context& context) override { a_.forward(context, in_, out_); }
  std::vector<Tensor*> tensors() override {
    std::vector<Tensor*> all;
    append_pointers(in_, all);
    append_pointers(out_, all);
    return all;
  }

 private:
  const A& a_;
  typename A::template In<Tensor> in_;
  typename A::template Out<Tensor> out_;
};

template <class A>
class OpOf final : public Op {
 public:
  explicit OpOf(A a) : a_(std::move(a)) {}

  const OpType& type() const override { return op_type<A>(); }
  AttributeMap attributes() const override { return encode_attributes(a_); }

  std::vector<TensorSpec> infer(std::span<const MaybeSpec> in) const override {
    check_arity(type(), in);
    if constexpr (HasInfer<A>) {
      return flatten(a_.infer(unflatten_specs<A::template In>(in)));
    } else {
      return infer_by_decomposition(*this, in);
    }
  }

  void forward(Context& context, std::span<const Tensor> in, std::span<Tensor> out) const override {
    if constexpr (HasForward<A>) {
      auto outputs = unflatten<A::template Out>(out);
      a_.forward(context, unflatten<A::template In>(in), outputs);
    } else if constexpr (HasTileKernel<A>) {
      std::vector<DType> dtypes;
      for (const Tensor& t : in) dtypes.push_back(t.dtype());
      forward_by_tiles(context, a_.tile_kernel(dtypes), in, out[0]);
    } else if constexpr (HasView<A>) {
      const Tensor seen = a_.view(in[0]);
      out[0].copy_from(seen ? seen : a_.view(in[0].contiguous()));
    } else {
      forward_by_decomposition(*this, in, out);
    }
  }

  std::unique_ptr<Call> prepare(std::span<const Tensor> in,
                                std::span<const Tensor> out) const override {
    if constexpr (HasForward<A>) {
      return std::make_unique<CallOf<A>>(a_, in, out);
    } else {
      return Op::prepare(in, out);
    }
  }

  std::vector<Expr> vjp(std::span<const Expr> in, std::span<const Expr> out,
                        std::span<const Expr> d) const override {
    if constexpr (HasVjp<A>) {
      return flatten(a_.vjp(unflatten<A::template In>(in), unflatten<A::template Out>(out),
                            unflatten<A::template Out>(d)));
    } else {
      lacks(*this, "gradient rule");
    }
  }

  bool vjp_covers(std::span<const Expr> d) const override {
    if constexpr (HasVjp<A> && HasVjpCovers<A>) {
      return a_.vjp_covers(unflatten<A::template Out>(d));
    } else {
      return HasVjp<A>;
    }
  }

  std::vector<Expr> jvp(std::span<const Expr> in, std::span<const Expr> out,
                        std::span<const Expr> tangents) const override {
    if constexpr (HasJvp<A>) {
      return flatten(a_.jvp(unflatten<A::template In>(in), unflatten<A::template Out>(out),
                            unflatten<A::template In>(tangents)));
    } else {
      lacks(*this, "forward-mode rule");
    }
  }

  std::vector<Expr> decomposition(std::span<const Expr> in) const override {
    if constexpr (HasDecomposition<A>) {
      return flatten(a_.decomposition(unflatten<A::template In>(in)));
    } else {
      lacks(*this, "decomposition");
    }
  }

  Tensor view(const Tensor& x) const override {
    if constexpr (HasView<A>) {
      return a_.view(x);
    } else {
      lacks(*this, "view");
    }
  }

  std::size_t workspace(std::span<const MaybeSpec> in) const override {
    if constexpr (HasWorkspace<A>) {
      return a_.workspace(unflatten_specs<A::template In>(in));
    } else {
      return 0;
    }
  }

  double flops(std::span<const MaybeSpec> in) const override {
    if constexpr (HasFlops<A>) {
      return a_.flops(unflatten_specs<A::template In>(in));
    } else {
      return count_flops(*this, in);
    }
  }

  TileKernel tile_kernel(std::span<const DType> in) const override {
    if constexpr (HasTileKernel<A>) {
      return a_.tile_kernel(in);
    } else {
      return {};
    }
  }

 private:
  A a_;
};

template <class A, class Call>
AnySample erase(const Call& call, std::string text) {
  return {make_op(call.op), flatten(call.in), std::move(text)};
}

template <class A>
OpType describe() {
  OpType type;
  type.name = A::name;
  type.doc = A::doc;
  type.inputs = describe_slots<A::template In>();
  type.outputs = describe_slots<A::template Out>();
  type.attributes = describe_attributes<A>();
  type.has_infer = HasInfer<A>;
  type.has_forward = HasForward<A>;
  type.has_vjp = HasVjp<A>;
  type.has_jvp = HasJvp<A>;
  type.has_decomposition = HasDecomposition<A>;
  type.has_view = HasView<A>;
  type.elementwise = HasTileKernel<A>;
  if constexpr (requires { A::broadcasts; }) type.broadcasts = A::broadcasts;
  if constexpr (requires { A::overwrites; }) type.overwrites = A::overwrites;
  if constexpr (requires { A::stops_gradient; }) type.stops_gradient = A::stops_gradient;
  if constexpr (requires { A::linear; }) type.linear = A::linear;
  if constexpr (requires { A::no_second_derivative; }) {
    type.no_second_derivative = A::no_second_derivative;
  }
  if constexpr (requires { A::reserved_inputs; }) type.reserved_inputs = A::reserved_inputs;
  type.reserved_attributes = reserved_attributes<A>();
  type.make = [](const AttributeMap& map) { return make_op(decode_attributes<A>(map)); };
  type.samples = [] {
    std::vector<AnySample> all;
    if constexpr (requires { A::samples(); }) {
      for (const auto& sample : A::samples()) all.push_back(erase<A>(sample, sample.note));
    }
    return all;
  };
  type.rejects = [] {
    std::vector<AnySample> all;
    if constexpr (requires { A::rejects(); }) {
      for (const auto& reject : A::rejects()) all.push_back(erase<A>(reject, reject.text));
    }
    return all;
  };
  return type;
}

}  // namespace detail

template <class A>
const OpType& op_type() {
  static_assert(detail::HasForward<A> || detail::HasTileKernel<A> || detail::HasView<A> ||
                    detail::HasDecomposition<A>,
                "an op needs a forward, a view or a decomposition");
  static const OpType type = detail::describe<A>();
  return type;
}

template <class A>
std::shared_ptr<const Op> make_op(const A& a) {
  return std::make_shared<detail::OpOf<A>>(a);
}

/// Stands at global scope.
#define FOVEA_DEFINE_OP(A)                           \
  template const fovea::OpType& fovea::op_type<A>(); \
  template std::shared_ptr<const fovea::Op> fovea::make_op<A>(const A&)

}  // namespace fovea
