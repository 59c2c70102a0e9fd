// A ready `main` for ops of your own: link `//cli:gradcheck_main` and the ops, and define
//
//     void fovea::add_ops(fovea::Registry& registry) { registry.add<MyOp>(); }
//
//     cc_binary(name = "check", srcs = ["my_op.cc"], deps = ["//cli:gradcheck_main"])
//
// The program is `fovea gradcheck` with these ops in the registry: without arguments it checks
// those that `add_ops` adds, with arguments whatever they say (`--ops NAME --order 2 --svg x.svg`,
// or a model that uses them).
#pragma once

#include "fovea/ops/registry.h"

namespace fovea {

/// Defined by the user: adds ops to a registry that has the built-in ones.
void add_ops(Registry& registry);

}  // namespace fovea
