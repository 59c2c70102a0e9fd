#include "fovea/ops/elementwise.h"

#include "fovea/ops/define.h"

namespace fovea {

namespace {

template <class Row>
std::vector<Sample<Row>> unary_samples(const Row& row = {}) {
  return {{row, {arg::spread({2, 3})}}, {row, {arg::spread({})}}, {row, {arg::normal({0, 4})}}};
}

template <class Row>
std::vector<Reject<Row>> unary_rejects() {
  return {{{}, {arg::bernoulli({2})}, "bool"}};
}

template <class Row>
std::vector<Sample<Row>> binary_samples() {
  return {{{}, {arg::spread({2, 3}), arg::spread({2, 3})}},
          {{}, {arg::spread({4, 1, 3}), arg::spread({2, 1})}, "both broadcast"},
          {{}, {arg::spread({}), arg::spread({17})}}};
}

template <class Row>
std::vector<Reject<Row>> binary_rejects() {
  return {{{}, {arg::normal({2, 3}), arg::normal({2, 4})}, "do not broadcast"},
          {{}, {arg::normal({2}), arg::integers({2}, 0, 3)}, "i64"}};
}

}  // namespace

#define FOVEA_ROW(Row, kind)                                                \
  std::vector<Sample<Row>> Row::samples() { return kind##_samples<Row>(); } \
  std::vector<Reject<Row>> Row::rejects() { return kind##_rejects<Row>(); }

FOVEA_ROW(Add, binary)
FOVEA_ROW(Sub, binary)
FOVEA_ROW(Mul, binary)
FOVEA_ROW(Div, binary)
FOVEA_ROW(Neg, unary)
FOVEA_ROW(Exp, unary)

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Add);
FOVEA_DEFINE_OP(fovea::Sub);
FOVEA_DEFINE_OP(fovea::Mul);
FOVEA_DEFINE_OP(fovea::Div);
FOVEA_DEFINE_OP(fovea::Neg);
FOVEA_DEFINE_OP(fovea::Exp);
