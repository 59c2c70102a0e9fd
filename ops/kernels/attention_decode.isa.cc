// Few queries against many keys, as when text is generated one token at a time: nothing but reading
// k and v takes time, so they are read once, row by row, for all queries and heads that share them.
//
//     keys 0 … 63        keys 64 … 127      …        a chunk of keys is one task
//     S = Q Kᵀ           S = Q Kᵀ                    rows of Q: the queries of all heads of a group
//     P = exp(S − ref)   P = exp(S − ref)            lanes: parts of a dot product, then keys
//     Y += P V           Y += P V                    lanes: columns of V
//
// The chunks' parts (reference, sum, Y) are merged in order: arXiv 2311.01282 ("flash-decoding").
#include <type_traits>

#include "fovea/ops/kernels/attention_stage.h"
#include "fovea/ops/kernels/exp2.h"
#include "fovea/ops/kernels/isa.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kBlock = kAttentionDecodeBlock;
constexpr int kTogether = 4;  // rows that share what they load
#ifdef __AVX512F__
constexpr int kKeysTogether = 4;  // keys that share what they load
#else
constexpr int kKeysTogether = 1;
#endif

// A part of one row: Y[vectors of value_dim], then a vector that begins with reference and sum.
template <class T>
struct Part {
  T* y;
  T* tail;
  T &reference = tail[0], &sum = tail[1];

  Part(T* parts, std::int64_t row, std::int64_t width)
      : y(parts + row * (width + kLanes<T>)), tail(y + width) {}
};

template <class T>
struct DecodeScratch {
  std::int64_t q_stride;
  T* q;       // [rows][q_stride], scaled, whole vectors
  T* s;       // [rows][keys]
  T* dots;    // [rows][keys][lanes]: dot products before their lanes are added up
  T* sums;    // [rows][lanes]
  T* values;  // [keys][lanes]: the last columns of v, filled up with zeros
  T* finite;  // [keys][value_dim]: a copy with finite values only
  T* poison;  // [keys]: NaN where the copy lost something, else 0
  std::size_t bytes;

  DecodeScratch(const AttentionProblem<T>& p, void* memory) {
    const std::int64_t rows = p.heads / larger(1, p.kv_heads) * p.queries;
    q_stride = whole_vectors<T>(p.dim);
    Carver carver(memory);
    q = carver.take<T>(rows * q_stride);
    s = carver.take<T>(rows * kBlock);
    dots = carver.take<T>(kTogether * kBlock * kLanes<T>);
    sums = carver.take<T>(rows * kLanes<T>);
    values = carver.take<T>(kBlock * kLanes<T>);
    finite = carver.take<T>(kBlock * p.value_dim);
    poison = carver.take<T>(kBlock);
    bytes = carver.used();
  }
};

// A chunk of keys of one KV head. With kCareful, values that are not finite are taken out of the
// products, and come back as NaN in the probabilities of those that see them.
template <class T, bool kCareful>
class DecodeChunk {
 public:
  DecodeChunk(const AttentionProblem<T>& p, const DecodeTask<T>& task,
              const DecodeScratch<T>& scratch)
      : p_(p),
        task_(task),
        scratch_(scratch),
        group_(p.heads / p.kv_heads),
        width_(whole_vectors<T>(p.value_dim)) {
    k_ = p.k.data + task.batch * p.k.batch + task.kv_head * p.k.head;
    v_ = p.v.data + task.batch * p.v.batch + task.kv_head * p.v.head;
    for (std::int64_t row = 0; row < rows(); ++row) {
      Part<T> part = part_of(row);
      fill_zero(part.y, width_ + kLanes<T>);
      part.reference = -kInfinity<T>;
      fill_zero(scratch_.sums + row * kLanes<T>, kLanes<T>);
    }
    for (std::int64_t h = 0; h < group_; ++h) {
      copy_rows(p.q.data + task.batch * p.q.batch + (task.kv_head * group_ + h) * p.q.head, p.q.row,
                p.queries, p.dim, scratch.q + h * p.queries * scratch.q_stride, scratch.q_stride);
    }
    scale_all(scratch.q, rows() * scratch.q_stride, p.scale);
  }

