#include "fovea/graph/numeric.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace fovea {

namespace {

constexpr int kLevels = 40;           // steps down to first_step / 2^39
constexpr std::size_t kOrder = 6;     // columns of the extrapolation
constexpr double kEnough = 0x1p-36;   // relative accuracy at which to stop
constexpr double kAmplification = 2;  // of noise by extrapolation: Π (4^k + 1) / (4^k - 1) < 2
constexpr double kSmoothAsymmetry = 0.75;  // it halves with the step where f is smooth

// One row of Neville's table: the central difference at a step, and extrapolations of it with the
// steps before.
struct Row {
  std::array<double, kOrder> entries{};
  std::size_t count = 0;
};

Row extrapolate(double central, const Row& before) {
  Row row;
  row.entries[0] = central;
  row.count = std::min(before.count + 1, kOrder);
  double power = 4;
  for (std::size_t k = 1; k < row.count; ++k, power *= 4) {
    row.entries[k] =
        row.entries[k - 1] + (row.entries[k - 1] - before.entries[k - 1]) / (power - 1);
  }
  return row;
}

struct Estimate {
  double value = 0, error = std::numeric_limits<double>::infinity();
};

// The entry of a row that differs least from its neighbours.
Estimate estimate(const Row& row, const Row& before, double noise) {
  Estimate best;
  for (std::size_t k = 1; k < row.count; ++k) {
    const double spread = std::max(std::abs(row.entries[k] - row.entries[k - 1]),
                                   std::abs(row.entries[k] - before.entries[k - 1]));
    if (spread + noise < best.error) best = {row.entries[k], spread + noise};
  }
  return best;
}

}  // namespace

Derivative differentiate(const std::function<Change(double)>& change, double first_step,
                         double narrow, double scale) {
  Derivative best;
  best.error = std::numeric_limits<double>::infinity();
  Row before;
  double asymmetry_before = 0;
  double step = first_step;
  for (int level = 0; level < kLevels; ++level, step /= 2) {
    const Change up = change(step), down = change(-step);
    const double width = up.step - down.step;
    if (!up.usable || !down.usable || !(width > 0)) {
      before = {};
      continue;
    }
    const double noise = kAmplification * (up.noise + down.noise) / width;
    const Row row = extrapolate((up.value - down.value) / width, before);
    // Wide steps may agree with each other on the wrong side of a pole; narrow ones that contradict
    // them are believed.
    const Estimate found = estimate(row, before, noise);
    const bool contradicts = std::abs(found.value - best.value) > found.error + best.error;
    if (found.error < best.error || contradicts) {
      best.value = found.value;
      best.error = found.error;
      best.found = true;
    }
    best.left = down.value / down.step;
    best.right = up.value / up.step;
    const double asymmetry = std::abs(best.right - best.left);
    best.kink = before.count > 0 && asymmetry > kSmoothAsymmetry * asymmetry_before &&
                asymmetry > 8 * noise + 1e-7 * std::max(std::abs(best.value), scale);
    asymmetry_before = asymmetry;
    before = row;
    const bool accurate = best.error <= kEnough * std::max(std::abs(best.value), scale);
    // Two rows make one estimate; the third confirms that it was no coincidence. Where only noise
    // is left, it must explain what the narrow steps say.
    const bool drowned =
        noise > best.error && std::abs(row.entries[0] - best.value) <= noise + best.error;
    if (step <= narrow && row.count >= 3 && (accurate || drowned)) break;
  }
  return best;
}

}  // namespace fovea
