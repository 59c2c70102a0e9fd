#include "fovea/ops/split.h"

#include <algorithm>

#include "fovea/ops/define.h"
#include "fovea/ops/movement.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

std::vector<Extent> equal_parts(const Shape& x, std::int64_t axis, const Extent& parts) {
  const std::int64_t extent = x[axis];
  if (parts < 1 || extent % parts != 0) {
    fail(Split::name, "{} parts of x {} along axis {}; a divisor of its extent {} is required",
         parts, x, axis, extent);
  }
  // Parts of nothing are many without end.
  constexpr std::int64_t kMost = 1 << 20;
  if (parts > kMost) fail(Split::name, "{} parts; at most {} are possible", parts, kMost);
  return std::vector<Extent>(static_cast<std::size_t>(parts.value()), extent / parts);
}

// The extents of the pieces.
std::vector<Extent> extents_of(const Split& op, const Shape& x, std::int64_t axis) {
  if (op.parts.has_value() != op.sizes.empty()) {
    fail(op.name, "{}; exactly one of them is required",
         op.parts ? "both sizes and parts" : "neither sizes nor parts");
  }
  if (op.parts) return equal_parts(x, axis, *op.parts);
  std::vector<Extent> extents = op.sizes;
  const auto refuse = [&](std::string_view what) {
    fail(op.name, "sizes [{}] for x {} along axis {}: {}", fmt::join(op.sizes, ", "), x, axis,
         what);
  };
  const auto is_rest = [](const Extent& extent) { return extent == -1 && extent.name().empty(); };
  const auto rest = std::ranges::find_if(extents, is_rest);
  std::int64_t known = 0;
  for (auto at = extents.begin(); at != extents.end(); ++at) {
    if (at == rest) continue;
    if (is_rest(*at)) refuse("-1 twice; one may be the rest");
    if (*at < 0) refuse(format("a size of {}; sizes are 0 or more, but one may be -1", *at));
    if (__builtin_add_overflow(known, at->value(), &known)) refuse("together over 63 bits");
  }
  if (rest != extents.end() && known <= x[axis]) {
    *rest = x[axis] - known;
  } else if (known != x[axis]) {
    refuse(format("together {}; the extent is {}", known, x[axis]));
  }
  return extents;
}

}  // namespace

Ys<TensorSpec> Split::infer(const In<TensorSpec>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.shape.rank());
  Out<TensorSpec> out;
  for (const Extent& extent : extents_of(*this, in.x.shape, at)) {
    out.ys.push_back({in.x.dtype, in.x.shape.with(at, extent)});
  }
  return out;
}

// A piece without a cotangent gives zeros.
Split::In<Expr> Split::vjp(const In<Expr>&, const Out<Expr>& out, const Out<Expr>& d) const {
  std::vector<Expr> pieces = d.ys;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i]) continue;
    const Shape& shape = out.ys[i].shape();
    pieces[i] =
        broadcast_to(constant(out.ys[i].dtype(), 0), {.shape = {shape.begin(), shape.end()}});
  }
  return {concat(std::move(pieces), {.axis = axis})};
}

Ys<Expr> Split::decomposition(const In<Expr>& in) const {
  const std::int64_t at = normalize_axis(name, axis, in.x.rank());
  Out<Expr> out;
  std::int64_t begin = 0;
  for (const Extent& extent : extents_of(*this, in.x.shape(), at)) {
    out.ys.push_back(slice(in.x, {.axis = at, .start = begin, .end = begin + extent}));
    begin += extent;
  }
  return out;
}

std::vector<Sample<Split>> Split::samples() {
  return {{{.sizes = {1, 3}}, {arg::normal({4, 3})}},
          {{.axis = -1, .sizes = {2, -1, 0}}, {arg::normal({2, 5})}, "the rest, and nothing"},
          {{.axis = 1, .parts = 3}, {arg::normal({2, 6, 2})}},
          {{.parts = 1}, {arg::normal({3})}, "one piece"},
          {{.axis = 1, .sizes = {1, 1}}, {arg::normal({0, 2})}, "no rows"},
          {{.parts = 2}, {arg::integers({4}, -9, 9)}, "i64"},
          {{.sizes = {1, 2}}, {arg::bernoulli({3, 2})}, "bool"}};
}

std::vector<Reject<Split>> Split::rejects() {
  return {{{.sizes = {1, 2}},
           {arg::normal({4, 3})},
           "sizes [1, 2] for x (4, 3) along axis 0: together 3; the extent is 4"},
          {{.sizes = {5, -1}}, {arg::normal({4, 3})}, "together 5; the extent is 4"},
          {{.sizes = {-1, -1}}, {arg::normal({4, 3})}, "-1 twice"},
          {{.sizes = {-2, 6}}, {arg::normal({4, 3})}, "a size of -2"},
          {{.parts = 3},
           {arg::normal({4, 3})},
           "3 parts of x (4, 3) along axis 0; a divisor of its extent 4 is required"},
          {{.parts = 0}, {arg::normal({4, 3})}, "0 parts"},
          {{}, {arg::normal({4})}, "neither sizes nor parts"},
          {{.sizes = {4}, .parts = 1}, {arg::normal({4})}, "both sizes and parts"},
          {{.axis = 2, .parts = 1}, {arg::normal({4, 3})}, "axis 2 at rank 2"},
          {{.parts = 1}, {arg::normal({})}, "a scalar has no axes"}};
}

}  // namespace fovea

FOVEA_DEFINE_OP(fovea::Split);