  // False if something in Y is not finite, so that the careful way is needed.
  bool run() {
    const KeyRange all = visibility_of(p_, task_.batch).of(0, p_.queries);
    const KeyRange range{larger(all.begin, task_.begin), smaller(all.end, task_.end)};
    const std::int64_t start = range.begin - range.begin % kBlock;
    for (std::int64_t j = start; j < range.end; j += kBlock)
      block({larger(j, range.begin), smaller(j + kBlock, range.end)});
    Vec<T> check = broadcast(T(0));
    for (std::int64_t row = 0; row < rows(); ++row) {
      const Part<T> part = part_of(row);
      part.sum = sum_lanes(load(scratch_.sums + row * kLanes<T>));
      for (std::int64_t d = 0; d < width_; d += kLanes<T>)
        check = fma(load(part.y + d), broadcast(T(0)), check);
    }
    return sum_lanes(check) == T(0);
  }

 private:
  std::int64_t rows() const { return group_ * p_.queries; }
  Part<T> part_of(std::int64_t row) const { return {task_.parts, row, width_}; }

  void block(KeyRange keys) {
    const std::int64_t count = keys.end - keys.begin;
    const T* v = v_ + keys.begin * p_.v.row;
    next_k_ = k_ + keys.end * p_.k.row;
    if constexpr (kCareful) {
      copy_finite(v, p_.v.row, count, p_.value_dim, scratch_.finite);
      find_poison(v, p_.v.row, count, p_.value_dim, scratch_.poison);
    }
    each_rows([&](auto together, std::int64_t row) {
      multiply_keys<decltype(together)::value>(row, keys);
    });
    for (std::int64_t h = 0; h < group_; ++h) {
      const ScoreStage<T> stage(p_, task_.batch, task_.kv_head * group_ + h);
      for (std::int64_t i = 0; i < p_.queries; ++i) {
        const std::int64_t row = h * p_.queries + i;
        T* s = scratch_.s + row * kBlock;
        stage.finish_row(s, i, keys.begin, count);
        for (std::int64_t j = count; j < kBlock; ++j) s[j] = -kInfinity<T>;
        exponentials(part_of(row), s, scratch_.sums + row * kLanes<T>);
      }
    }
    each_rows([&](auto together, std::int64_t row) {
      if constexpr (kCareful) {
        multiply_values<decltype(together)::value>(row, scratch_.finite, p_.value_dim, count);
      } else {
        multiply_values<decltype(together)::value>(row, v, p_.v.row, count);
      }
    });
  }

  // Rows that share what they load: kTogether of them while there are as many, then one by one.
  template <class F>
  void each_rows(const F& f) const {
    std::int64_t row = 0;
    for (; row + kTogether <= rows(); row += kTogether)
      f(std::integral_constant<int, kTogether>(), row);
    for (; row < rows(); ++row) f(std::integral_constant<int, 1>(), row);
  }

  // S = Q Kᵀ: each lane adds up its part of a dot product, then the lanes are added up. What is
  // infinite becomes NaN: it must not pass for hidden, nor pass the softcap.
  template <int kRows>
  void multiply_keys(std::int64_t row, KeyRange keys) {
    const std::int64_t count = keys.end - keys.begin;
    const T *k = k_ + keys.begin * p_.k.row, *v = v_ + keys.begin * p_.v.row;
    std::int64_t j = 0;
    for (; j + kKeysTogether <= count; j += kKeysTogether)
      dot_products<kRows, kKeysTogether>(row, k + j * p_.k.row, v + j * p_.v.row, j);
    for (; j < count; ++j) dot_products<kRows, 1>(row, k + j * p_.k.row, v + j * p_.v.row, j);
    for (int r = 0; r < kRows; ++r) {
      T* s = scratch_.s + (row + r) * kBlock;
      sum_rows(scratch_.dots + r * kBlock * kLanes<T>, count, s);
      for (j = 0; j < count; j += kLanes<T>) {
        const Vec<T> x = load(s + j);
        store(s + j, fma(x, broadcast(T(0)), x));
      }
    }
  }

