#include "fovea/graph/packed.h"

#include <algorithm>

#include "fovea/ops/kernels/gemm.h"

namespace fovea {

namespace {

template <class T>
Tensor pack(const Tensor& b, std::int64_t row, std::int64_t column) {
  kernels::GemmProblem<T> problem;
  problem.k = b.shape()[row];
  problem.n = b.shape()[column];
  problem.b = {b.data<T>(), b.strides()[static_cast<std::size_t>(row)],
               b.strides()[static_cast<std::size_t>(column)]};
  const std::size_t bytes = kernels::gemm_packed_bytes<T>(problem.n, problem.k);
  const Tensor memory = Tensor::empty(boolean, {static_cast<std::int64_t>(bytes)});
  kernels::gemm_pack_b<T>(problem, static_cast<T*>(memory.mutable_raw()));
  return memory;
}

}  // namespace

PackedWeights::PackedWeights() : state_(std::make_shared<State>()) {}

std::size_t PackedWeights::bytes() const {
  const std::lock_guard lock(state_->mutex);
  std::size_t sum = 0;
  for (const auto& [key, matrix] : state_->known) {
    if (const auto alive = matrix.lock()) sum += alive->memory.nbytes();
  }
  return sum;
}

std::size_t PackedWeights::State::bytes_for(const Tensor& b, bool transposed) {
  const std::int64_t k = b.shape()[transposed ? 1 : 0], n = b.shape()[transposed ? 0 : 1];
  return b.dtype() == f32 ? kernels::gemm_packed_bytes<float>(n, k)
                          : kernels::gemm_packed_bytes<double>(n, k);
}

std::shared_ptr<const plan::PackedMatrix> PackedWeights::State::get(const Tensor& b,
                                                                    bool transposed) {
  const std::int64_t row = transposed ? 1 : 0, column = 1 - row;
  const Key key{b.raw(),
                b.dtype(),
                b.shape()[row],
                b.shape()[column],
                b.strides()[static_cast<std::size_t>(row)],
                b.strides()[static_cast<std::size_t>(column)]};
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = known.find(key); found != known.end()) {
    if (auto alive = found->second.lock()) return alive;
  }
  auto made = std::make_shared<const plan::PackedMatrix>(plan::PackedMatrix{
      b, b.dtype() == f32 ? pack<float>(b, row, column) : pack<double>(b, row, column)});
  known[key] = made;
  return made;
}

}  // namespace fovea
