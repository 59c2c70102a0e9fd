// Samples and rejects that rows of the elementwise table share; for the sources of ops.
#pragma once

#include <vector>

#include "fovea/ops/sample.h"

namespace fovea::detail {

template <class Row>
std::vector<Sample<Row>> unary_samples(double low = -3, double high = 3) {
  return {{{}, {arg::uniform({2, 3}, low, high)}},
          {{}, {arg::uniform({}, low, high)}},
          {{}, {arg::uniform({1, 17}, low, high)}},
          {{}, {arg::uniform({0, 4}, low, high)}, "nothing"}};
}

template <class Row>
std::vector<Sample<Row>> integer_unary_samples() {
  return {{{}, {arg::spread({2, 3})}},
          {{}, {arg::spread({})}},
          {{}, {arg::normal({0, 4})}, "nothing"},
          {{}, {arg::integers({3, 5}, -9, 9)}, "i64"}};
}

template <class Row>
std::vector<Reject<Row>> unary_rejects() {
  return {{{}, {arg::bernoulli({2})}, "bool"}};
}

template <class Row>
std::vector<Sample<Row>> binary_samples() {
  return {{{}, {arg::spread({2, 3}), arg::spread({2, 3})}},
          {{}, {arg::spread({4, 1, 3}), arg::spread({2, 1})}, "both broadcast"},
          {{}, {arg::spread({}), arg::spread({17})}},
          {{}, {arg::spread({0, 3}), arg::spread({1, 3})}, "nothing"}};
}

template <class Row>
std::vector<Sample<Row>> integer_binary_samples() {
  std::vector<Sample<Row>> all = binary_samples<Row>();
  all.push_back({{}, {arg::integers({2, 1}, -9, 9), arg::integers({3}, -9, 9)}, "i64"});
  return all;
}

template <class Row>
std::vector<Reject<Row>> binary_rejects() {
  return {{{}, {arg::normal({2, 3}), arg::normal({2, 4})}, "do not broadcast"},
          {{}, {arg::normal({2}), arg::integers({2}, 0, 3)}, "i64"},
          {{}, {arg::bernoulli({2}), arg::bernoulli({2})}, "bool"}};
}

}  // namespace fovea::detail

// Gives a row its samples and rejects from functions above.
#define FOVEA_SAMPLES(Row, row_samples, row_rejects)                      \
  std::vector<Sample<Row>> Row::samples() { return detail::row_samples; } \
  std::vector<Reject<Row>> Row::rejects() { return detail::row_rejects<Row>(); }
