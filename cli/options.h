// What the user of the command asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/graph/model.h"

namespace fovea::cli {

struct Options {
  std::string command;
  std::string model;

  // Common.
  std::string inputs, weights, outputs;  // files; empty: none
  Sizes dims;
  std::optional<DType> dtype;
  std::optional<std::uint64_t> seed;
  std::optional<std::uint64_t> max_memory;
  std::optional<int> threads;
  bool quiet = false, json = false;

  // run
  std::vector<std::string> values;
  std::string expect;
  double rtol = 1e-5, atol = 1e-6;

  // grad
  std::vector<std::string> wrt, of;
  std::string cotangents;

  // show
  std::string dot, svg;  // files; empty: none

  // gradcheck, ops
  bool check_ops = false;
  std::vector<std::string> ops;
  int order = 1;
  double budget = 1e9;  // seconds
  bool edges = false, laws = false;
  std::string report, junit, repro;  // files and a folder; empty: none
  std::vector<std::string> words;    // as they stood on the command line
};

/// Bad usage; the text names the offending word.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Parses the command line. Returns nothing after printing help or the version to `out`. Throws
/// UsageError.
std::optional<Options> parse_options(int argc, char** argv, std::string& out);

}  // namespace fovea::cli
