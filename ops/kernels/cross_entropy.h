// What cross_entropy and its gradient do with a contiguous row of logits.
#pragma once

namespace fovea::kernels {

/// log Σ exp x = max + log_sum, apart so that differences to `max` lose nothing. A row of all −inf
/// has −inf and −inf; log_sum is NaN in a row with NaN or +inf.
template <class T>
struct LogSum {
  T max;
  double log_sum;
};

}  // namespace fovea::kernels
