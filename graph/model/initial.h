// Values for inputs and params.
#pragma once

#include <string>

#include "fovea/graph/model/instance.h"
#include "fovea/tensor/random.h"

namespace fovea::model {

/// By `init`; a function of the key and the spec alone.
Tensor initial_value(const Init& init, const TensorSpec& spec, Key key);
/// What an input gets that nothing gives: floats normal, i64 zero, bool true.
Tensor drawn_value(const TensorSpec& spec, Key key);

/// The `value` of an input. Throws Error, placed, unless it has this shape.
Tensor stated_value(const Declaration& input, const TensorSpec& spec);
/// Throws Error, text alone, unless an array of spec `given` can be used where `required` stands:
/// shapes are equal, and so are dtypes, but floats of another width are converted.
void require_fit(const TensorSpec& given, const TensorSpec& required);
/// An array of a file: floats of another width are converted. Throws Error, text alone, for any
/// other difference.
Tensor fitted(const Tensor& array, const TensorSpec& spec);

/// Bytes that this process may use: of the machine, of its control group, or of its own limit.
std::uint64_t memory_limit();

/// The file that a model names for its weights. Throws Error, placed, unless it is inside the
/// model's folder, links resolved.
std::string weights_path(const Description& description);

}  // namespace fovea::model
