#include "fovea/ops/elementwise_base.h"

#include "fovea/ops/define.h"
#include "fovea/tensor/format.h"

namespace fovea::detail {

namespace {

void require_domain(std::string_view where, std::string_view what, Domain domain, DType dtype) {
  static constexpr const char* kDomains[] = {"f32 or f64", "f32, f64 or i64", "bool", "any dtype"};
  const bool is_number = is_float(dtype) || (domain == Domain::numbers && dtype == i64);
  const bool fits =
      domain == Domain::any || (domain == Domain::bools ? dtype == boolean : is_number);
  if (!fits) fail(where, "{} {}; {} is required", what, dtype, kDomains[static_cast<int>(domain)]);
}

class Tangent final : public Op {
 public:
  Tangent(const OpType& type, AttributeMap attributes, std::shared_ptr<const void> row,
          TileKernel narrow, TileKernel wide)
      : type_(type),
        attributes_(std::move(attributes)),
        row_(std::move(row)),
        narrow_(narrow),
        wide_(wide) {}

  const OpType& type() const override { return type_; }
  AttributeMap attributes() const override { return attributes_; }

  std::vector<TensorSpec> infer(std::span<const MaybeSpec> in) const override {
    check_arity(type_, in);
    TensorSpec y = *in[0];
    for (const MaybeSpec& x : in) y = infer_elementwise(type_.name, Domain::floats, y, *x);
    return {y};
  }
  void forward(Context& context, std::span<const Tensor> in, std::span<Tensor> out) const override {
    forward_by_tiles(context, kernel(in[0].dtype()), in, out[0]);
  }
  TileKernel tile_kernel(std::span<const DType> in) const override { return kernel(in[0]); }

  std::vector<Expr> vjp(std::span<const Expr>, std::span<const Expr>,
                        std::span<const Expr>) const override {
    lacks(*this, "gradient rule");
  }
  bool vjp_covers(std::span<const Expr>) const override { return false; }
  std::vector<Expr> jvp(std::span<const Expr>, std::span<const Expr>,
                        std::span<const Expr>) const override {
    lacks(*this, "forward-mode rule");
  }
  std::vector<Expr> decomposition(std::span<const Expr>) const override {
    lacks(*this, "decomposition");
  }
  Tensor view(const Tensor&) const override { lacks(*this, "view"); }
  std::size_t workspace(std::span<const MaybeSpec>) const override { return 0; }
  double flops(std::span<const MaybeSpec> in) const override { return count_flops(*this, in); }

 private:
  TileKernel kernel(DType dtype) const { return dtype == f32 ? narrow_ : wide_; }

  const OpType& type_;
  AttributeMap attributes_;
  std::shared_ptr<const void> row_;  // what the kernels read
  TileKernel narrow_, wide_;
};

}  // namespace

TensorSpec infer_elementwise(std::string_view where, Domain domain, const TensorSpec& x) {
  require_domain(where, "x is", domain, x.dtype);
  return x;
}

TensorSpec infer_elementwise(std::string_view where, Domain domain, const TensorSpec& a,
                             const TensorSpec& b) {
  if (a.dtype != b.dtype) {
    fail(where, "a {} and b {}; equal dtypes are required (there is no promotion; see cast)",
         a.dtype, b.dtype);
  }
  require_domain(where, "a and b are", domain, a.dtype);
  return {a.dtype, broadcast_shapes(where, a.shape, b.shape)};
}

OpType tangent_type(std::size_t operands, std::vector<AttributeInfo> attributes) {
  static constexpr std::string_view kUnary[] = {"x", "t"}, kBinary[] = {"a", "b", "ta", "tb"};
  OpType type;
  type.name = "tangent";
  type.doc = "forward-mode derivative of an elementwise op";
  for (std::size_t i = 0; i < operands; ++i) {
    type.inputs.push_back({operands == 2 ? kUnary[i] : kBinary[i], Arity::required});
  }
  type.outputs.push_back({"y", Arity::required});
  type.attributes = std::move(attributes);
  type.has_infer = type.has_forward = type.elementwise = true;
  return type;
}

std::shared_ptr<const Op> tangent_op(const OpType& type, AttributeMap attributes,
                                     std::shared_ptr<const void> row, TileKernel narrow,
                                     TileKernel wide) {
  return std::make_shared<Tangent>(type, std::move(attributes), std::move(row), narrow, wide);
}

}  // namespace fovea::detail
