// Few rows of c. An element of b is needed only once for each, so that reading b is what takes the
// time: it is read once, and what comes next is on its way from memory while products are made.
//
//                     columns
//             ┌──────────────────────┐
//        slice│ ▒▒ → read      ahead │   the rows of a slice are read side by side, two vectors of
//             ├──────────────────────┤   columns at a time, which all rows of a meet: in tiles of
//           k │          b           │   sums in registers, that stay in cache from slice to slice
//
// Slices of packed panels are as deep as sums are long. Where b lies by columns, squares of it are
// transposed first. Sums run in the order of k in every case, and have the same bits.
#pragma once

#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/gemm.h"
#include "fovea/ops/kernels/gemm_operands.h"
#include "fovea/ops/kernels/multiply.h"
#include "fovea/ops/kernels/table.h"
#include "fovea/ops/kernels/transpose.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// Rows whose factors at a few steps find room in registers.
#ifdef __AVX512F__
inline constexpr int kWalkedRows = 3;
#else
inline constexpr int kWalkedRows = 1;
#endif

// Side of a square.
template <class T>
inline constexpr std::int64_t kSquare = 4 * kLanes<T>;

// Some columns of c: whole vectors.
template <class T>
class FewRows {
 public:
  FewRows(const GemmProblem<T>& p, const GemmTile& tile, void* memory) : p_(p), t_(tile) {
    Carver carver(memory);
    a_copy_ = carver.take<T>(kGemmCopy);
    sums_ = carver.take<T>(t_.rows * t_.columns);
    b_copy_ = carver.take<T>(kGemmSquare);
  }

  void run() {
    if (p_.packed_b) return each_block([&] { times_packed(); });
    if (p_.b.column == 1) return each_block([&] { times_rows(); });
    for (std::int64_t j = 0; j < t_.columns; j += kSquare<T>) each_block([&] { times_columns(j); });
  }

 private:
  // Steps [begin, end) of the block, and b there; where the panels that follow its last one begin,
  // seen from its first one; whether rows lie so that they push each other out of the cache.
  struct Slice {
    std::int64_t begin, end;
    Panels<T> b;
    std::int64_t next = 0;
    bool far = false;
    std::int64_t ahead = 0;  // what is asked for while b is read
  };

  // Very few rows take a few steps at a time, of all columns: factors stay in registers. Others
  // take slices: few enough rows of b lie side by side for memory to keep up, and many enough for
  // sums to be worth their way to the registers.
  bool walks() const { return t_.rows <= kWalkedRows && p_.packed_b == nullptr; }
  std::int64_t slice() const { return walks() ? kGemmDepth : t_.rows <= 4 ? 8 : 32; }
  static_assert(32 * kTileVectors * kLanes<T> <= kGemmSquare);
  static_assert(kSquare<T> * kSquare<T> <= kGemmSquare);

  template <class Body>
  FOVEA_INLINE void each_block(const Body& body) {
    for (block_ = 0; block_ == 0 || block_ < p_.k; block_ += kGemmDepth) {
      depth_ = smaller(kGemmDepth, p_.k - block_);
      take_a();
      body();
    }
  }

  void take_a() {
    a_ = {p_.a.data + t_.row * p_.a.row + block_ * p_.a.column, p_.a.row, true};
    if (p_.a.column == 1) return;
    for (std::int64_t i = 0; i < t_.rows; ++i) {
      for (std::int64_t k = 0; k < depth_; ++k)
        a_copy_[i * kGemmDepth + k] = a_.data[i * p_.a.row + k * p_.a.column];
    }
    a_ = {a_copy_, kGemmDepth, true};
  }

  void times_packed() {
    const std::int64_t width = (p_.n + kGemmPanel<T> - 1) / kGemmPanel<T> * kGemmPanel<T>;
    const T* from = p_.packed_b + block_ * width + t_.column * depth_;
    add({0, depth_, {from, kGemmPanel<T>, depth_ * kGemmPanel<T>}, depth_ * width}, 0, t_.columns);
  }

