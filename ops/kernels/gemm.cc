#include "fovea/ops/kernels/gemm.h"

#include <algorithm>

#include "fovea/ops/kernels/kernels.h"
#include "fovea/ops/kernels/tasks.h"

namespace fovea::kernels {

namespace {

std::int64_t divided(std::int64_t x, std::int64_t by) { return (x + by - 1) / by; }
std::int64_t rounded(std::int64_t x, std::int64_t to) { return divided(x, to) * to; }

// Rows that b is not worth packing for; fewer where it lies by columns.
constexpr std::int64_t kFewRows = 64, kFewRowsByColumns = 8;

// How c is cut into tiles. That changes no bits.
template <class T>
struct Tiling {
  std::int64_t rows, columns;  // of a tile
  std::int64_t chunk = 0;      // columns of b that are packed for all tiles at once; 0: none
  std::int64_t slot;           // elements of scratch for a tile
  bool few_rows;

  Tiling(std::int64_t m, std::int64_t n, std::int64_t k, bool few, bool packed, int slots)
      : rows(m), columns(n), slot(kGemmCopy), few_rows(few) {
    if (m == 0 || n == 0) return;
    if (few_rows) {
      // Memory likes long rows of b best; sums are to stay in cache.
      constexpr std::int64_t kPanel = kGemmPanel<T>, kSums = 1 << 16;
      const std::int64_t worth = kWorkOfTile / std::max<std::int64_t>(1, m * k);
      const std::int64_t narrowest = std::clamp(rounded(worth, kPanel), 4 * kPanel, 32 * kPanel);
      const std::int64_t widest = std::min<std::int64_t>(4096, kSums / m / kPanel * kPanel);
      columns = std::min(n, std::clamp(rounded(divided(n, slots), kPanel), narrowest, widest));
      slot += std::max(kGemmDepth * kPanel, m * columns + kGemmSquare);
    } else {
      cut(m, n, k, packed);
      if (chunk == 0 && !packed) slot += kGemmDepth * rounded(columns, kGemmPanel<T>);
    }
  }

 private:
  static constexpr std::int64_t kWorkOfTile = 1 << 20;  // multiply-adds, beyond which it is cut

