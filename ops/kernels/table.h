// The loops that each instruction set offers. The functions of attention.h, gemm.h and rows.h split
// their work into tasks by shape alone and call these for each task; nobody else needs them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fovea/ops/kernels/attention.h"
#include "fovea/ops/kernels/cross_entropy.h"
#include "fovea/ops/kernels/gemm.h"
#include "fovea/ops/kernels/norm.h"
#include "fovea/ops/kernels/rows.h"
#include "fovea/tensor/parallel.h"

namespace fovea::kernels {

enum class Isa : std::uint8_t;

/// Vectorised functions, element by element.
template <class T>
using MapFunction = void (*)(std::int64_t n, const T* x, T* y);

/// Queries that attention handles together: two virtual vectors of lanes.
template <class T>
inline constexpr std::int64_t kAttentionPanel = 128 / static_cast<std::int64_t>(sizeof(T));

/// Keys of a block where few queries meet many keys; chunks of keys begin at multiples of it.
inline constexpr std::int64_t kAttentionDecodeBlock = 64;

/// Keys [begin, end) of one KV head. Fills `parts`: for each query of each head of the group, Y of
/// whole 64-byte vectors and one vector of statistics.
template <class T>
struct DecodeTask {
  std::int64_t batch, kv_head, begin, end;
  T* parts;
};

/// Keys of a block in the backward pass, and of a cell of the bias's gradient.
inline constexpr std::int64_t kAttentionBackwardKeys = 64, kAttentionBiasKeys = 512;

/// Panels that are handled together in the backward pass.
inline constexpr std::int64_t kAttentionBackwardPanels = 4;

/// Groups [begin, end) of queries of one KV head: `per_head` groups of each query head that shares
/// it, one head after the other. What they add to a block of dk and dv comes after what the groups
/// before them add; with other tasks on the same KV head, `before` is the progress of the one with
/// the group before, if there is one, and `done` this one's.
struct BackwardTask {
  std::int64_t batch, kv_head, begin, end;
  const Progress* before = nullptr;
  Progress* done = nullptr;
};
template <class T>
struct BackwardGroups {
  std::int64_t per_head, count;

  explicit BackwardGroups(const AttentionProblem<T>& p) {
    constexpr std::int64_t kQueries = kAttentionBackwardPanels * kAttentionPanel<T>;
    per_head = (p.queries + kQueries - 1) / kQueries;
    count = p.kv_heads == 0 ? 0 : p.heads / p.kv_heads * per_head;
  }
};

/// Scores of the panel of queries that begins at `first_query`, or with `lse` their probabilities
/// (stage biased).
template <class T>
struct ScoresTask {
  std::int64_t batch, head, first_query;
  ScoresStage stage;
  HeadView<const T> lse;
  ScoreView<T> out;
};

/// A cell of the bias's gradient: one batch item, one head, one panel of queries, one range of
/// keys; or all of them where the bias is broadcast.
struct BiasTask {
  std::int64_t batch_begin, batch_end, heads_begin, heads_end;
  std::int64_t queries_begin, queries_end, keys_begin, keys_end;
};

/// Matrix products: rows of a tile of c at most, depth of a block of k, elements for a copied block
/// of a and for a piece of b, columns of a panel of b (a virtual vector).
inline constexpr std::int64_t kGemmRows = 128, kGemmDepth = 256,
                              kGemmCopy = kGemmRows * (kGemmDepth + 16), kGemmSquare = 4096;
template <class T>
inline constexpr std::int64_t kGemmPanel = 64 / static_cast<std::int64_t>(sizeof(T));

struct GemmTile {
  std::int64_t row, rows, column, columns;
};

template <class T>
struct Loops {
  MapFunction<T> exp = nullptr, tanh = nullptr, erf = nullptr, sigmoid = nullptr;
  MapFunction<T> gelu = nullptr, gelu_tanh = nullptr;

