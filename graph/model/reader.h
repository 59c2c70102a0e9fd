// Shared by the sources that read a model file.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/graph/model/description.h"

namespace fovea::model {

/// `unknown key "nodez"; known are …; did you mean "nodes"?`; a name that is
/// reserved is said to be.
std::string unknown(std::string_view what, std::string_view given,
                    const std::vector<std::string>& known,
                    std::span<const std::string_view> reserved = {});

/// Whether the model has all dims that the expression names; reports those that it lacks.
bool all_known(const Description& description, const JsonValue& at, const DimExpression& expression,
               Mistakes& mistakes);

/// `a -> b -> a`, at most 8 names.
std::string cycle_text(const std::vector<std::uint32_t>& cycle,
                       const std::function<std::string_view(std::uint32_t)>& name_of);

/// Reads JSON into a Description; whatever is wrong goes to its mistakes.
class Reader {
 public:
  Reader(Description& description, const Registry& registry)
      : d_(description), mistakes_(description.mistakes), registry_(registry) {}

  void read(const JsonValue& root);

 private:
  // Shapes of JSON. Each reports what is wrong and then gives nothing or false.
  bool is_object(const JsonValue& value);
  void check_keys(const JsonValue& object, std::initializer_list<std::string_view> known);
  bool check_doc(const JsonValue& member);
  bool check_name(const JsonValue& member);
  JsonValue required(const JsonValue& object, std::string_view key);
  std::optional<std::string> text(const JsonValue& value);
  std::optional<DType> dtype(const JsonValue& value);
  std::optional<double> real(const JsonValue& value);
  std::optional<std::int64_t> integer(const JsonValue& value);
  std::optional<Size> size(const JsonValue& value);
  std::optional<std::vector<Size>> shape(const JsonValue& value);
  /// Members of an object of names, without its `doc`.
  std::vector<JsonValue> named_members(const JsonValue& object);

  // declarations.cc
  void header(const JsonValue& root);
  void dims(const JsonValue& object);
  void weights(const JsonValue& value);
  Declaration declaration(const JsonValue& member, bool is_param, bool in_block);
  Constant constant(const JsonValue& member);
  std::optional<Init> init(const JsonValue& value, DType dtype, bool is_param, std::size_t rank);
  std::optional<Init> init_object(const JsonValue& object);
  bool init_fits(const Init& init, DType dtype, bool is_param, std::size_t rank);

  // nodes.cc
  void blocks(const JsonValue& object);
  void declare(const JsonValue& object, Body& body, bool in_block);
  void resolve(const JsonValue& object, Body& body);
  void add_name(Body& body, const JsonValue& member, std::string_view name, Symbol symbol);
  Node node(const JsonValue& value);
  void apply_op(const JsonValue& value, Node& node);
  void apply_block(const JsonValue& value, Node& node);
  void operands(Body& body, Node& node);
  void operands_by_position(Body& body, const JsonValue& list, Node& node);
  void operands_by_name(Body& body, const JsonValue& object, Node& node);
  Operand operand(Body& body, const JsonValue& value, bool optional);
  std::optional<Reference> reference(Body& body, const JsonValue& value);
  void results(const JsonValue& value, Body& body);
  void check_results(const Block& block);
  void check_used(const Body& body);
  void order_nodes(Body& body);
  /// Those that take part in no cycle.
  std::vector<Block*> order_blocks();

  Description& d_;
  Mistakes& mistakes_;
  const Registry& registry_;
};

}  // namespace fovea::model
