#include "fovea/tensor/memory_range.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace fovea {
namespace {

TEST_CASE("the memory of a tensor reaches from its lowest to its highest element") {
  const Tensor x = Tensor::zeros(f32, {4, 6});
  const auto from = reinterpret_cast<std::intptr_t>(x.raw());
  const auto check = [&](const Tensor& view, std::intptr_t begin, std::intptr_t end) {
    const detail::MemoryRange range = detail::memory_range(view);
    CHECK(range.begin == from + begin);
    CHECK(range.end == from + end);
  };
  check(x, 0, 96);
  check(x.transpose({1, 0}), 0, 96);
  check(x.slice(1, 1, 3), 4, 84);
  const detail::MemoryRange nothing = detail::memory_range(x.slice(0, 2, 2));
  CHECK(nothing.begin == nothing.end);
}

TEST_CASE("ranges that are written meet others where a pair does") {
  std::mt19937 random(1);
  int met = 0;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<detail::MemoryRange> ranges(2 + random() % 5);
    for (detail::MemoryRange& range : ranges) {
      range.begin = 1 + static_cast<std::intptr_t>(random() % 30);
      range.end = range.begin + static_cast<std::intptr_t>(random() % 8);
      range.written = random() % 2 == 0;
    }
    bool meet = false;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        const detail::MemoryRange &a = ranges[i], &b = ranges[j];
        const bool empty = a.begin == a.end || b.begin == b.end;
        meet = meet || (!empty && (a.written || b.written) && a.begin < b.end && b.begin < a.end);
      }
    }
    CHECK(detail::written_ranges_meet(ranges) == meet);
    met += meet ? 1 : 0;
  }
  CHECK(met > kRounds / 10);
  CHECK(met < kRounds * 9 / 10);
}

}  // namespace
}  // namespace fovea