  void times_rows() {
    const std::int64_t step = slice();
    for (std::int64_t k = 0; k == 0 || k < depth_; k += step) {
      const T* from = p_.b.data + (block_ + k) * p_.b.row + t_.column;
      add({k, smaller(k + step, depth_), {from, p_.b.row, kLanes<T>}, step * p_.b.row, true}, 0,
          t_.columns);
    }
  }

  // The columns of a square, from j on.
  void times_columns(std::int64_t j) {
    const std::int64_t columns = smaller(kSquare<T>, t_.columns - j);
    for (std::int64_t k = 0; k == 0 || k < depth_; k += kSquare<T>) {
      const std::int64_t end = smaller(k + kSquare<T>, depth_);
      transpose_square(p_.b.data + block_ + k + (t_.column + j) * p_.b.column, columns, end - k);
      add({k, end, {b_copy_, kSquare<T>, kLanes<T>}}, j, columns);
    }
  }

  // A band of rows at a time, while the same of the square after next is fetched.
  void transpose_square(const T* from, std::int64_t columns, std::int64_t depth) const {
    constexpr std::int64_t kBand = 4, kAhead = 2 * kSquare<T>;
    for (std::int64_t j = 0; j < columns; j += kBand) {
      const T* band = from + j * p_.b.column;
      for (std::int64_t i = 0; i < kBand; ++i) {
        for (std::int64_t l = 0; l < kSquare<T>; l += kLanes<T>)
          __builtin_prefetch(band + i * p_.b.column + kAhead + l, 0, 2);
      }
      transpose(band, p_.b.column, kBand, depth, b_copy_ + j, kSquare<T>);
    }
  }

  // Columns [column, column + columns) of the tile.
  void add(Slice s, std::int64_t column, std::int64_t columns) const {
    constexpr std::int64_t kAhead = 8;
    T* sums = sums_ + t_.rows * column;
    T* c = p_.c.data + t_.row * p_.c.row + t_.column + column;
    if (walks()) return walk(s, columns, c, sums);
    const std::int64_t vectors = columns / kLanes<T>;
    for (std::int64_t v = 0; v < vectors;) {
      s.ahead = (v + kAhead < vectors ? 0 : s.next - vectors * s.b.panel) + kAhead * s.b.panel;
      const std::int64_t taken = smaller(kTileVectors, vectors - v);
      if (taken == kTileVectors) {
        add_rows<kTileVectors>(s, c, sums);
      } else {
        add_rows<1>(s, c, sums);
      }
      v += taken, s.b.data += taken * s.b.panel;
      c += taken * kLanes<T>, sums += t_.rows * taken * kLanes<T>;
    }
  }

  void walk(const Slice& s, std::int64_t columns, T* c, T* sums) const {
    for (std::int64_t j = 0; s.begin == 0 && j < t_.rows * columns; j += kLanes<T>)
      store(sums + j, broadcast(T(0)));
    constexpr int kSteps = 8;
    const T* b = s.b.data;
    std::int64_t k = s.begin;
    for (; k + kSteps <= s.end; k += kSteps, b += kSteps * s.b.row)
      walk_steps<kWalkedRows, kSteps>(k, columns, b, s.b.row, sums);
    for (; k < s.end; ++k, b += s.b.row) walk_steps<kWalkedRows, 1>(k, columns, b, s.b.row, sums);
    for (std::int64_t i = 0; s.end >= depth_ && i < t_.rows; ++i) {
      T* out = c + i * p_.c.row;
      for (std::int64_t j = 0; j < columns; j += kLanes<T>) {
        const Vec<T> sum = load(sums + i * columns + j);
        store(out + j, block_ == 0 ? sum : load(out + j) + sum);
      }
    }
  }

