// Parallel tasks with a piece of scratch each, for this folder.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fovea/tensor/parallel.h"

namespace fovea::kernels {

/// Runs body(task, memory of its slot) for all tasks; one after the other, with the first slot's
/// memory, where the caller planned for fewer slots than there are threads.
template <class Body>
void for_each_task(std::int64_t tasks, void* scratch, std::size_t slot_bytes, int slots,
                   const Body& body) {
  auto* memory = static_cast<std::byte*>(scratch);
  if (tasks <= 1 || num_threads() > slots) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, memory);
    return;
  }
  parallel_for(tasks, [&](std::int64_t task, int slot) {
    body(task, memory + static_cast<std::size_t>(slot) * slot_bytes);
  });
}

}  // namespace fovea::kernels
