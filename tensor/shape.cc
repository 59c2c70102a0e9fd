#include "fovea/tensor/shape.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_set>

#include "fovea/tensor/format.h"
#include "fovea/tensor/strided.h"

namespace fovea {

namespace {

const std::string* interned(std::string_view text) {
  static std::mutex mutex;
  static auto* names =
      new std::unordered_set<std::string>();  // never destroyed: extents may outlive it
  const std::lock_guard lock(mutex);
  return &*names->emplace(text).first;
}

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

std::string text_of(std::span<const Extent> extents) {
  std::string text;
  for (const Extent& extent : extents) {
    if (!text.empty()) text += ", ";
    if (!extent.name().empty()) text += format("{}=", extent.name());
    text += format("{}", extent);
  }
  return "(" + text + (extents.size() == 1 ? ",)" : ")");
}

std::int64_t checked_numel(std::span<const Extent> extents) {
  if (std::ssize(extents) > kMostAxes) {
    fail("shape", "{} axes; at most {} are possible", extents.size(), kMostAxes);
  }
  std::int64_t product = 1;
  bool empty = false;
  for (const Extent& extent : extents) {
    if (extent < 0) {
      fail("shape", "{} has the extent {}; extents are 0 or more", text_of(extents), extent);
    }
    empty |= extent == 0;
    if (extent == 0) continue;
    if (product > kLargest / 8 / extent) {
      fail("shape", "{} has too many elements; their bytes must fit in 63 bits", text_of(extents));
    }
    product *= extent;
  }
  return empty ? 0 : product;
}

}  // namespace

Extent::Extent(std::int64_t value, std::string_view name)
    : value_(value), name_(name.empty() ? nullptr : interned(name)) {}

Shape::Shape(std::initializer_list<Extent> extents) : Shape(std::vector<Extent>(extents)) {}

Shape::Shape(std::vector<Extent> extents)
    : extents_(std::move(extents)), numel_(checked_numel(extents_)) {}

Shape::Shape(std::span<const std::int64_t> extents)
    : Shape(std::vector<Extent>(extents.begin(), extents.end())) {}

Shape Shape::with(std::int64_t axis, Extent extent) const {
  std::vector<Extent> extents = extents_;
  extents[static_cast<std::size_t>(axis < 0 ? axis + rank() : axis)] = extent;
  return Shape(std::move(extents));
}

Shape Shape::inserted(std::int64_t axis, Extent extent) const {
  std::vector<Extent> extents = extents_;
  extents.insert(extents.begin() + axis, extent);
  return Shape(std::move(extents));
}

Shape Shape::without(std::int64_t axis) const {
  std::vector<Extent> extents = extents_;
  extents.erase(extents.begin() + (axis < 0 ? axis + rank() : axis));
  return Shape(std::move(extents));
}

bool operator==(const Shape& a, const Shape& b) {
  return std::ranges::equal(a.extents_, b.extents_, [](const Extent& x, const Extent& y) {
    return x.value() == y.value();
  });
}

std::string to_string(const Shape& shape) { return text_of({shape.begin(), shape.end()}); }

Shape broadcast_shapes(std::string_view where, const Shape& a, const Shape& b) {
  const std::int64_t rank = std::max(a.rank(), b.rank());
  std::vector<Extent> extents(static_cast<std::size_t>(rank));
  for (std::int64_t i = 1; i <= rank; ++i) {
    const Extent x = i <= a.rank() ? a[-i] : Extent(1);
    const Extent y = i <= b.rank() ? b[-i] : Extent(1);
    if (x != y && x != 1 && y != 1) {
      fail(where,
           "{} and {} do not broadcast: extents {} and {} at axis {}; equal or 1 is required", a, b,
           x, y, -i);
    }
    const bool from_y = x != y ? x == 1 : x.name().empty();
    extents[static_cast<std::size_t>(rank - i)] = from_y ? y : x;
  }
  return Shape(std::move(extents));
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.rank() > to.rank()) return false;
  for (std::int64_t i = 1; i <= from.rank(); ++i) {
    if (from[-i] != to[-i] && from[-i] != 1) return false;
  }
  return true;
}

std::int64_t normalize_axis(std::string_view where, std::int64_t axis, std::int64_t rank) {
  if (axis < -rank || axis >= rank) {
    if (rank == 0) fail(where, "axis {} of a scalar; a scalar has no axes", axis);
    fail(where, "axis {} at rank {}; {} to {} are required", axis, rank, -rank, rank - 1);
  }
  return axis < 0 ? axis + rank : axis;
}

std::vector<std::int64_t> contiguous_strides(const Shape& shape) {
  std::vector<std::int64_t> strides(static_cast<std::size_t>(shape.rank()));
  std::int64_t stride = 1;
  for (std::size_t axis = strides.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= std::max<std::int64_t>(1, shape[static_cast<std::int64_t>(axis)]);
  }
  return strides;
}

std::int64_t checked_product(std::string_view where, std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    fail(where, "{} times {} passes 63 bits", a, b);
  }
  return product;
}

SliceRange slice_range(std::string_view where, std::int64_t extent,
                       std::optional<std::int64_t> start, std::optional<std::int64_t> end,
                       std::int64_t step) {
  if (step == 0) fail(where, "step 0; a step is not 0");
  // As Python's slice.indices: positions a forward walk may stand at are [0, extent], a backward
  // walk's
  // [-1, extent - 1].
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? extent : extent - 1;
  const auto clip = [&](std::int64_t position) {
    if (position < 0) position = position < -extent ? low : position + extent;
    return std::clamp(position, low, high);
  };
  const std::int64_t first = start ? clip(*start) : (step > 0 ? low : high);
  const std::int64_t last = end ? clip(*end) : (step > 0 ? high : low);
  const std::int64_t distance = step > 0 ? last - first : first - last;
  if (distance <= 0) return {};
  const std::uint64_t stride =
      step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  return {first,
          static_cast<std::int64_t>((static_cast<std::uint64_t>(distance) - 1) / stride + 1)};
}

}  // namespace fovea
