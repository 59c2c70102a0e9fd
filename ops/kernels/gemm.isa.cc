// Matrix products in tiles.
//
// A tile of c (gemm.cc cuts them) is made in blocks of kGemmDepth along k. b lies in panels one
// virtual vector wide, so that the innermost loop reads it front to back:
//
//                 columns                      panels
//              ┌───────────┐                  ┌─┬─┬─┬─┬─┐
//            k │     b     │  kGemmDepth at   │ │ │ │ │ │   1 to 3 panels stay in the first or
//              └───────────┘  a time          └─┴─┴─┴─┴─┘   second level for all rows of a tile
//         k
//      ┌─────┐ ┌───────────┐                  ┌───┐
//      │  a  │ │     c     │  rows            │▒▒▒│  a tile of sums in registers: a is broadcast,
//      └─────┘ └───────────┘                  └───┘  b are vectors
//
// Rows of a are read where they are, the next ones being fetched while some are multiplied: a line
// of them lasts for hundreds of instructions, so that even memory keeps up. What does not lie by
// rows is copied, and b too, unless it is small. Each element is Σ over the blocks of Σ over the
// block's k, in the order of k and from zero: neither tiles nor copies nor instruction sets change
// a bit.
//
// The blocking is K. Goto's and R. van de Geijn's, "Anatomy of high-performance matrix
// multiplication", ACM TOMS 34 (2008).
#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/gemm_operands.h"
#include "fovea/ops/kernels/gemm_rows.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/multiply.h"
#include "fovea/ops/kernels/transpose.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

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

// How a block of k is walked: some at a time, before which rows of a are asked for, and where
// lines of c are: shortly before they are needed; earlier, b would push them out again.
struct Walk {
  std::int64_t depth, step, ask;

  Walk(std::int64_t whole, std::int64_t lanes, bool near) : depth(whole) {
    constexpr std::int64_t kLast = 64;
    step = near ? kLast : lanes;
    ask = depth > kLast ? (depth - kLast) / step * step : 0;
  }
};

// c(m…, 0…) = (or +=) Σ_k a(m, k) · b(k) for kRows rows and kVectors vectors.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void product_tile(std::int64_t m, const Walk& walk, const A& a, const Panels<T>& b,
                               const Target<T>& to) {
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = broadcast(T(0));
  }
  const VectorRows<T> out{to.c.data + m * to.c.row, to.c.row};
  auto from_a = a.template cursor<kRows>(m);
  const T* from_b = b.data;
  for (std::int64_t k = 0; k < walk.depth; k += walk.step) {
    if (!a.is_near()) from_a.prefetch_next();
    if (k == walk.ask) {
      const T* row = out.data;
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r, row = next_row(row, out.stride)) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) __builtin_prefetch(row + v * kLanes<T>, 1);
      }
    }
    accumulate(sum, smaller(walk.step, walk.depth - k), from_a, b, from_b);
  }
  if (to.c.column != 1 || to.columns < kVectors * kLanes<T>) {
    T sums[kRows * kVectors * kLanes<T>];
#pragma GCC unroll 64
    for (int i = 0; i < kRows * kVectors; ++i)
      store(sums + i * kLanes<T>, sum[i / kVectors][i % kVectors]);
    return put_some<kRows, kVectors>(sums, out.data, to.c.row, to.c.column,
                                     smaller(to.columns, kVectors * kLanes<T>), to.mode);
  }
  StoreRows<T>{out, to.mode}.put(0, sum);
}

// Rows [m, rows) in tiles of kRows, the rest in smaller ones.
template <int kRows, int kVectors, class T, class A>
FOVEA_INLINE void product_rows(std::int64_t m, std::int64_t rows, const Walk& walk, const A& a,
                               const Panels<T>& b, const Target<T>& to) {
  for (; m + kRows <= rows; m += kRows) product_tile<kRows, kVectors, T>(m, walk, a, b, to);
  if constexpr (kRows > 1) {
    if (m < rows) product_rows<(kRows + 1) / 2, kVectors, T>(m, rows, walk, a, b, to);
  }
}

