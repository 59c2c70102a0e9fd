// A model file as it stands: names resolved, sizes still open. Made by `read`, never changed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fovea/graph/model/dims.h"
#include "fovea/graph/model/mistakes.h"
#include "fovea/ops/registry.h"
#include "fovea/tensor/json_document.h"

namespace fovea::model {

/// An extent, or a count of repetitions.
struct Size {
  JsonValue at;
  DimExpression value;
};

struct Dim {
  std::string name;
  JsonValue at;
  std::optional<DimExpression> value;  ///< nothing: `null`
};

/// How a param, or an input that no file gives, gets its values.
struct Init {
  enum class Kind {
    zeros,
    ones,
    xavier_uniform,
    kaiming_uniform,
    constant,
    normal,
    uniform,
    integers,
    bernoulli
  };
  Kind kind = Kind::zeros;
  double first = 0, second = 1;    ///< constant, -; mean, std; low, high; probability, -
  std::int64_t low = 0, high = 2;  ///< of integers
  JsonValue at;
};

/// An input or a param.
struct Declaration {
  std::string name;
  JsonValue at;
  Location location;
  std::vector<Size> shape;
  DType dtype = f32;
  JsonValue value;  ///< nested arrays, or absent
  std::optional<Init> init;
  std::string from;  ///< a param's name in the weights file
  bool broken = false;
};

struct Constant {
  std::string name;
  JsonValue at;
  JsonValue value;
  DType dtype = f32;
  std::optional<std::vector<Size>> shape;
  bool broken = false;
};

enum class Source : std::uint8_t { none, input, param, constant, node };

/// What a name in a body stands for.
struct Symbol {
  Source source = Source::none;  ///< none: not known
  std::uint32_t index = 0;
};

/// The use of a value: `att`, `att.lse`, `layers.3.att.probs`.
struct Reference {
  JsonValue at;
  Symbol symbol;
  std::string_view member;  ///< what stands behind the first dot
};

/// An input of a node.
struct Operand {
  enum class Kind : std::uint8_t { omitted, value, number, broken };
  Kind kind = Kind::omitted;
  JsonValue at;
  Reference value;
  double number = 0;
};

struct Block;

struct Node {
  std::string name;
  JsonValue at;
  Location location;  ///< `at` as a text, for every expression that it makes
  const OpType* op = nullptr;
  const Block* block = nullptr;
  std::vector<Operand> inputs;  ///< in the order of the op's or block's inputs
  JsonValue attributes;
  std::optional<Size> repeat;
  bool share = false;
  bool broken = false;
};

struct Result {
  std::string name;
  Reference value;
};

/// What a model and a block have in common.
struct Body {
  std::vector<Declaration> inputs, params;
  std::vector<Constant> constants;
  std::vector<Node> nodes;
  std::vector<Result> results;
  std::unordered_map<std::string, Symbol> names;
  std::vector<std::uint32_t> order;  ///< of the nodes: each after those that it uses
  bool nameless = false;    ///< something lacks its name, so an unknown one may be meant for it
  bool unresolved = false;  ///< a name stands for nothing, so what seems unused may not be

  /// `name` or `name.rest`; the source is `none` if there is no such name.
  Reference find(std::string_view name) const;
};

struct Block {
  std::string name;
  JsonValue at;
  Body body;
  bool broken = false;  ///< in a cycle of blocks, or nested too deep
};

struct Weights {
  JsonValue at;
  std::string file;
  bool ignore_extra = false;
};

struct Description {
  std::shared_ptr<const JsonDocument> document;
  std::string folder;
  std::string name, doc;
  std::uint64_t seed = 0;
  DType dtype = f32;
  std::vector<Dim> dims;
  std::unordered_map<std::string, std::uint32_t> dim_index;
  std::vector<std::uint32_t> dim_order;  ///< each after those that it is computed from
  std::unordered_map<std::string, std::unique_ptr<Block>> blocks;
  Body body;
  std::optional<Weights> weights;
  /// Found while reading. With any of them, whatever depends on the broken parts is marked broken.
  Mistakes mistakes;
};

/// Throws Error if the text is no JSON object; other mistakes are collected in the result.
std::shared_ptr<const Description> read(std::string file, std::string folder, std::string text,
                                        const Registry& registry);

/// Index of the output that `member` names (empty: the first), or nothing. Variadic outputs are
/// named `0`, `1`, …; how many there are is not known here.
std::optional<std::size_t> output_named(const OpType& op, std::string_view member);

/// Whether `member` can name a value of a block node: a result, an inner value, or one of a
/// repetition.
bool is_member(const Node& node, std::string_view member);

/// Each of `count` things after those that it depends on, or the cycle that forbids it.
struct Ordering {
  std::vector<std::uint32_t> order;
  std::vector<std::uint32_t> cycle;
};
Ordering ordered(std::size_t count, const std::vector<std::vector<std::uint32_t>>& needs);

}  // namespace fovea::model
