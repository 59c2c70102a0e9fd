// Collects the mistakes in a model file, so that all are reported at once.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fovea/tensor/error.h"
#include "fovea/tensor/json_document.h"

namespace fovea::model {

class Mistakes {
 public:
  struct Found {
    std::size_t order;  ///< of the place in the file
    Diagnostic diagnostic;
  };

  /// At a value of the file. The same text at the same place is kept once: a block is read once
  /// and applied often.
  void add(const JsonValue& at, std::string text, std::string_view op = {});
  /// The same with the line and column of the value's key.
  void add_key(const JsonValue& at, std::string text);
  /// Where a callee's error has no place of its own, it gets the value's.
  void add(const JsonValue& at, const Error& error);
  void add(Diagnostic diagnostic);
  /// In another file, but due to a value of this one.
  void add_in(const std::string& file, const JsonValue& due_to, std::string text);

  /// Whether something is wrong at this very place.
  bool contains(const JsonValue& at) const;
  /// Nothing more is kept: looking further is a waste.
  bool full() const { return found_.size() == kMost; }
  bool empty() const { return found_.empty(); }
  std::size_t size() const { return found_.size(); }
  /// In the order of the file.
  std::vector<Diagnostic> sorted() const;
  void throw_if_any() const;
  void append(const Mistakes& other);
  void add(const Found& one) { keep(one.order, one.diagnostic); }
  const std::vector<Found>& found() const { return found_; }

 private:
  // What a hostile file may make us remember.
  static constexpr std::size_t kMost = 20000;
  void keep(std::size_t order, Diagnostic diagnostic);

  std::vector<Found> found_;
  std::set<std::size_t> places_;                        // orders of found_
  std::set<std::pair<std::string, std::string>> seen_;  // place, text
};

}  // namespace fovea::model
