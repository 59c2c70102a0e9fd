// A model file of one node: for reproducers, and for the law that attributes survive JSON.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fovea/ops/op.h"
#include "fovea/tensor/named_tensors.h"

namespace fovea {

/// The name that the input of slot `i` has in the model.
std::string one_node_input(const OpType& type, std::size_t i);

/// The model's text. `inputs` give shapes and dtypes (null: left out); `outputs` are numbers of the
/// op's outputs and become the model's, named as the op names them.
std::string one_node_model(const Op& op, std::span<const Tensor> inputs,
                           std::span<const std::int64_t> outputs);

/// The attributes as JSON text: `{"axis": -1}`.
std::string attributes_as_json(const AttributeMap& attributes);

}  // namespace fovea
