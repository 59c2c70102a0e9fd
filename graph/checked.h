// What checking a model leaves behind. Internal.
#pragma once

#include <memory>

#include "fovea/graph/model.h"
#include "fovea/graph/model/instance.h"

namespace fovea {

struct Model::Checked {
  std::shared_ptr<const model::Description> description;
  model::DimValues dims;
  /// With stand-ins for open dims, chosen twice; without any, only the first is there.
  model::OpenInstances instances;
};

}  // namespace fovea
