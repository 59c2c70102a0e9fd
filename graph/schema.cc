#include "fovea/graph/schema.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fovea/graph/model/instance.h"
#include "fovea/graph/schema_ops.h"
#include "fovea/tensor/format.h"

namespace fovea {

using schema::defined;
using schema::described;
using schema::Json;

namespace {

/// An object with these members and no others, and a `doc`.
Json object(Json properties, Json required = Json::array()) {
  properties["doc"] = defined("doc");
  Json result{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) result["required"] = std::move(required);
  result["additionalProperties"] = false;
  return result;
}

/// An object of names. A `doc` that is text is documentation, else it is a member as any other.
Json names(const Json& member) {
  return {{"type", "object"},
          {"properties", {{"doc", {{"anyOf", {defined("doc"), member}}}}}},
          {"propertyNames", defined("name")},
          {"additionalProperties", member}};
}

Json words() {
  Json all = Json::array();
  const auto word = [&](const char* name, const char* about) {
    all.push_back({{"const", name}, {"description", about}});
  };
  word("zeros", "Every element 0.");
  word("ones", "Every element 1.");
  word("xavier_uniform",
       "Uniform in ±√(6/(in + out)) for a shape (…, in, out) (Glorot and Bengio 2010).");
  word("kaiming_uniform", "Uniform in ±√(6/in) for a shape (…, in, out) (He et al. 2015).");
  return all;
}

Json init(bool of_input) {
  const Json number{{"type", "number"}};
  Json kinds{
      {"constant", described(defined("number"), "Every element this number.")},
      {"normal", described(object({{"mean", {{"type", "number"}, {"default", 0}}},
                                   {"std", {{"type", "number"}, {"minimum", 0}, {"default", 1}}}}),
                           "Normal with this mean and standard deviation.")},
      {"uniform", described(object({{"low", {{"type", "number"}, {"default", 0}}},
                                    {"high", {{"type", "number"}, {"default", 1}}}}),
                            "Uniform in [low, high).")}};
  if (of_input) {
    kinds["integers"] = described(
        object({{"low", {{"type", "integer"}}}, {"high", {{"type", "integer"}}}}, {"low", "high"}),
        "i64: uniform among low, low + 1, …, high − 1.");
    kinds["bernoulli"] =
        described({{"type", "number"}, {"minimum", 0}, {"maximum", 1}}, "bool: true this often.");
  }
  Json one = Json::array();
  for (const auto& [kind, unused] : kinds.items()) one.push_back({{"required", {kind}}});
  Json in_words = object(std::move(kinds));
  in_words["oneOf"] = std::move(one);
  return {{"anyOf", {{{"oneOf", words()}}, std::move(in_words)}}};
}

Json declaration(Json more) {
  Json properties{
      {"shape", described(defined("shape"), "Extents from the outermost axis to the innermost.")},
      {"dtype", described(defined("dtype"), "Default: the model's `dtype`.")}};
  properties.update(more);
  return object(std::move(properties), {"shape"});
}

Json input() {
  Json result = declaration(
      {{"value",
        described(defined("array"), "Its elements when no file gives them: nested arrays.")},
       {"init",
        described(defined("input_init"), "Its elements when no file gives them, by a rule.")}});
  result["not"] = {{"required", {"value", "init"}}};
  return described(std::move(result),
                   "A value that is given when the model runs. When neither a file nor `value` nor "
                   "`init` gives it, it is drawn from the seed: floats normal, i64 zero, bool "
                   "true.");
}

Json param() {
  return described(declaration({{"init", described(defined("param_init"),
                                                   "Its initial values, by a rule; they depend on "
                                                   "the seed and the param's name only. Without it "
                                                   "the weights must give them.")},
                                {"from",
                                 {{"type", "string"},
                                  {"description",
                                   "Its name in the weights file, where that differs. In a "
                                   "repeated block, `{i}` is the repetition's index (where "
                                   "repetitions share their params, the index of the repetition "
                                   "around them)."}}}}),
                   "A weight.");
}

Json constant() {
  const Json long_form = object(
      {{"value", defined("array")}, {"dtype", defined("dtype")}, {"shape", defined("shape")}},
      {"value"});
  return described({{"anyOf", {defined("array"), long_form}}},
                   "A number, nested arrays, or `{value, dtype, shape}` (`shape` is needed only "
                   "for empty ones). Without `dtype`, true and false make bool, and numbers the "
                   "model's float dtype; i64 must be said.");
}

Json outputs() {
  const Json list{
      {"type", "array"}, {"items", defined("value")}, {"minItems", 1}, {"uniqueItems", true}};
  Json named = names(defined("value"));
  named["properties"]["doc"] = {{"type", "string"}};
  named["minProperties"] = 1;
  return {{"anyOf", {std::move(named), list}}};
}

Json weights() {
  Json file{{"type", "string"},
            {"pattern", "\\.safetensors$"},
            {"description",
             "A .safetensors file: a path relative to the model file that does not leave its "
             "folder, links resolved."}};
  Json extra{{"const", "ignore"}, {"description", "Tensors that no param names are allowed."}};
  return {{"anyOf", {file, object({{"file", file}, {"extra", std::move(extra)}}, {"file"})}}};
}

Json block() {
  return described(
      object({{"inputs", described(names(defined("block_input")),
                                   "What the node that applies the "
                                   "block gives it, in this order.")},
              {"params", described(names(defined("param")), "Its weights: one set for each use.")},
              {"nodes", defined("nodes")},
              {"outputs", described(outputs(), "Its results, as a model's.")}},
             {"nodes", "outputs"}),
      "A piece of a model that nodes apply, once or repeatedly. It sees the model's dims, and of "
      "its values nothing but its inputs.");
}

Json block_node() {
  Json repeat = defined("size");
  repeat["maximum"] = model::kMaxRepeat;
  const Json list{{"type", "array"}, {"items", defined("operand")}};
  Json by_name = names(defined("operand"));
  by_name["properties"]["doc"] = {{"type", {"string", "number"}}};
  Json node = object(
      {{"name", described(defined("name"),
                          "Of its first output; output o is `name.o`, an inner "
                          "value v is `name.v`, in repetition 3 "
                          "`name.3.v`.")},
       {"block", described(defined("name"), "The block that it applies.")},
       {"inputs",
        {{"description", "By position, or by name."}, {"anyOf", {list, std::move(by_name)}}}},
       {"repeat", described(std::move(repeat),
                            "How often: outputs feed the first inputs of the next "
                            "repetition, further inputs stay the same; 0 passes the inputs "
                            "through.")},
       {"share",
        {{"type", "boolean"},
         {"default", false},
         {"description", "Whether all repetitions have one set of params."}}}},
      {"name", "block", "inputs"});
  node["dependentRequired"] = {{"share", {"repeat"}}};
  return described(std::move(node), "Applies a block.");
}

Json scalars() {
  Json dtypes = Json::array({"f32", "f64", "i64", "bool"});
  Json specials = Json::array({"inf", "-inf", "nan"});
  return {
      {"doc", {{"type", "string"}, {"description", "Documentation; every object may have one."}}},
      {"name", {{"type", "string"}, {"pattern", "^[A-Za-z_][A-Za-z0-9_]*$"}}},
      {"value",
       {{"type", "string"},
        {"pattern", "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z0-9_]+)*$"},
        {"description",
         "The name of a value: an input, param, constant or node, or one "
         "inside a node: `att`, `att.lse`, `layers.3.att.probs`."}}},
      {"operand",
       {{"anyOf", {defined("value"), defined("number")}},
        {"description",
         "The name of a value, or a number: a scalar of the other operand's dtype."}}},
      {"number",
       {{"anyOf", {{{"type", "number"}}, {{"enum", std::move(specials)}}}},
        {"description", "A number; those that JSON lacks are texts."}}},
      {"dtype", {{"enum", std::move(dtypes)}}},
      {"array",
       {{"anyOf",
         {defined("number"),
          {{"type", "boolean"}},
          {{"type", "array"}, {"items", defined("array")}}}},
        {"description", "A number, true or false, or nested arrays of them."}}},
      {"expression",
       {{"type", "string"},
        {"pattern", "^[ A-Za-z0-9_+*/()-]+$"},
        {"maxLength", 1000},
        {"description",
         "A dim, or dims and integers with + - * / and brackets, such as \"3*width\"; a division "
         "must be exact."}}},
      {"real_expression",
       {{"type", "string"},
        {"pattern", "^[ A-Za-z0-9_+*/().-]+$"},
        {"maxLength", 1000},
        {"description",
         "As a size's expression, with decimals, real division and sqrt: "
         "\"1/sqrt(width/heads)\"; also \"inf\", \"-inf\", \"nan\"."}}},
      {"shape", {{"type", "array"}, {"items", defined("size")}}}};
}

Json definitions(const Registry& registry) {
  Json defs = scalars();
  defs["size"] = {{"anyOf", {{{"type", "integer"}, {"minimum", 0}}, defined("expression")}},
                  {"description", "A size: 0 or more, a dim, or an expression of dims."}};
  defs["dim"] = {{"anyOf", {defined("size"), {{"type", "null"}}}},
                 {"description",
                  "A size, an expression of other dims, or null: no default, the size must be "
                  "given when the model is bound."}};
  defs["input"] = input();
  defs["param"] = param();
  defs["input_init"] = init(true);
  defs["param_init"] = init(false);
  defs["constant"] = constant();
  defs["block_input"] =
      described(declaration(Json::object()), "What a block is given: shape and dtype must agree.");
  defs["block"] = block();
  defs["weights"] = weights();
  defs["nodes"] = {{"type", "array"},
                   {"items", defined("node")},
                   {"description", "In any order that has no cycle."}};
  defs["node"] = {{"type", "object"},
                  {"if", {{"required", {"block"}}}},
                  {"then", defined("block_node")},
                  {"else", defined("op_node")}};
  defs["block_node"] = block_node();
  schema::add_ops(registry, defs);
  return defs;
}

}  // namespace

std::string model_schema(const Registry& registry) {
  Json properties{
      {"fovea", {{"const", 1}, {"description", "The format's version."}}},
      {"$schema", {{"description", "Allowed and ignored; editors read it."}}},
      {"name", {{"type", "string"}, {"description", "What the model is called."}}},
      {"seed",
       {{"type", "integer"},
        {"default", 0},
        {"description", "Of everything random; --seed overrides it."}}},
      {"dtype",
       {{"enum", {"f32", "f64"}},
        {"default", "f32"},
        {"description", "What a missing dtype of an input, param or constant means."}}},
      {"dims", described(names(defined("dim")),
                         "Named dimensions. An input's array binds the bare names in its shape, "
                         "overriding their defaults; everything else must agree.")},
      {"inputs", described(names(defined("input")), "Values that are given when the model runs.")},
      {"params", described(names(defined("param")), "Weights.")},
      {"constants", described(names(defined("constant")), "Values that are part of the model.")},
      {"nodes", defined("nodes")},
      {"blocks", described(names(defined("block")), "Pieces that nodes apply.")},
      {"outputs", described(outputs(), "Result name → value name, or a list of value names.")},
      {"weights", described(defined("weights"),
                            "The file with the params. By default it holds exactly "
                            "these; --weights FILE replaces it and may be anywhere.")}};
  Json schema = object(std::move(properties), {"fovea", "nodes", "outputs"});
  Json result{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
              {"title", "Fovea model"},
              {"description",
               "A model for Fovea. Inputs, params, constants and nodes share one name space; names "
               "are letters, digits and _, no digit first."}};
  result.update(schema);
  result["$defs"] = definitions(registry);
  return result.dump(2) + "\n";
}

}  // namespace fovea
