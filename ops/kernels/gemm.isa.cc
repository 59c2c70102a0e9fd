// Matrix products in tiles.
//
// A tile of c (gemm.cc cuts them) is made in blocks of kGemmDepth along k. Of each block, a is
// copied so that neighbouring rows do not fall into one set of the cache, and stays in the second
// level; b lies in panels one virtual vector wide, so that the innermost loop reads it front to
// back:
//
//                 columns                      panels
//              ┌───────────┐                  ┌─┬─┬─┬─┬─┐
//            k │     b     │  kGemmDepth at   │ │ │ │ │ │   1 to 3 panels stay in the first level
//              └───────────┘  a time          └─┴─┴─┴─┴─┘   while all rows of a pass
//         k
//      ┌─────┐ ┌───────────┐                  ┌───┐
//      │  a  │ │     c     │  rows            │▒▒▒│  a tile of sums in registers: a is broadcast,
//      └─────┘ └───────────┘                  └───┘  b are vectors
//
// Small operands are read where they are. Each element is Σ over the blocks of Σ over the block's
// k, in the order of k and from zero: neither tiles nor copies nor instruction sets change a bit.
//
// The blocking is K. Goto's and R. van de Geijn's, "Anatomy of high-performance matrix
// multiplication", ACM TOMS 34 (2008).
#include <type_traits>

#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/pack.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

// The tile of sums: most of the registers.
#ifdef __AVX512F__
constexpr int kRowsOfSums = 8, kVectorsOfSums = 3;
#elif defined(__AVX2__)
constexpr int kRowsOfSums = 6, kVectorsOfSums = 1;
#else
constexpr int kRowsOfSums = 3, kVectorsOfSums = 1;
#endif

// One block of b: panel p, kGemmPanel columns (a virtual vector) wide, begins at data + p*panel;
// its rows are `row` apart.
template <class T>
struct Panels {
  const T* data;
  std::int64_t row, panel;
};

// Blocks of a: rows that lie side by side, columns that do, and rows as they are copied, whose
// distance the compiler knows. Element (m + r, k) is row(m)[offset(r) + k*step()].
template <class T>
struct Rows {
  const T* data;
  std::int64_t stride;
  FOVEA_INLINE const T* row(std::int64_t m) const { return data + m * stride; }
  FOVEA_INLINE std::int64_t offset(std::int64_t r) const { return r * stride; }
  FOVEA_INLINE std::int64_t step() const { return 1; }
};
template <class T>
struct Columns {
  const T* data;
  std::int64_t stride;
  FOVEA_INLINE const T* row(std::int64_t m) const { return data + m; }
  FOVEA_INLINE std::int64_t offset(std::int64_t r) const { return r; }
  FOVEA_INLINE std::int64_t step() const { return stride; }
};
template <class T>
struct CopiedRows {
  const T* data;
  FOVEA_INLINE const T* row(std::int64_t m) const { return data + m * kGemmStride<T>; }
  FOVEA_INLINE std::int64_t offset(std::int64_t r) const { return r * kGemmStride<T>; }
  FOVEA_INLINE std::int64_t step() const { return 1; }
};

enum class Store { assign, add };

// Where sums go: rows of c, of which `columns` exist.
template <class T>
struct Target {
  MatrixView<T> c;
  std::int64_t columns;
  Store mode;
};

// The sums of a tile into c where c has no whole vectors for them.
template <int kRows, int kVectors, class T>
[[gnu::noinline]] void put_some(const T* sums, T* out, std::int64_t row, std::int64_t column,
                                std::int64_t columns, Store mode) {
  for (int r = 0; r < kRows; ++r, out += row, sums += kVectors * kLanes<T>) {
    for (std::int64_t j = 0; j < columns; ++j) {
      T& to = out[j * column];
      to = mode == Store::add ? to + sums[j] : sums[j];
    }
  }
}

// sum[r][v] += Σ a(r, k) · b(k, v) over the next `steps` of k.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void accumulate(Vec<T> (&sum)[kRows][kVectors], std::int64_t steps, const A& a,
                             const T*& from_a, const Panels<T>& b, const T*& from_b) {
  const std::int64_t panel = b.panel, b_row = b.row, a_step = a.step();
  for (; steps > 0; --steps, from_a += a_step, from_b += b_row) {
    Vec<T> vectors[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vectors[v] = load(from_b + v * panel);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Register<T> factor = in_register(broadcast_register(from_a[a.offset(r)]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(factor, vectors[v], sum[r][v]);
    }
  }
}

// c(m…, 0…) = (or +=) Σ_k a(m, k) · b(k) for kRows rows and kVectors vectors.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void product_tile(std::int64_t m, std::int64_t depth, const A& a, const Panels<T>& b,
                               const Target<T>& to) {
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = broadcast(T(0));
  }
  // Lines of c are asked for shortly before they are needed: earlier, b would push them out again.
  constexpr std::int64_t kLast = 64;
  const std::int64_t first = depth > kLast ? depth - kLast : 0;
  const T *from_a = a.row(m), *from_b = b.data;
  accumulate(sum, first, a, from_a, b, from_b);
  T* out = to.c.data + m * to.c.row;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(out + r * to.c.row + v * kLanes<T>, 1);
  }
  accumulate(sum, depth - first, a, from_a, b, from_b);
  if (to.c.column != 1 || to.columns < kVectors * kLanes<T>) {
    T sums[kRows * kVectors * kLanes<T>];
#pragma GCC unroll 64
    for (int i = 0; i < kRows * kVectors; ++i)
      store(sums + i * kLanes<T>, sum[i / kVectors][i % kVectors]);
    return put_some<kRows, kVectors>(sums, out, to.c.row, to.c.column,
                                     smaller(to.columns, kVectors * kLanes<T>), to.mode);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r, out += to.c.row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Vec<T>& x = sum[r][v];
      store(out + v * kLanes<T>, to.mode == Store::add ? load(out + v * kLanes<T>) + x : x);
    }
  }
}

