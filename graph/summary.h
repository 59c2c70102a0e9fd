// What a model consists of, for people who look at it: tables, pictures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fovea/graph/model.h"

namespace fovea {

/// An extent: its size, unless that depends on open dims, and its name or expression, if it has
/// one.
struct ExtentSummary {
  std::optional<std::int64_t> size = {};
  std::string name = {};
};

/// A value and its shape.
struct ValueSummary {
  std::string name;
  std::optional<DType> dtype = {};  ///< nothing, as for the shape, where open dims forbid to tell
  std::optional<std::vector<ExtentSummary>> shape = {};
  std::optional<double> elements = {};  ///< nothing where that depends on open dims
  std::optional<double> bytes = {};
};
/// `f32 (batch=2, length, 3)`; extents without a size have their names only; `?` for what is not
/// known.
std::string spec_text(const ValueSummary& value);

/// An op or a block that a body applies. Figures are those of all its repetitions.
struct NodeSummary {
  std::string name;  ///< as in the file
  std::string what;  ///< the op, or the block
  bool is_block = false;
  std::string repeat = {};  ///< of a repeated block: `12`, or `layers` when that is open
  bool share = false;
  /// As in the file: names of values in the same body, or numbers.
  std::vector<std::string> inputs = {};
  std::vector<ValueSummary> outputs = {};  ///< the first, and others that somebody uses
  std::optional<double> parameters = {};   ///< elements of the params that it reads
  std::optional<double> flops = {};        ///< nothing where that depends on open dims
  std::optional<double> bytes = {};        ///< of the outputs, were all kept
  std::string attention = {};  ///< how attention is computed, and why; empty for other ops
  // Of a block, of one repetition:
  std::vector<ValueSummary> block_inputs = {}, params = {};
  std::vector<NodeSummary> nodes = {};
  std::vector<std::pair<std::string, std::string>> results = {};  ///< name, value inside
};

struct Summary {
  std::string name, doc;
  std::vector<std::pair<std::string, std::string>> dims = {};  ///< name and size, `open` without
  std::vector<ValueSummary> inputs = {}, params = {}, constants = {};
  std::vector<NodeSummary> nodes = {};
  std::vector<std::pair<std::string, ValueSummary>> outputs = {};  ///< result name, value
  double expanded_nodes = 0;  ///< ops, repetitions counted; without those of open repeats
  std::optional<double> parameters = {}, parameter_bytes = {}, flops = {};
  std::optional<double> peak_bytes = {};  ///< planned, besides inputs and params
};

/// Throws Error as `Model::check` does. Reads no more of the weights than their names and shapes.
/// The model's dims may stay open.
Summary summarize(const Model& model, const Sizes& sizes = {}, const BindOptions& options = {});

}  // namespace fovea
