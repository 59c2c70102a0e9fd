// The ops of movement.h that fill new memory: unslice and concat.
#include <algorithm>
#include <cstring>

#include "fovea/ops/define.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/strided.h"

namespace fovea {

Y<TensorSpec> Unslice::infer(const In<TensorSpec>& in) const {
  const Shape& x = in.x.shape;
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  if (extent < 0) fail(name, "extent {}; an extent is 0 or more", extent);
  const SliceRange range = slice_range(name, extent, start, end, step);
  if (range.count != x[at]) {
    fail(name, "x {} has extent {} at axis {}, but the slice of {} has {}; they must be equal", x,
         x[at], axis, extent, range.count);
  }
  return {{in.x.dtype, x.with(at, extent)}};
}

void Unslice::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  if (out.y.numel() == 0) return;
  auto* y = static_cast<std::byte*>(out.y.mutable_raw());
  std::memset(y, 0, out.y.nbytes());
  // Both are (outer, positions of `axis`, block of bytes).
  const Tensor x = in.x.contiguous();
  const std::int64_t at = normalize_axis(name, axis, x.rank());
  const std::int64_t extent_of_y = out.y.shape()[at];
  const SliceRange range = slice_range(name, extent_of_y, start, end, step);
  std::int64_t outer = 1, block = static_cast<std::int64_t>(size_of(x.dtype()));
  for (std::int64_t i = 0; i < at; ++i) outer *= x.shape()[i];
  for (std::int64_t i = at + 1; i < x.rank(); ++i) block *= x.shape()[i];
  const auto* from = static_cast<const std::byte*>(x.raw());
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t i = 0; i < range.count; ++i, from += block) {
      const std::int64_t position = o * extent_of_y + range.start + i * step;
      std::memcpy(y + position * block, from, static_cast<std::size_t>(block));
    }
  }
}

Unslice::In<Expr> Unslice::vjp(const In<Expr>&, const Out<Expr>&, const Out<Expr>& d) const {
  return {slice(d.y, {.axis = axis, .start = start, .end = end, .step = step})};
}

std::vector<Sample<Unslice>> Unslice::samples() {
  return {{{.extent = 4, .start = 1, .end = 3}, {arg::normal({2, 3})}},
          {{.axis = -1, .extent = 5, .start = -3, .step = 2}, {arg::normal({2, 2})}},
          {{.axis = 1, .extent = 3, .step = -1}, {arg::normal({2, 3})}, "reversed"},
          {{.extent = 2, .start = 2}, {arg::normal({0, 3})}, "zeros only"},
          {{.extent = 3, .end = 1}, {arg::integers({1}, 0, 9)}, "i64"},
          {{.extent = 3, .end = 1}, {arg::bernoulli({1})}, "bool"}};
}

