// A registry: the ops that models, the command line, checkers and documentation know. It is a
// value.
#pragma once

#include <string_view>
#include <vector>

#include "fovea/ops/op.h"

namespace fovea {

class Registry {
 public:
  /// All ops of Fovea; the list is generated from the op files when Fovea is built.
  static Registry builtin();

  /// Adds an op's struct (its source includes `define.h`). Throws Error if the name is taken or not
  /// `[A-Za-z_][A-Za-z0-9_]*`.
  template <class A>
  void add() {
    add(op_type<A>());
  }
  void add(const OpType& type);

  /// Null when there is none.
  const OpType* find(std::string_view name) const;
  /// Throws Error, with a likely name, when there is none.
  const OpType& get(std::string_view name) const;
  /// By name.
  const std::vector<const OpType*>& types() const { return types_; }

 private:
  std::vector<const OpType*> types_;
};

}  // namespace fovea
