// Fetching ahead what the hardware does not see coming: rows of another head or group.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Rows that will soon be read or written, the most urgent asked for last. They are fetched into the
// second cache some lines at a time, between products, so that nothing waits for them.
template <class T>
class Fetch {
 public:
  void forget() { count_ = 0; }

  // `rows` rows of `dim` elements; null data means none.
  void ask(const T* data, std::int64_t stride, std::int64_t rows, std::int64_t dim) {
    if (data != nullptr && rows > 0 && count_ < kMost) asked_[count_++] = {data, stride, rows, dim};
  }

  // (Inline: a function that only fetches passes for one without effect.)
  FOVEA_INLINE void some() {
    for (std::int64_t lines = kLines; lines > 0 && count_ > 0;) {
      Rows& x = asked_[count_ - 1];
      for (std::int64_t d = 0; d < x.dim; d += kLanes<T>, --lines)
        __builtin_prefetch(x.data + d, 0, 2);
      x.data += x.stride;
      if (--x.rows == 0) --count_;
    }
  }

 private:
  struct Rows {
    const T* data;
    std::int64_t stride, rows, dim;
  };
  static constexpr int kMost = 16;
  static constexpr std::int64_t kLines = 64;  // about what a core has under way at most

  Rows asked_[kMost];
  int count_ = 0;
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
