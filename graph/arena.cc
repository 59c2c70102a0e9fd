// Where in the arena each value is, from when it is needed.
#include <algorithm>
#include <map>

#include "fovea/graph/plan.h"
#include "fovea/tensor/format.h"

namespace fovea {

using plan::Home;
using plan::Value;

void place_in_arena(Executable::Plan& plan) {
  constexpr std::size_t kAlign = 64;
  std::vector<std::size_t> roots;
  std::map<std::size_t, std::vector<std::size_t>> ends;  // step → roots last read there
  for (std::size_t v = 0; v < plan.values.size(); ++v) {
    if (plan.values[v].root == v && plan.values[v].home == Home::arena) roots.push_back(v);
  }
  std::ranges::stable_sort(roots, {}, [&](std::size_t v) { return plan.values[v].first; });
  std::map<std::size_t, std::size_t> free;  // offset → bytes
  const auto release = [&](std::size_t offset, std::size_t bytes) {
    auto next = free.upper_bound(offset);
    if (next != free.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free.erase(next);
    }
    if (next != free.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    free[offset] = bytes;
  };
  for (const std::size_t v : roots) {
    Value& value = plan.values[v];
    while (!ends.empty() && ends.begin()->first < value.first) {
      for (const std::size_t done : ends.begin()->second) {
        const Value& old = plan.values[done];
        const std::size_t bytes =
            static_cast<std::size_t>(old.spec.shape.numel()) * size_of(old.spec.dtype);
        release(old.arena_offset, std::max((bytes + kAlign - 1) / kAlign * kAlign, kAlign));
      }
      ends.erase(ends.begin());
    }
    std::size_t bytes =
        static_cast<std::size_t>(value.spec.shape.numel()) * size_of(value.spec.dtype);
    bytes = std::max((bytes + kAlign - 1) / kAlign * kAlign, kAlign);
    auto best = free.end();
    for (auto it = free.begin(); it != free.end(); ++it) {
      if (it->second >= bytes && (best == free.end() || it->second < best->second)) best = it;
    }
    if (best != free.end()) {
      value.arena_offset = best->first;
      const std::size_t rest = best->second - bytes;
      free.erase(best);
      if (rest > 0) free[value.arena_offset + bytes] = rest;
    } else {
      // Grow, beginning with the free end if there is one.
      std::size_t begin = plan.arena_bytes;
      if (!free.empty() && std::prev(free.end())->first + std::prev(free.end())->second == begin) {
        begin = std::prev(free.end())->first;
        free.erase(std::prev(free.end()));
      }
      value.arena_offset = begin;
      if (__builtin_add_overflow(begin, bytes, &plan.arena_bytes)) {
        fail("compile",
             "the plan needs more bytes than an address has; smaller shapes are required");
      }
    }
    ends[value.last].push_back(v);
  }
}

}  // namespace fovea
