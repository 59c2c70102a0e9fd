// The `fovea` command as a library: a program with ops of its own has a command that knows them.
//
//     int main(int argc, char** argv) {
//       fovea::Registry registry = fovea::Registry::builtin();
//       registry.add<MyOp>();
//       return fovea::cli_main(argc, argv, registry);
//     }
#pragma once

#include "fovea/ops/registry.h"

namespace fovea {

/// Runs the command. Results go to stdout, all else to stderr. Returns the exit status: 0 done, 1 a
/// comparison or gradient check did not pass, 2 bad usage or input, or a file that cannot be read
/// or written. Never throws.
int cli_main(int argc, char** argv, const Registry& registry);

}  // namespace fovea