// Rows [m, rows) in tiles of kRows, the rest in smaller ones.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void product_rows(std::int64_t m, std::int64_t rows, std::int64_t depth, const A& a,
                               const Panels<T>& b, const Target<T>& to) {
  for (; m + kRows <= rows; m += kRows) product_tile<kRows, kVectors, T>(m, depth, a, b, to);
  if constexpr (kRows > 1) {
    if (m < rows) product_rows<(kRows + 1) / 2, kVectors, T>(m, rows, depth, a, b, to);
  }
}

// All columns of `to`, a few panels at a time: no single one is left over where two could go
// together.
template <class T, class A>
[[gnu::noinline]] void product(std::int64_t rows, std::int64_t depth, const A& a, Panels<T> b,
                               Target<T> to) {
  while (to.columns > 0) {
    const std::int64_t left = (to.columns + kLanes<T> - 1) / kLanes<T>;
    std::int64_t vectors = kVectorsOfSums;
    if (left < vectors || left == vectors + 1) vectors = left < 2 || vectors < 3 ? 1 : 2;
    if (vectors == kVectorsOfSums) {
      product_rows<kRowsOfSums, kVectorsOfSums, T>(0, rows, depth, a, b, to);
    } else if (vectors == 2) {
      product_rows < kRowsOfSums, kVectorsOfSums<3 ? 1 : 2, T>(0, rows, depth, a, b, to);
    } else {
      product_rows<kRowsOfSums, 1, T>(0, rows, depth, a, b, to);
    }
    b.data += vectors * b.panel;
    to.c.data += vectors * kLanes<T> * to.c.column;
    to.columns -= vectors * kLanes<T>;
  }
}

template <class T>
MatrixView<const T> at(const MatrixView<const T>& x, std::int64_t i, std::int64_t j) {
  return {x.data + i * x.row + j * x.column, x.row, x.column};
}

template <class T>
void pack_panels(const MatrixView<const T>& b, std::int64_t depth, std::int64_t columns, T* to) {
  for (std::int64_t j = 0; j < columns; j += kGemmPanel<T>, to += depth * kGemmPanel<T>) {
    const std::int64_t width = smaller(kGemmPanel<T>, columns - j);
    const MatrixView<const T> from = at(b, 0, j);
    pack(from.data, from.row, from.column, depth, width, to, kGemmPanel<T>);
    for (std::int64_t i = 0; width < kGemmPanel<T> && i < depth; ++i) {
      for (std::int64_t l = width; l < kGemmPanel<T>; ++l) to[i * kGemmPanel<T> + l] = T(0);
    }
  }
}

// Whether rows so far apart can be read where they are: the whole is small.
template <class T>
bool is_near(std::int64_t rows, std::int64_t stride) {
  constexpr std::int64_t kBytes = 32768;
  return stride >= 0 && rows * stride * static_cast<std::int64_t>(sizeof(T)) <= kBytes;
}

template <class T>
Panels<T> panels_of(const GemmProblem<T>& p, const GemmTile& t, std::int64_t k, std::int64_t depth,
                    T* copy) {
  if (p.packed_b) {
    const std::int64_t width = (p.n + kGemmPanel<T> - 1) / kGemmPanel<T> * kGemmPanel<T>;
    return {p.packed_b + k * width + t.column * depth, kGemmPanel<T>, depth * kGemmPanel<T>};
  }
  const MatrixView<const T> block = at(p.b, k, t.column);
  const bool whole = block.column == 1 && t.columns % kLanes<T> == 0;
  if (whole && (is_near<T>(depth, block.row) || t.rows < kRowsOfSums)) {
    return {block.data, block.row, kGemmPanel<T>};
  }
  pack_panels(block, depth, t.columns, copy);
  return {copy, kGemmPanel<T>, depth * kGemmPanel<T>};
}