  /// Bytes of scratch for one panel of queries.
  std::size_t (*attention_forward_scratch)(const AttentionProblem<T>&) = nullptr;
  /// Fills the results of the panel that begins at `first_query`, a multiple of kAttentionPanel.
  void (*attention_forward)(const AttentionProblem<T>&, const AttentionResult<T>&,
                            std::int64_t batch, std::int64_t head, std::int64_t first_query,
                            void* scratch) = nullptr;

  /// The same where queries are few: a chunk of keys for all heads of a group, then the merge of
  /// `chunks` parts, `chunk_stride` apart, into the results. The merge is false if something that
  /// is not finite came up, so that attention_forward has to be asked.
  std::size_t (*attention_decode_scratch)(const AttentionProblem<T>&) = nullptr;
  void (*attention_decode)(const AttentionProblem<T>&, const DecodeTask<T>&,
                           void* scratch) = nullptr;
  void (*attention_decode_merge)(const AttentionProblem<T>&, const AttentionResult<T>&,
                                 std::int64_t batch, std::int64_t kv_head, T* parts,
                                 std::int64_t chunks, std::int64_t chunk_stride) = nullptr;

  /// Uses the scratch of the forward pass.
  void (*attention_scores)(const AttentionProblem<T>&, const ScoresTask<T>&,
                           void* scratch) = nullptr;

  /// Gradients for q, k and v, and for the bias; bytes of scratch for one task.
  std::size_t (*attention_backward_scratch)(const AttentionProblem<T>&) = nullptr;
  void (*attention_backward)(const AttentionProblem<T>&, const AttentionGradient<T>&,
                             const BackwardTask&, void* scratch) = nullptr;
  std::size_t (*attention_bias_scratch)(const AttentionProblem<T>&) = nullptr;
  void (*attention_bias)(const AttentionProblem<T>&, const AttentionGradient<T>&, const BiasTask&,
                         void* scratch) = nullptr;

  /// One tile, whose column is a multiple of kGemmPanel. Scratch: kGemmCopy elements for a and,
  /// unless b is packed, kGemmDepth × the tile's columns in whole panels.
  void (*gemm_tile)(const GemmProblem<T>&, const GemmTile&, void* scratch) = nullptr;
  /// The same for few rows, at most kGemmRows; c lies by rows, b by rows or columns or packed.
  /// Scratch: kGemmCopy elements for a, and kGemmDepth × kGemmPanel or, if that is more, rows ×
  /// columns + kGemmSquare.
  void (*gemm_rows)(const GemmProblem<T>&, const GemmTile&, void* scratch) = nullptr;
  /// Packs columns [column, column + columns) of b, `column` a multiple of kGemmPanel.
  void (*gemm_pack_b)(const GemmProblem<T>&, std::int64_t column, std::int64_t columns,
                      T* packed) = nullptr;

  LinesLoops<T> softmax, log_softmax, softmax_gradient, log_softmax_gradient;
  /// y has one element for each line, y.stride apart.
  LinesLoops<T> logsumexp;

  double (*sum)(const T* x, std::int64_t length, std::int64_t stride) = nullptr;
  /// Each as `sum` of its elements.
  ReduceColumns<T, double> sum_columns = nullptr;
  ExtremeLoops<T> max, min;

  void (*norm_row)(const NormRow<T>&) = nullptr;
  void (*norm_gradient_row)(const NormGradientRow<T>&) = nullptr;

  LogSum<T> (*log_sum)(const T* x, std::int64_t n) = nullptr;
  /// y = factor · exp(x − shift); y may be x.
  void (*scaled_exp)(const T* x, std::int64_t n, T shift, T factor, T* y) = nullptr;
};

struct Kernels {
  Isa isa{};
  Loops<float> f32;
  Loops<double> f64;
};

/// `f32` or `f64`.
template <class T>
const Loops<T>& loops(const Kernels& table) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return table.f32;
  } else {
    return table.f64;
  }
}

}  // namespace fovea::kernels
