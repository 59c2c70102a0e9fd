// Rows that will be needed soon, fetched a piece at a time while something else is computed.
#pragma once

#include "fovea/ops/kernels/vector.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

template <class T>
class Ahead {
 public:
  // Nothing is left to fetch.
  void clear() {
    strips_ = next_ = 0;
    pieces_ = 0;
  }

  // Appends `count` rows of `columns` elements; what is too much is left out.
  void add(const T* rows, std::int64_t stride, std::int64_t count, std::int64_t columns) {
    if (count <= 0) return;
    for (std::int64_t c = 0; c < columns && strips_ < kMost; c += kLines * kLine) {
      list_[strips_++] = {rows + c, stride, count};
      pieces_ += count;
    }
  }

  // How many calls of `fetch` each of `steps` has to make.
  std::int64_t share(std::int64_t steps) const {
    return pieces_ == 0 ? 0 : (pieces_ + steps - 1) / steps;
  }

  // Into the second cache: the first one is full of what is being computed.
  FOVEA_INLINE void fetch() {
    if (next_ == strips_) return;
    Strip& strip = list_[next_];
#pragma GCC unroll 4
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(strip.row + i * kLine, 0, 2);
    strip.row += strip.stride;
    if (--strip.rows == 0) ++next_;
  }

 private:
  static constexpr int kMost = 16, kLines = 4;  // strips; lines of a piece, which a strip is wide
  static constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  struct Strip {
    const T* row;
    std::int64_t stride, rows;
  };
  Strip list_[kMost];
  int strips_ = 0, next_ = 0;
  std::int64_t pieces_ = 0;
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
