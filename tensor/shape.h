// Extents of a tensor's axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fovea {

/// The size of one axis, and perhaps the name that a model gives it (`length=16`). It converts to
/// and from an integer; copies keep the name, arithmetic drops it, comparisons ignore it.
class Extent {
 public:
  constexpr Extent(std::int64_t value = 0) : value_(value) {}
  Extent(std::int64_t value, std::string_view name);

  constexpr operator std::int64_t() const { return value_; }
  constexpr std::int64_t value() const { return value_; }
  /// Empty when it has none.
  std::string_view name() const { return name_ ? std::string_view(*name_) : std::string_view(); }

 private:
  std::int64_t value_;
  const std::string* name_ = nullptr;  // interned for the life of the process
};

/// The highest rank of a shape, so that loops keep their state in fixed memory.
inline constexpr std::int64_t kMostAxes = 64;

/// Extents from the outermost axis to the innermost; rank 0 is a scalar.
class Shape {
 public:
  Shape() = default;
  /// Throws Error if there are more than kMostAxes extents, if one is negative, or if the product
  /// of those that are not 0, times 8 bytes, passes 63 bits.
  Shape(std::initializer_list<Extent> extents);
  explicit Shape(std::vector<Extent> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  std::int64_t rank() const { return static_cast<std::int64_t>(extents_.size()); }
  /// Number of elements.
  std::int64_t numel() const { return numel_; }
  /// `axis` in [0, rank), or counted from the end in [-rank, 0): not checked, see `normalize_axis`.
  const Extent& operator[](std::int64_t axis) const {
    return extents_[static_cast<std::size_t>(axis < 0 ? axis + rank() : axis)];
  }
  std::span<const Extent> extents() const { return extents_; }
  auto begin() const { return extents_.begin(); }
  auto end() const { return extents_.end(); }

  /// This shape with one extent replaced, inserted before `axis`, or removed.
  Shape with(std::int64_t axis, Extent extent) const;
  Shape inserted(std::int64_t axis, Extent extent) const;
  Shape without(std::int64_t axis) const;

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::vector<Extent> extents_;
  std::int64_t numel_ = 1;
};

/// `(batch=2, length=16, 64)`, `(3,)`, `()`.
std::string to_string(const Shape& shape);

/// The shape that both broadcast to by NumPy's rule; `where` names the caller in the Error if there
/// is none.
Shape broadcast_shapes(std::string_view where, const Shape& a, const Shape& b);
/// Whether NumPy broadcasts `from` to exactly `to`.
bool broadcasts_to(const Shape& from, const Shape& to);

/// `axis`, or `axis + rank` when negative. Throws Error, naming `where`, outside [-rank, rank).
std::int64_t normalize_axis(std::string_view where, std::int64_t axis, std::int64_t rank);

/// Row-major strides, in elements.
std::vector<std::int64_t> contiguous_strides(const Shape& shape);

/// a · b, or Error naming `where` when it passes 63 bits; both are at least 0.
std::int64_t checked_product(std::string_view where, std::int64_t a, std::int64_t b);

}  // namespace fovea
