// Writing models.
#pragma once

#include <string>

#include "fovea/tensor/json_document.h"

namespace fovea::model {

/// A document as text, for people: members in their order, what fits in a line on one line. Reading
/// the result gives the same values, and writing these the same text.
std::string to_json(const JsonDocument& document);

}  // namespace fovea::model