template <class T>
void gemm_tile(const GemmProblem<T>& p, const GemmTile& t, void* memory) {
  Carver carver(memory);
  T* a_copy = carver.take<T>(kGemmRows * kGemmStride<T>);
  T* b_copy = carver.take<T>(0);
  for (std::int64_t k = 0; k == 0 || k < p.k; k += kGemmDepth) {
    const std::int64_t depth = smaller(kGemmDepth, p.k - k);
    const Target<T> to{{p.c.data + t.row * p.c.row + t.column * p.c.column, p.c.row, p.c.column},
                       t.columns,
                       k == 0 ? Store::assign : Store::add};
    const Panels<T> b = panels_of(p, t, k, depth, b_copy);
    const MatrixView<const T> a = at(p.a, t.row, k);
    if (a.column == 1 && is_near<T>(t.rows, a.row)) {
      product<T>(t.rows, depth, Rows<T>{a.data, a.row}, b, to);
    } else if (a.row == 1 && is_near<T>(depth, a.column)) {
      product<T>(t.rows, depth, Columns<T>{a.data, a.column}, b, to);
    } else {
      pack(a.data, a.row, a.column, t.rows, depth, a_copy, kGemmStride<T>);
      product<T>(t.rows, depth, CopiedRows<T>{a_copy}, b, to);
    }
  }
  if (p.epilogue.run) p.epilogue.run(p.epilogue.self, t.row, t.rows, t.column, t.columns);
}

// sums[j] += Σ a(k) · b(k, j) over kStep of k, for whole vectors of columns.
template <int kStep, class T>
FOVEA_INLINE void add_rows_of_b(const T* a, std::int64_t a_step, const T* b, std::int64_t b_row,
                                std::int64_t columns, T* sums) {
  Register<T> factors[kStep];
#pragma GCC unroll 16
  for (int i = 0; i < kStep; ++i) factors[i] = in_register(broadcast_register(a[i * a_step]));
  for (std::int64_t j = 0; j < columns; j += kLanes<T>) {
    Vec<T> sum = load(sums + j);
#pragma GCC unroll 16
    for (int i = 0; i < kStep; ++i) sum = fma(factors[i], load(b + i * b_row + j), sum);
    store(sums + j, sum);
  }
}

// One row of c, in whole vectors: b is read once, row by row, as memory likes it.
template <class T>
void row_product(const GemmProblem<T>& p, std::int64_t row, std::int64_t column,
                 std::int64_t columns, T* sums) {
  constexpr int kStep = 8;
  for (std::int64_t k = 0; k == 0 || k < p.k; k += kGemmDepth) {
    const std::int64_t end = smaller(k + kGemmDepth, p.k);
    for (std::int64_t j = 0; j < columns; j += kLanes<T>) store(sums + j, broadcast(T(0)));
    std::int64_t i = k;
    const auto step = [&](auto count) {
      for (; i + count() <= end; i += count()) {
        add_rows_of_b<count()>(at(p.a, row, i).data, p.a.column, at(p.b, i, column).data, p.b.row,
                               columns, sums);
      }
    };
    step(std::integral_constant<int, kStep>());
    step(std::integral_constant<int, 1>());
    T* out = p.c.data + row * p.c.row + column;
    for (std::int64_t j = 0; j < columns; j += kLanes<T>)
      store(out + j, k == 0 ? load(sums + j) : load(out + j) + load(sums + j));
  }
}

// Few rows of c: those columns of them that make whole vectors, then the rest as a tile.
template <class T>
void gemm_rows(const GemmProblem<T>& p, const GemmTile& t, void* memory) {
  const std::int64_t whole = t.columns / kLanes<T> * kLanes<T>;
  for (std::int64_t i = t.row; i < t.row + t.rows; ++i)
    row_product(p, i, t.column, whole, static_cast<T*>(memory));
  GemmProblem<T> rest = p;
  rest.epilogue = {};
  if (whole < t.columns)
    gemm_tile(rest, {t.row, t.rows, t.column + whole, t.columns - whole}, memory);
  if (p.epilogue.run) p.epilogue.run(p.epilogue.self, t.row, t.rows, t.column, t.columns);
}

// Columns [column, column + columns), `column` a multiple of kGemmPanel, of all blocks of k.
template <class T>
void gemm_pack_b(const GemmProblem<T>& p, std::int64_t column, std::int64_t columns, T* packed) {
  const std::int64_t width = (p.n + kGemmPanel<T> - 1) / kGemmPanel<T> * kGemmPanel<T>;
  for (std::int64_t k = 0; k < p.k; k += kGemmDepth) {
    const std::int64_t depth = smaller(kGemmDepth, p.k - k);
    pack_panels(at(p.b, k, column), depth, columns, packed + k * width + column * depth);
  }
}

template <class T>
void add(Loops<T>& loops) {
  loops.gemm_tile = gemm_tile<T>;
  loops.gemm_rows = gemm_rows<T>;
  loops.gemm_pack_b = gemm_pack_b<T>;
}

}  // namespace

void add_gemm(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