  template <int kRows, int kSteps>
  FOVEA_INLINE void walk_steps(std::int64_t k, std::int64_t columns, const T* b, std::int64_t b_row,
                               T* sums) const {
    if constexpr (kRows > 1) {
      if (t_.rows < kRows) return walk_steps<kRows - 1, kSteps>(k, columns, b, b_row, sums);
    }
    Register<T> factors[kRows][kSteps];
#pragma GCC unroll 32
    for (int i = 0; i < kRows * kSteps; ++i) {
      const T factor = a_.data[i / kSteps * a_.stride + k + i % kSteps];
      factors[i / kSteps][i % kSteps] = in_register(broadcast_register(factor));
    }
    for (std::int64_t j = 0; j < columns; j += kLanes<T>, b += kLanes<T>) {
      Vec<T> sum[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sum[r] = load(sums + r * columns + j);
#pragma GCC unroll 16
      for (int x = 0; x < kSteps; ++x) {
        const Vec<T> vector = load(b + x * b_row);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sum[r] = fma(factors[r][x], vector, sum[r]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) store(sums + r * columns + j, sum[r]);
    }
  }

  // All rows in tiles. The first one leaves a copy of what lies far apart to the others.
  template <int kVectors>
  void add_rows(const Slice& first, T* c, T* sums) const {
    const bool copies = first.far && t_.rows > kTileRows;
    Slice s = first;
    for (std::int64_t m = 0; m < t_.rows;) {
      const std::int64_t rows = smaller(kTileRows, t_.rows - m);
      if (m == 0 && copies) {
        add_tile<true, kTileRows, kVectors>(rows, m, s, c, sums);
        s.b = {b_copy_, kVectors * kLanes<T>, kLanes<T>};
      } else {
        add_tile<false, kTileRows, kVectors>(rows, m, s, c, sums);
      }
      s.ahead = 0;
      m += rows, c += rows * p_.c.row, sums += rows * kVectors * kLanes<T>;
    }
  }

  template <bool kCopies, int kRows, int kVectors>
  FOVEA_INLINE void add_tile(std::int64_t rows, std::int64_t m, const Slice& s, T* c,
                             T* sums) const {
    if constexpr (kRows > 1) {
      if (rows < kRows) return add_tile<kCopies, kRows - 1, kVectors>(rows, m, s, c, sums);
    }
    constexpr int kTile = kRows * kVectors;
    Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 64
    for (int i = 0; i < kTile; ++i)
      sum[i / kVectors][i % kVectors] = s.begin == 0 ? broadcast(T(0)) : load(sums + i * kLanes<T>);
    const Rows<T> a{a_.data + s.begin, a_.stride, true};
    auto from_a = a.template cursor<kRows>(m);
    const T* from_b = s.b.data;
    T* copy = b_copy_;
    const std::int64_t panel = s.b.panel, b_row = s.b.row, ahead = s.ahead;
    for (std::int64_t k = s.begin; k < s.end; ++k, from_a.next(), from_b += b_row) {
      Vec<T> vectors[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        __builtin_prefetch(from_b + v * panel + ahead, 0, 2);
        vectors[v] = load(from_b + v * panel);
        if constexpr (kCopies) store(copy + v * kLanes<T>, vectors[v]);
      }
      if constexpr (kCopies) copy += kVectors * kLanes<T>;
      multiply_add(sum, from_a, vectors);
    }
    if (s.end >= depth_) {
      StoreRows<T>{{c, p_.c.row}, block_ == 0 ? Store::assign : Store::add}.put(0, sum);
      return;
    }
#pragma GCC unroll 64
    for (int i = 0; i < kTile; ++i) store(sums + i * kLanes<T>, sum[i / kVectors][i % kVectors]);
  }

  const GemmProblem<T>& p_;
  const GemmTile t_;
  T *a_copy_, *sums_, *b_copy_;
  Rows<T> a_{};
  std::int64_t block_ = 0, depth_ = 0;  // the block of k
};

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
