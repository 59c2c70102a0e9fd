#include "fovea/ops/kernels/carver.h"
#include "fovea/ops/kernels/isa.h"
#include "fovea/ops/kernels/multiply.h"

namespace fovea::kernels::FOVEA_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kDepth = 256;  // of a block; sums of blocks are added up
// With fewer rows than this, packing b costs more than it saves.
constexpr std::int64_t kRowsWorthPacking = 16;

template <class T>
std::int64_t padded(std::int64_t columns) {
  return (columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
struct GemmScratch {
  T *a, *b, *c;  // packed blocks: a and c by rows, b by rows of whole vectors
  std::size_t bytes;

  GemmScratch(const GemmProblem<T>& p, void* memory) {
    Carver carver(memory);
    const std::int64_t rows = smaller(p.m, kGemmRows), depth = smaller(p.k, kDepth);
    const std::int64_t columns = padded<T>(smaller(p.n, kGemmColumns<T>));
    a = carver.take<T>(rows * depth);
    b = carver.take<T>(depth * columns);
    c = carver.take<T>(rows * columns);
    bytes = carver.used();
  }
};

// to[i*stride + j] = from(i, j), rows filled up with zeros.
template <class T>
void pack(MatrixView<const T> from, std::int64_t rows, std::int64_t columns, T* to,
          std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i, to += stride) {
    const T* row = from.data + i * from.row;
    if (from.column == 1) {
      for (std::int64_t j = 0; j < columns; ++j) to[j] = row[j];
    } else {
      for (std::int64_t j = 0; j < columns; ++j) to[j] = row[j * from.column];
    }
    for (std::int64_t j = columns; j < stride; ++j) to[j] = T(0);
  }
}

template <class T>
MatrixView<const T> at(MatrixView<const T> x, std::int64_t i, std::int64_t j) {
  return {x.data + i * x.row + j * x.column, x.row, x.column};
}

template <class T>
void gemm_tile(const GemmProblem<T>& p, std::int64_t first_row, std::int64_t first_column,
               void* memory) {
  const GemmScratch<T> scratch(p, memory);
  const std::int64_t rows = smaller(kGemmRows, p.m - first_row);
  const std::int64_t columns = smaller(kGemmColumns<T>, p.n - first_column);
  const std::int64_t width = padded<T>(columns), vectors = width / kLanes<T>;
  T* out = p.c.data + first_row * p.c.row + first_column * p.c.column;
  const bool direct = p.c.column == 1 && width == columns;
  const VectorRows<T> c = direct ? VectorRows<T>{out, p.c.row} : VectorRows<T>{scratch.c, width};

  for (std::int64_t k = 0; k == 0 || k < p.k; k += kDepth) {
    const std::int64_t depth = smaller(kDepth, p.k - k);
    const Store mode = k == 0 ? Store::assign : Store::add;
    const auto b_block = at(p.b, k, first_column);
    VectorRows<const T> b{b_block.data, b_block.row};
    if (b_block.column != 1 || width != columns || rows >= kRowsWorthPacking) {
      pack(b_block, depth, columns, scratch.b, width);
      b = {scratch.b, width};
    }
    const auto a_block = at(p.a, first_row, k);
    if (a_block.column == 1) {
      multiply<T>(rows, vectors, depth, RowMajor<T>{a_block.data, a_block.row}, b, c, mode);
    } else if (a_block.row == 1 || rows == 1) {
      multiply<T>(rows, vectors, depth, ColumnMajor<T>{a_block.data, a_block.column}, b, c, mode);
    } else {
      pack(a_block, rows, depth, scratch.a, depth);
      multiply<T>(rows, vectors, depth, RowMajor<T>{scratch.a, depth}, b, c, mode);
    }
  }
  if (direct) return;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[i * p.c.row + j * p.c.column] = scratch.c[i * width + j];
    }
  }
}

template <class T>
std::size_t scratch_bytes(const GemmProblem<T>& p) {
  return GemmScratch<T>(p, nullptr).bytes;
}

template <class T>
void add(Loops<T>& loops) {
  loops.gemm_scratch = scratch_bytes<T>;
  loops.gemm_tile = gemm_tile<T>;
}

}  // namespace

void add_gemm(Kernels& table) {
  add(table.f32);
  add(table.f64);
}

}  // namespace fovea::kernels::FOVEA_ISA_NAMESPACE