  template <int kRows, int kKeys>
  FOVEA_INLINE void dot_products(std::int64_t row, const T* k, const T* v, std::int64_t j) {
    const T* q = scratch_.q + row * scratch_.q_stride;
    Vec<T> sum[kRows][kKeys];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int x = 0; x < kKeys; ++x) sum[r][x] = broadcast(T(0));
    }
    const auto add = [&](std::int64_t d, const auto& load_part) {
      Vec<T> keys[kKeys];
#pragma GCC unroll 4
      for (int x = 0; x < kKeys; ++x) keys[x] = load_part(k + x * p_.k.row + d);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> factor = load(q + r * scratch_.q_stride + d);
#pragma GCC unroll 4
        for (int x = 0; x < kKeys; ++x) sum[r][x] = fma(keys[x], factor, sum[r][x]);
      }
    };
    std::int64_t d = 0;
    for (; d + kLanes<T> <= p_.dim; d += kLanes<T>) {
      if (row == 0) {
#pragma GCC unroll 4
        for (int x = 0; x < kKeys; ++x) __builtin_prefetch(v + x * p_.v.row + d, 0, 2);
      }
      add(d, [](const T* at) { return load(at); });
    }
    if (d < p_.dim) add(d, [&](const T* at) { return load_some(at, p_.dim - d); });
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int x = 0; x < kKeys; ++x)
        store(scratch_.dots + (r * kBlock + j + x) * kLanes<T>, sum[r][x]);
    }
  }

  // P in place of S, relative to a reference that moves as in the forward pass.
  void exponentials(Part<T> part, T* s, T* sums) {
    Vec<T> high = load(s);
    for (std::int64_t j = kLanes<T>; j < kBlock; j += kLanes<T>) high = max(load(s + j), high);
    const T highest = max_lanes(high);
    if (part.reference + kReferenceSlack<T> < highest) {
      const Vec<T> factor = exp_of_score(broadcast(part.reference - highest));
      part.reference = highest;
      store(sums, load(sums) * factor);
      for (std::int64_t d = 0; d < width_; d += kLanes<T>)
        store(part.y + d, load(part.y + d) * factor);
    }
    const Vec<T> shift = broadcast(part.reference == -kInfinity<T> ? T(0) : part.reference);
    Vec<T> sum = load(sums);
    for (std::int64_t j = 0; j < kBlock; j += kLanes<T>) {
      const Vec<T> weight = exp_of_score(load(s + j) - shift);
      sum = sum + weight;
      if constexpr (kCareful) {
        const Mask<T> hidden = load(s + j) == broadcast(-kInfinity<T>);
        store(s + j, select(hidden, weight, weight + load(scratch_.poison + j)));
      } else {
        store(s + j, weight);
      }
    }
    store(sums, sum);
  }

  // Y += P V
  template <int kRows>
  void multiply_values(std::int64_t row, const T* v, std::int64_t stride, std::int64_t count) {
    constexpr int kWide = kRows == 1 ? 8 : 4, kNarrow = 1;
    const std::int64_t whole = p_.value_dim - p_.value_dim % kLanes<T>;
    std::int64_t d = 0;
    for (; d + kWide * kLanes<T> <= whole; d += kWide * kLanes<T>)
      add_values<kRows, kWide>(row, v + d, stride, count, d);
    for (; d < whole; d += kLanes<T>) add_values<kRows, kNarrow>(row, v + d, stride, count, d);
    if (whole == width_) return;
    for (std::int64_t j = 0; j < count; ++j) {
      store(scratch_.values + j * kLanes<T>,
            load_some(v + j * stride + whole, p_.value_dim - whole));
    }
    add_values<kRows, 1>(row, scratch_.values, kLanes<T>, count, whole);
  }

  template <int kRows, int kVectors>
  FOVEA_INLINE void add_values(std::int64_t row, const T* v, std::int64_t stride,
                               std::int64_t count, std::int64_t d) {
    Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) sum[r][x] = broadcast(T(0));
    }
    const T *weights = scratch_.s + row * kBlock, *next_k = next_k_ + d;
    for (std::int64_t j = 0; j < count; ++j, v += stride, next_k += p_.k.row) {
      Vec<T> values[kVectors];
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) values[x] = load(v + x * kLanes<T>);
      if (row == 0) {
#pragma GCC unroll 8
        for (int x = 0; x < kVectors; ++x) __builtin_prefetch(next_k + x * kLanes<T>, 0, 2);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Register<T> weight = broadcast_register(weights[r * kBlock + j]);
#pragma GCC unroll 8
        for (int x = 0; x < kVectors; ++x) sum[r][x] = fma(weight, values[x], sum[r][x]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      T* y = part_of(row + r).y + d;
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x)
        store(y + x * kLanes<T>, load(y + x * kLanes<T>) + sum[r][x]);
    }
  }

  const AttentionProblem<T>& p_;
  const DecodeTask<T>& task_;
  const DecodeScratch<T> scratch_;
  const std::int64_t group_, width_;
  const T *k_, *v_, *next_k_ = nullptr;
};

