// `fovea gradcheck`.

#include "fovea/cli/commands.h"

namespace fovea::cli {

int gradcheck(const Options&, const Registry&, Outcome&) {
  throw Error("gradcheck", "this build has no gradient checker");
}

}  // namespace fovea::cli