// All columns of `to`, a few panels at a time: no single one is left over where two could go
// together.
template <class T, class A>
[[gnu::noinline]] void product(std::int64_t rows, std::int64_t depth, const A& a, Panels<T> b,
                               Target<T> to) {
  const Walk walk(depth, kLanes<T>, a.is_near());
  while (to.columns > 0) {
    const std::int64_t left = (to.columns + kLanes<T> - 1) / kLanes<T>;
    std::int64_t vectors = kVectorsOfSums;
    if (left < vectors || left == vectors + 1) vectors = left < 2 || vectors < 3 ? 1 : 2;
    if (vectors == kVectorsOfSums) {
      product_rows<kRowsOfSums, kVectorsOfSums, T>(0, rows, walk, a, b, to);
    } else if (vectors == 2) {
      product_rows < kRowsOfSums, kVectorsOfSums<3 ? 1 : 2, T>(0, rows, walk, a, b, to);
    } else {
      product_rows<kRowsOfSums, 1, T>(0, rows, walk, a, b, to);
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

// Panels of b, `columns` wide in all: missing columns of the last one are zero.
template <class T>
void pack_panels(const MatrixView<const T>& b, std::int64_t depth, std::int64_t columns, T* to) {
  constexpr std::int64_t kPanel = kGemmPanel<T>, kTogether = 16, kAhead = 4;
  const std::int64_t panel = depth * kPanel;
  std::int64_t j = 0;
  // Rows of a few panels at once, while later ones are fetched.
  if (b.column == 1) {
    for (; j + kPanel <= columns;) {
      const std::int64_t width = smaller(kTogether, (columns - j) / kPanel) * kPanel;
      const T* from = b.data + j;
      for (std::int64_t i = 0; i < depth; ++i, from += b.row, to += kPanel) {
        for (std::int64_t l = 0; l < width; l += kPanel) {
          __builtin_prefetch(from + kAhead * b.row + l);
          store(to + l * depth, load(from + l));
        }
      }
      to += panel * (width / kPanel - 1);
      j += width;
    }
  }
  for (; j < columns; j += kPanel, to += panel) {
    const std::int64_t width = smaller(kPanel, columns - j);
    const MatrixView<const T> from = at(b, 0, j);
    if (b.row == 1) {
      transpose(from.data, from.column, width, depth, to, kPanel);
    } else {
      for (std::int64_t i = 0; i < depth; ++i) {
        for (std::int64_t l = 0; l < width; ++l)
          to[i * kPanel + l] = from.data[i * from.row + l * from.column];
      }
    }
    for (std::int64_t i = 0; width < kPanel && i < depth; ++i) {
      for (std::int64_t l = width; l < kPanel; ++l) to[i * kPanel + l] = T(0);
    }
  }
}

// A block of a as it is copied: no two panels fall into one set of the cache.
template <class T>
constexpr std::int64_t kColumnsPanel = kGemmDepth* kRowsOfSums + kGemmPanel<T>;

template <class T>
void pack_columns(const MatrixView<const T>& a, std::int64_t rows, std::int64_t depth, T* to) {
  const std::int64_t whole = rows / kRowsOfSums * kRowsOfSums;
  for (std::int64_t k = 0; k < depth; ++k) {
    const T* from = a.data + k * a.column;
    T* out = to + k * kRowsOfSums;
    std::int64_t m = 0;
    if (a.row == 1) {
      for (; m < whole; m += kRowsOfSums, out += kColumnsPanel<T>)
        __builtin_memcpy(out, from + m, kRowsOfSums * sizeof(T));
    }
    for (; m < rows; m += kRowsOfSums, out += kColumnsPanel<T>) {
      for (std::int64_t r = 0; r < kRowsOfSums && m + r < rows; ++r) out[r] = from[(m + r) * a.row];
    }
  }
}

// Whether rows so far apart lie within so many bytes.
template <class T>
bool is_near(std::int64_t rows, std::int64_t stride, std::int64_t bytes) {
  return stride >= 0 && rows * stride * static_cast<std::int64_t>(sizeof(T)) <= bytes;
}

// What caches of the first and second level hold beside other things.
constexpr std::int64_t kFirstLevel = 32768, kSecondLevel = 131072;

template <class T>
Panels<T> panels_of(const GemmProblem<T>& p, const GemmTile& t, std::int64_t k, std::int64_t depth,
                    T* copy) {
  if (p.packed_b) {
    const std::int64_t width = (p.n + kGemmPanel<T> - 1) / kGemmPanel<T> * kGemmPanel<T>;
    return {p.packed_b + k * width + t.column * depth, kGemmPanel<T>, depth * kGemmPanel<T>};
  }
  const MatrixView<const T> block = at(p.b, k, t.column);
  const bool whole = block.column == 1 && t.columns % kLanes<T> == 0;
  if (whole && (is_near<T>(depth, block.row, kFirstLevel) || t.rows <= 2)) {
    return {block.data, block.row, kGemmPanel<T>};
  }
  pack_panels(block, depth, t.columns, copy);
  return {copy, kGemmPanel<T>, depth * kGemmPanel<T>};
}

template <class T>
void gemm_tile(const GemmProblem<T>& p, const GemmTile& t, void* memory) {
  Carver carver(memory);
  T* a_copy = carver.take<T>(kGemmCopy);
  T* b_copy = carver.take<T>(0);
  for (std::int64_t k = 0; k == 0 || k < p.k; k += kGemmDepth) {
    const std::int64_t depth = smaller(kGemmDepth, p.k - k);
    const Target<T> to{{p.c.data + t.row * p.c.row + t.column * p.c.column, p.c.row, p.c.column},
                       t.columns,
                       k == 0 ? Store::assign : Store::add};
    const Panels<T> b = panels_of(p, t, k, depth, b_copy);
    const MatrixView<const T> a = at(p.a, t.row, k);
    if (a.column == 1) {
      product<T>(t.rows, depth, Rows<T>{a.data, a.row, is_near<T>(t.rows, a.row, kSecondLevel)}, b,
                 to);
    } else if (a.row == 1 && is_near<T>(depth, a.column, kFirstLevel)) {
      product<T>(t.rows, depth, Columns<T>{a.data, kRowsOfSums, a.column}, b, to);
    } else {
      pack_columns(a, t.rows, depth, a_copy);
      product<T>(t.rows, depth, Columns<T>{a_copy, kColumnsPanel<T>, kRowsOfSums}, b, to);
    }
  }
  if (p.epilogue.run) p.epilogue.run(p.epilogue.self, t.row, t.rows, t.column, t.columns);
}

// Few rows of c: those columns of them that make whole vectors, then the rest as a tile.
template <class T>
void gemm_rows(const GemmProblem<T>& p, const GemmTile& t, void* memory) {
  const std::int64_t whole = t.columns / kLanes<T> * kLanes<T>;
  FewRows<T>(p, {t.row, t.rows, t.column, whole}, memory).run();
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