template <class T>
void decode(const AttentionProblem<T>& p, const DecodeTask<T>& task, void* memory) {
  const DecodeScratch<T> scratch(p, memory);
  if (!DecodeChunk<T, false>(p, task, scratch).run()) DecodeChunk<T, true>(p, task, scratch).run();
}

// Merges the parts of a row into the first one, in order; its reference becomes lse.
template <class T>
void merge_row(T* parts, std::int64_t chunks, std::int64_t chunk_stride, std::int64_t row,
               std::int64_t width) {
  const auto part = [&](std::int64_t c) { return Part<T>(parts + c * chunk_stride, row, width); };
  const Part<T> total = part(0);
  T reference = total.reference, sum = T(0);
  for (std::int64_t c = 1; c < chunks; ++c)
    reference = reference < part(c).reference ? part(c).reference : reference;
  const T shift = reference == -kInfinity<T> ? T(0) : reference;
  for (std::int64_t c = 0; c < chunks; ++c) {
    const Part<T> x = part(c);
    const Vec<T> factor = exp_of_score(broadcast(x.reference - shift));
    alignas(64) T factors[kLanes<T>];
    store(factors, factor);
    sum += x.sum * factors[0];
    for (std::int64_t d = 0; d < width; d += kLanes<T>) {
      const Vec<T> y = load(x.y + d) * factor;
      store(total.y + d, c == 0 ? y : load(total.y + d) + y);
    }
  }
  const bool nothing = sum == T(0);
  const Vec<T> factor = broadcast(nothing ? T(0) : T(1) / sum);
  for (std::int64_t d = 0; d < width; d += kLanes<T>)
    store(total.y + d, load(total.y + d) * factor);
  alignas(64) T log[kLanes<T>];
  store(log, log_of_sum(broadcast(nothing ? T(1) : sum)));
  total.reference = nothing ? -kInfinity<T> : reference + log[0];
}

template <class T>
void merge(const AttentionProblem<T>& p, const AttentionResult<T>& result, std::int64_t batch,
           std::int64_t kv_head, T* parts, std::int64_t chunks, std::int64_t chunk_stride) {
  const std::int64_t group = p.heads / p.kv_heads, width = whole_vectors<T>(p.value_dim);
  for (std::int64_t row = 0; row < group * p.queries; ++row) {
    merge_row(parts, chunks, chunk_stride, row, width);
    const Part<T> part(parts, row, width);
    const std::int64_t head = kv_head * group + row / p.queries, i = row % p.queries;
    if (result.lse.data) {
      result.lse.data[batch * result.lse.batch + head * result.lse.head + i * result.lse.row] =
          part.reference;
    }
    if (result.y.data) {
      T* y = result.y.data + batch * result.y.batch + head * result.y.head + i * result.y.row;
      for (std::int64_t d = 0; d < p.value_dim; ++d) y[d] = part.y[d];
    }
  }
}

template <class T>
std::size_t scratch_bytes(const AttentionProblem<T>& p) {
  return DecodeScratch<T>(p, nullptr).bytes;
}

template <class T>
void add(Loops<T>& loops) {
  loops.attention_decode = decode<T>;
  loops.attention_decode_merge = merge<T>;
  loops.attention_decode_scratch = scratch_bytes<T>;
}

}  // namespace

void add_attention_decode(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
