#include "fovea/ops/stop_gradient.h"

#include "fovea/ops/define.h"

namespace fovea {

std::vector<Sample<StopGradient>> StopGradient::samples() {
  return {{{}, {arg::normal({2, 3})}},
          {{}, {arg::normal({})}},
          {{}, {arg::normal({0, 4})}, "nothing"},
          {{}, {arg::integers({3}, -9, 9)}, "i64"},
          {{}, {arg::bernoulli({3})}, "bool"}};
}

std::vector<Reject<StopGradient>> StopGradient::rejects() {
  return {{{}, {}, "input \"x\" is missing"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::StopGradient);