std::vector<Reject<Unslice>> Unslice::rejects() {
  return {{{.extent = 4}, {arg::normal({2, 3})}, "the slice of 4 has 4"},
          {{.extent = -1}, {arg::normal({2, 3})}, "extent -1"},
          {{.axis = 2, .extent = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{.extent = 2, .step = 0}, {arg::normal({2, 3})}, "step 0"}};
}

Y<TensorSpec> Concat::infer(const In<TensorSpec>& in) const {
  if (in.xs.empty()) fail(name, "no inputs; at least one is required");
  const TensorSpec& first = in.xs.front();
  const std::int64_t at = normalize_axis(name, axis, first.shape.rank());
  Extent total = first.shape[at];
  for (std::size_t i = 1; i < in.xs.size(); ++i) {
    const TensorSpec& x = in.xs[i];
    if (x.dtype != first.dtype) {
      fail(name, "input 0 is {} and input {} is {}; equal dtypes are required", first.dtype, i,
           x.dtype);
    }
    bool fits = x.shape.rank() == first.shape.rank();
    for (std::int64_t j = 0; fits && j < x.shape.rank(); ++j) {
      fits = j == at || x.shape[j] == first.shape[j];
    }
    if (!fits) {
      fail(name, "input 0 {} and input {} {}; extents must be equal except at axis {}", first.shape,
           i, x.shape, at);
    }
    std::int64_t longer = 0;
    if (__builtin_add_overflow(total.value(), x.shape[at].value(), &longer)) {
      fail(name, "the extents of axis {} add up to more than 63 bits", at);
    }
    total = longer;
  }
  return {{first.dtype, first.shape.with(at, total)}};
}

void Concat::forward(Context&, const In<Tensor>& in, Out<Tensor>& out) const {
  const std::int64_t at = normalize_axis(name, axis, out.y.rank());
  // y is (outer, extent of `axis`, inner); each input fills a block of every outer position.
  std::int64_t outer = 1, inner = static_cast<std::int64_t>(size_of(out.y.dtype()));
  for (std::int64_t j = 0; j < at; ++j) outer *= out.y.shape()[j];
  for (std::int64_t j = at + 1; j < out.y.rank(); ++j) inner *= out.y.shape()[j];
  auto* y = static_cast<std::byte*>(out.y.mutable_raw());
  const std::int64_t y_step = out.y.shape()[at] * inner;
  std::int64_t begin = 0;
  for (const Tensor& x : in.xs) {
    const std::int64_t extent = x.shape()[at], bytes = extent * inner;
    if (!x.is_contiguous()) {
      out.y.slice(at, begin, begin + extent).copy_from(x);
    } else if (bytes > 0) {
      const auto* from = static_cast<const std::byte*>(x.raw());
      std::byte* to = y + begin * inner;
      // A task copies several blocks, or a part of one.
      constexpr std::int64_t kTask = 1 << 16;
      const std::int64_t blocks = std::max<std::int64_t>(1, kTask / bytes),
                         parts = (bytes + kTask - 1) / kTask;
      parallel_for((outer + blocks - 1) / blocks * parts, [&](std::int64_t task) {
        const std::int64_t first = task / parts * blocks, part = task % parts * kTask;
        const auto size = static_cast<std::size_t>(std::min(kTask, bytes - part));
        for (std::int64_t o = first; o < std::min(outer, first + blocks); ++o)
          std::memcpy(to + o * y_step + part, from + o * bytes + part, size);
      });
    }
    begin += extent;
  }
}

Concat::In<Expr> Concat::vjp(const In<Expr>& in, const Out<Expr>&, const Out<Expr>& d) const {
  const std::int64_t at = normalize_axis(name, axis, d.y.rank());
  In<Expr> gradients;
  std::int64_t begin = 0;
  for (const Expr& x : in.xs) {
    const std::int64_t end = begin + x.shape()[at];
    gradients.xs.push_back(slice(d.y, {.axis = at, .start = begin, .end = end}));
    begin = end;
  }
  return gradients;
}

std::vector<Sample<Concat>> Concat::samples() {
  return {{{}, {{arg::normal({2, 3}), arg::normal({1, 3})}}},
          {{.axis = -1}, {{arg::normal({2, 3}), arg::normal({2, 0}), arg::normal({2, 1})}}},
          {{.axis = 1}, {{arg::normal({2, 1, 2}), arg::normal({2, 2, 2})}}},
          {{}, {{arg::normal({4})}}, "one input"},
          {{.axis = 1}, {{arg::normal({0, 2}), arg::normal({0, 1})}}, "nothing"},
          {{}, {{arg::integers({2}, 0, 9), arg::integers({3}, 0, 9)}}, "i64"},
          {{}, {{arg::bernoulli({2}), arg::bernoulli({3})}}, "bool"}};
}

std::vector<Reject<Concat>> Concat::rejects() {
  return {{{}, {{arg::normal({2, 3}), arg::normal({2, 4})}}, "must be equal except at axis 0"},
          {{}, {{arg::normal({2, 3}), arg::normal({3})}}, "must be equal except at axis 0"},
          {{}, {{arg::normal({2}), arg::integers({2}, 0, 9)}}, "equal dtypes"},
          {{.axis = 2}, {{arg::normal({2, 3})}}, "axis 2 at rank 2"},
          {{}, {{arg::normal({})}}, "a scalar has no axes"},
          {{}, {}, "at least one"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Unslice);
FOVEA_DEFINE_OP(fovea::Concat);
