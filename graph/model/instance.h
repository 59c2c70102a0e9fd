// A description with sizes for its dims: expressions, ready to be computed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fovea/graph/model/description.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/named_tensors.h"

namespace fovea::model {

/// What a user may say when a model is bound.
struct Choices {
  std::map<std::string, std::int64_t> dims = {};
  std::optional<DType> dtype = {};  ///< f32 or f64 in place of both
  NamedTensors arrays = {};         ///< for inputs
  // What messages call where arrays and sizes are from, and a size (`{0}` the dim, `{1}` the size).
  std::string arrays_from = "inputs", sizes_from = "sizes", size_word = "{0}={1}";
};

/// `dtype`, or the float type that `choices` puts in its place.
DType chosen(DType dtype, const std::optional<DType>& choice);

/// The sizes of a description's dims, in its order.
class DimValues {
 public:
  explicit DimValues(const Description& description) : d_(&description) {
    values_.resize(description.dims.size());
    open_.resize(description.dims.size());
    given_by_.resize(description.dims.size());
  }

  /// From `choices`, from the arrays that they or the model give to inputs, or else the defaults.
  /// Reports disagreement.
  static DimValues bind(const Description& description, const Choices& choices, Mistakes& mistakes);

  /// Dims that have no value and on which no other depends for its own.
  std::vector<std::uint32_t> unbound() const;
  /// The same with `sizes` standing in for the unbound dims.
  DimValues with(const std::vector<std::int64_t>& sizes) const;

  /// Whether some size is a stand-in.
  bool stands_in() const { return stands_in_; }
  /// Whether a value is open, a stand-in, or computed from one of those.
  bool open(const DimExpression& expression) const;

  const Description& description() const { return *d_; }
  /// Of a dim, by its place in the description; nothing if it has none.
  std::optional<std::int64_t> value(std::uint32_t dim) const { return values_[dim]; }
  std::optional<std::int64_t> value_of(const std::string& dim) const {
    return values_[d_->dim_index.at(dim)];
  }
  /// What gave the dim its size: `sizes["length"] = 16`, `"x" in x.npz`; empty: the model.
  const std::string& given_by(const std::string& dim) const {
    return given_by_[d_->dim_index.at(dim)];
  }

  /// Whether the model has all dims that the expression names; reports those that it lacks. Only
  /// then may the expression be evaluated.
  bool knows(const JsonValue& at, const DimExpression& expression, Mistakes& mistakes) const;
  /// Nothing if it cannot be had, which is reported unless a stand-in is to blame. At least 0.
  std::optional<Extent> size(const Size& size, Mistakes& mistakes) const;
  std::optional<Extent> whole(const JsonValue& at, const DimExpression& expression,
                              Mistakes& mistakes) const;
  std::optional<double> real(const JsonValue& at, const DimExpression& expression,
                             Mistakes& mistakes) const;
  /// All extents, or nothing.
  std::optional<Shape> shape(const std::vector<Size>& sizes, Mistakes& mistakes) const;

 private:
  void evaluate(std::uint32_t dim, Mistakes& mistakes);
  bool collect(const DimExpression& expression, std::vector<std::int64_t>& values, bool& open,
               Mistakes& mistakes) const;
  /// The dims without a size from which `dim` would be computed.
  void report_unbound(std::uint32_t dim, Mistakes& mistakes) const;

  const Description* d_;
  std::vector<std::optional<std::int64_t>> values_;
  std::vector<std::string> given_by_;
  std::string size_word_;
  bool stands_in_ = false;
  std::vector<bool> open_;  // null, a stand-in, or computed from one of those
};

/// The op that a node names, with its attributes. Null after reporting what is wrong with them.
std::shared_ptr<const Op> make_op(const Node& node, const DimValues& dims,
                                  const std::optional<DType>& dtype, Mistakes& mistakes);

/// An input or param of the whole model, or a param inside a block.
struct Leaf {
  std::string name;
  const Declaration* declaration;
  Expr expr;
  std::string from;  ///< name in the weights file
};

/// The values of a body, and of the blocks that its nodes apply.
struct Scope {
  std::vector<Expr> inputs, params, constants;
  std::vector<std::vector<Expr>> nodes;  ///< by node; empty when broken
  std::map<std::uint32_t, std::vector<std::unique_ptr<Scope>>> parts;  ///< by node, repetition
};

/// An op that refused its inputs; its mistakes are not among the builder's, because a stand-in may
/// be to blame.
struct Refusal {
  const Node* node;
  std::shared_ptr<const Op> op;
  std::vector<Op::MaybeSpec> inputs;
  Mistakes mistakes;
};

/// An input of a block whose extents differ from those that it declares, under stand-ins: where an
/// extent that differs does not depend on these, it is a mistake.
struct Mismatch {
  const Node* node;
  std::size_t input;
  TensorSpec given, wanted;
  std::string text;
};

struct Instance {
  std::vector<Leaf> inputs, params;
  std::vector<std::pair<std::string, Expr>> outputs;  ///< a null Expr if broken
  Scope scope;
  std::vector<Refusal> refusals;
  std::vector<Mismatch> mismatches;
  std::vector<const Node*> accepted;  ///< nodes that were applied
  bool open_repeats = false;  ///< a number of repetitions is a stand-in, so which params there are
};

/// Limits of a model after expansion.
inline constexpr std::int64_t kMaxNodes = 1000000;
inline constexpr std::int64_t kMaxRepeat = 100000;

/// Builds the expressions. Mistakes are collected; what depends on them is left out.
Instance build(const Description& description, const DimValues& dims,
               const std::optional<DType>& dtype, Mistakes& mistakes);

/// The value that a dotted name stands for, as in a model's outputs. Throws Error, text alone, when
/// there is none.
Expr find_value(const Description& description, const Instance& instance, std::string_view name);

class OpenSizes;

/// The two instances with stand-ins for dims that are open, for whoever wants to look further.
using OpenInstances = std::array<std::unique_ptr<Instance>, 2>;

/// Everything that is wrong with a model whatever the sizes of its unbound dims will be. Unless
/// `keep`, the instances have only their params.
OpenInstances check_open(const Description& description, const OpenSizes& sizes,
                         const DimValues& dims, const std::optional<DType>& dtype, bool keep,
                         Mistakes& mistakes);

}  // namespace fovea::model
