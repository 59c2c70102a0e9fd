// Numbers in memory: a strided view of shared storage.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/dtype.h"
#include "fovea/tensor/error.h"
#include "fovea/tensor/shape.h"

namespace fovea {

using Strides =
    std::vector<std::int64_t>;  ///< in elements, one for each axis; may be 0 or negative

/// A typed, strided view of memory that it shares with its copies: copying a Tensor copies no
/// elements.
///
/// A default-constructed Tensor is null: `if (t)` is false, and only assignment, `defined()` and
/// destruction are allowed. Reading from several threads is safe; writing is as for plain memory.
class Tensor {
 public:
  Tensor() = default;

  /// New, 64-byte aligned, row-major memory with unspecified elements. Throws Error if it cannot be
  /// had.
  static Tensor empty(DType dtype, const Shape& shape);
  static Tensor zeros(DType dtype, const Shape& shape);
  /// Every element `value`, converted to `dtype`.
  static Tensor full(DType dtype, const Shape& shape, double value);
  /// Rank 0.
  static Tensor scalar(DType dtype, double value);
  /// Copies `values` (row-major). Throws Error unless there are exactly shape.numel() of them.
  template <Element T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <Element T>
  static Tensor from(std::initializer_list<T> values, const Shape& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }
  template <Element T>
  static Tensor from(const std::vector<T>& values, const Shape& shape);

  /// A view of memory that somebody else owns. `strides` in elements, row-major when left out;
  /// `owner` is kept alive as long as any view of it. Throws Error if `data` is null though there
  /// are elements, if it is not aligned for `dtype`, if the number of strides is not the rank, or
  /// if they reach further than 63 bits. A view of const memory refuses `mutable_data`.
  static Tensor borrow(void* data, DType dtype, const Shape& shape,
                       std::optional<Strides> strides = {}, std::shared_ptr<void> owner = {});
  static Tensor borrow(const void* data, DType dtype, const Shape& shape,
                       std::optional<Strides> strides = {}, std::shared_ptr<void> owner = {});

  bool defined() const { return defined_; }
  explicit operator bool() const { return defined_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return layout_->shape; }
  std::int64_t rank() const { return shape().rank(); }
  std::int64_t numel() const { return shape().numel(); }
  /// Of the elements, were they contiguous.
  std::size_t nbytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  const Strides& strides() const { return layout_->strides; }
  bool is_writable() const { return writable_; }
  /// Row-major without gaps. Axes of extent 1 do not count, nor do tensors without elements.
  bool is_contiguous() const;
  /// Whether the two may share an element's memory (exact for contiguous tensors, cautious for
  /// others).
  bool overlaps(const Tensor& other) const;

  /// The first element. Throws Error if T is not the dtype, or (`mutable_data`) if the memory is
  /// read-only.
  template <Element T>
  const T* data() const;
  template <Element T>
  T* mutable_data() const;
  const void* raw() const { return data_; }
  void* mutable_raw() const;

  /// The element at `index`, checked: rank, range, dtype.
  template <Element T>
  T at(std::initializer_list<std::int64_t> index) const;
  /// The only element as a number, whatever the dtype. Throws Error unless numel() is 1.
  double item() const;
  /// All elements in row-major order.
  template <Element T>
  std::vector<T> to_vector() const;

  // Views: same memory, no copy. Each throws Error where NumPy would.
  /// Axis i of the result is axis perm[i]; negative entries count from the end.
  Tensor transpose(std::span<const std::int64_t> perm) const;
  Tensor transpose(std::initializer_list<std::int64_t> perm) const {
    return transpose(std::span(perm.begin(), perm.size()));
  }
  /// Elements start, start + step, … before end (after, for a negative step) of `axis`, as in
  /// NumPy: negative positions count from the end, positions outside are clipped, `step` is not 0.
  Tensor slice(std::int64_t axis, std::optional<std::int64_t> start,
               std::optional<std::int64_t> end = {}, std::int64_t step = 1) const;
  /// One position of `axis`, which disappears.
  Tensor select(std::int64_t axis, std::int64_t index) const;
  Tensor broadcast_to(const Shape& shape) const;
  /// The same elements in row-major order; a view where strides allow, else nothing.
  std::optional<Tensor> reshape_view(const Shape& shape) const;

  /// A view where strides allow, else a copy.
  Tensor reshape(const Shape& shape) const;
  /// This tensor if it is contiguous, else a copy that is.
  Tensor contiguous() const;
  /// New memory with the same elements.
  Tensor copy() const;
  /// New memory, elements converted as by C++ (to bool: not zero; a float outside i64's range or
  /// NaN gives 0).
  Tensor astype(DType dtype) const;
  /// Writes `source`'s elements, as they were before, into this tensor's memory: the two may
  /// overlap. Throws Error unless shapes and dtypes are equal.
  void copy_from(const Tensor& source) const;

  /// This memory, not to be written through the result.
  Tensor read_only() const;
  /// Points this view at other memory of the same layout, which it does not own. For plans, which
  /// prepare views once.
  void rebind(void* data) { data_ = data; }
  /// Same memory, dtype and numel; shape and strides given. For code that has checked them (plans,
  /// ops).
  Tensor as_strided(const Shape& shape, Strides strides, std::int64_t offset = 0) const;

 private:
  struct Layout {
    Shape shape;
    Strides strides;
  };
  static const std::shared_ptr<const Layout>& scalar_layout();
  void set_layout(const Shape& shape, Strides strides);

  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
  std::shared_ptr<const Layout> layout_ =
      scalar_layout();  // shared, so that copies allocate nothing
  DType dtype_ = f32;
  bool defined_ = false;
  bool writable_ = true;
};

/// A shape and dtype without the numbers.
struct TensorSpec {
  DType dtype = f32;
  Shape shape;

  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};
inline TensorSpec spec_of(const Tensor& t) { return {t.dtype(), t.shape()}; }
/// `f32 (2, 3)`.
std::string to_string(const TensorSpec& spec);

/// Same dtype, shape and bits (NaN equals itself, 0 differs from -0); or both are null.
bool equal_bits(const Tensor& a, const Tensor& b);

/// How `print` shortens and rounds; NumPy's defaults.
struct PrintOptions {
  int precision = 8;
  std::int64_t threshold = 1000;  ///< more elements than this are summarised
  std::int64_t edge_items = 3;
  int line_width = 75;
};
/// The elements as `numpy.array_str` prints them.
std::string to_string(const Tensor& tensor, const PrintOptions& options = {});

}  // namespace fovea