  // Halves where that is possible: all threads end at the same time.
  void cut(std::int64_t m, std::int64_t n, std::int64_t k, bool packed) {
    constexpr std::int64_t kWide = 2048 / sizeof(T), kRowStep = 8, kFewTiles = 8;
    constexpr std::int64_t kShared = std::int64_t{8} << 20;  // bytes of a chunk
    std::int64_t row_tiles = divided(m, kGemmRows), column_tiles = divided(n, kWide);
    const auto divide = [&] {
      rows = std::min(m, rounded(divided(m, row_tiles), kRowStep));
      columns = rounded(divided(n, column_tiles), kGemmPanel<T>);
    };
    divide();
    while (row_tiles * column_tiles < kFewTiles &&
           rows * columns > kWorkOfTile / std::max<std::int64_t>(1, k)) {
      (rows > columns ? row_tiles : column_tiles) *= 2;
      divide();
    }
    if (rows >= m || packed || k == 0) return;
    const std::int64_t fitting = kShared / (k * static_cast<std::int64_t>(sizeof(T)));
    chunk =
        std::min(rounded(n, kGemmPanel<T>), std::max<std::int64_t>(1, fitting / columns) * columns);
  }
};

// What small b's there are, the caches of the first level hold.
template <class T>
bool has_few_rows(const GemmProblem<T>& p) {
  if (p.c.column != 1 || p.n < 4 * kGemmPanel<T>) return false;
  if (!p.packed_b && p.b.column != 1) return p.b.row == 1 && p.m <= kFewRowsByColumns;
  constexpr std::int64_t kSmall = 32768 / static_cast<std::int64_t>(sizeof(T));
  return p.m <= kFewRowsByColumns ||
         (p.m <= kFewRows && p.n > kSmall / std::max<std::int64_t>(1, p.k));
}

template <class T>
Tiling<T> tiling_of(const GemmProblem<T>& p, int slots) {
  return Tiling<T>(p.m, p.n, p.k, has_few_rows(p), p.packed_b != nullptr, slots);
}

// Columns of c are vectors. Where there are few, and many rows, cᵀ = bᵀ aᵀ has longer ones.
template <class T>
bool is_tall(const GemmProblem<T>& p) {
  return p.n <= kGemmPanel<T> / 2 && p.m > p.n && !p.packed_b && !p.epilogue.run;
}
template <class T>
GemmProblem<T> transposed(const GemmProblem<T>& p) {
  GemmProblem<T> t;
  t.m = p.n;
  t.n = p.m;
  t.k = p.k;
  t.a = {p.b.data, p.b.column, p.b.row};
  t.b = {p.a.data, p.a.column, p.a.row};
  t.c = {p.c.data, p.c.column, p.c.row};
  return t;
}

template <class T>
std::int64_t scratch_elements(std::int64_t m, std::int64_t n, std::int64_t k, int slots) {
  std::int64_t most = 0;
  for (const bool few : {false, m <= kFewRows}) {
    const Tiling<T> tiling(m, n, k, few, false, slots);
    most = std::max(most, tiling.chunk * k + tiling.slot * slots);
  }
  return most;
}

template <class T>
void run_tiles(const GemmProblem<T>& p, const Tiling<T>& tiling, T* scratch, int slots) {
  const Loops<T>& loop = loops<T>(kernels());
  const auto tile = tiling.few_rows ? loop.gemm_rows : loop.gemm_tile;
  if (tiling.rows >= p.m && tiling.columns >= p.n) return tile(p, {0, p.m, 0, p.n}, scratch);
  const std::int64_t row_tiles = divided(p.m, tiling.rows);
  const std::size_t bytes = static_cast<std::size_t>(tiling.slot) * sizeof(T);
  for_each_task(row_tiles * divided(p.n, tiling.columns), scratch, bytes, slots,
                [&](std::int64_t task, void* memory) {
                  const std::int64_t row = task % row_tiles * tiling.rows;
                  const std::int64_t column = task / row_tiles * tiling.columns;
                  tile(p,
                       {row, std::min(tiling.rows, p.m - row), column,
                        std::min(tiling.columns, p.n - column)},
                       memory);
                });
}

// The panels of b, a few at a time, on all threads.
template <class T>
void pack_panels(const GemmProblem<T>& p, T* packed, bool alone) {
  constexpr std::int64_t kPanel = kGemmPanel<T>;
  const auto pack = loops<T>(kernels()).gemm_pack_b;
  if (alone) return pack(p, 0, p.n, packed);
  const std::int64_t columns =
      std::clamp(rounded(divided(p.n, 2 * num_threads()), kPanel), kPanel, 8 * kPanel);
  parallel_for(divided(p.n, columns), [&](std::int64_t task) {
    pack(p, task * columns, std::min(columns, p.n - task * columns), packed);
  });
}

struct Shifted {
  const GemmEpilogue* epilogue;
  std::int64_t column;
};

}  // namespace

template <class T>
std::size_t gemm_scratch(const GemmProblem<T>& problem, int slots) {
  const std::int64_t m = problem.m, n = problem.n, k = problem.k;
  const std::int64_t elements = is_tall(problem) ? std::max(scratch_elements<T>(m, n, k, slots),
                                                            scratch_elements<T>(n, m, k, slots))
                                                 : scratch_elements<T>(m, n, k, slots);
  return static_cast<std::size_t>(elements) * sizeof(T);
}

template <class T>
void gemm(const GemmProblem<T>& problem, void* scratch, int slots) {
  if (problem.m == 0 || problem.n == 0) return;
  if (is_tall(problem)) return gemm(transposed(problem), scratch, slots);
  const Tiling<T> tiling = tiling_of(problem, slots);
  T* memory = static_cast<T*>(scratch);
  if (tiling.chunk == 0) return run_tiles(problem, tiling, memory, slots);
  for (std::int64_t column = 0; column < problem.n; column += tiling.chunk) {
    GemmProblem<T> part = problem;
    part.n = std::min(tiling.chunk, problem.n - column);
    part.b.data += column * part.b.column;
    part.c.data += column * part.c.column;
    const Shifted shifted{&problem.epilogue, column};
    if (problem.epilogue.run) {
      part.epilogue = {[](const void* self, std::int64_t row, std::int64_t rows, std::int64_t first,
                          std::int64_t columns) {
                         const auto& s = *static_cast<const Shifted*>(self);
                         s.epilogue->run(s.epilogue->self, row, rows, s.column + first, columns);
                       },
                       &shifted};
    }
    pack_panels(part, memory, num_threads() > slots);
    part.packed_b = memory;
    run_tiles(part, tiling, memory + tiling.chunk * problem.k, slots);
  }
}

template <class T>
std::size_t gemm_packed_bytes(std::int64_t n, std::int64_t k) {
  return static_cast<std::size_t>(rounded(n, kGemmPanel<T>) * k) * sizeof(T);
}

template <class T>
void gemm_pack_b(const GemmProblem<T>& problem, T* packed) {
  pack_panels(problem, packed, false);
}

template std::size_t gemm_scratch(const GemmProblem<float>&, int);
template std::size_t gemm_scratch(const GemmProblem<double>&, int);
template void gemm(const GemmProblem<float>&, void*, int);
template void gemm(const GemmProblem<double>&, void*, int);
template std::size_t gemm_packed_bytes<float>(std::int64_t, std::int64_t);
template std::size_t gemm_packed_bytes<double>(std::int64_t, std::int64_t);
template void gemm_pack_b(const GemmProblem<float>&, float*);
template void gemm_pack_b(const GemmProblem<double>&, double*);

}  // namespace fovea::kernels
