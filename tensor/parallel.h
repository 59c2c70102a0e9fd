// Parallel loops. Everything about threads stands behind this header.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace fovea {

/// Threads that loops use: `set_num_threads`, else the environment's FOVEA_THREADS, else the CPUs
/// that this process may use. Throws Error if FOVEA_THREADS is not a number from 1 to 1024.
int num_threads();
/// Throws Error outside [1, 1024]. Not while loops run.
void set_num_threads(int threads);

namespace detail {
using LoopBody = void (*)(const void* body, std::int64_t index, int slot);
void parallel_for(std::int64_t count, const void* body, LoopBody call);
}  // namespace detail

/// Calls `body(index)` or `body(index, slot)` once for each index in [0, count), on several threads
/// in any order. `slot` in [0, num_threads()) is held by one call at a time: use it to pick scratch
/// memory. Work must be split by shape alone, so that results do not depend on the number of
/// threads. The first exception thrown is thrown here, after all running calls have ended. A loop
/// inside a loop runs serially, and so does one in a forked child.
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
  detail::parallel_for(count, std::addressof(body),
                       [](const void* b, std::int64_t index, int slot) {
                         if constexpr (std::invocable<const Body&, std::int64_t, int>) {
                           (*static_cast<const Body*>(b))(index, slot);
                         } else {
                           (*static_cast<const Body*>(b))(index);
                         }
                       });
}

}  // namespace fovea
