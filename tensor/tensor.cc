#include "fovea/tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "fovea/tensor/convert.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/memory_range.h"
#include "fovea/tensor/parallel.h"
#include "fovea/tensor/strided.h"

namespace fovea {

namespace {

constexpr std::size_t kAlignment = 64;

// Copies elements row-major from `source` to row-major memory of type To.
template <class To, class From>
void copy_elements(const Tensor& source, To* out) {
  const auto* in = static_cast<const From*>(source.raw());
  if (source.is_contiguous()) {
    if constexpr (std::same_as<To, From>) {
      if (source.numel() > 0) std::memcpy(out, in, source.nbytes());
    } else {
      std::transform(in, in + source.numel(), out, convert<To, From>);
    }
    return;
  }
  for_each_row(source.shape(), source.strides(),
               [&](std::int64_t offset, std::int64_t n, std::int64_t stride) {
                 for (std::int64_t i = 0; i < n; ++i)
                   *out++ = convert<To, From>(in[offset + i * stride]);
               });
}

// Copies elements between memory of any strides, in parallel where there are many.
template <class T>
void copy_strided(const Shape& shape, const T* in, const Strides& in_strides, T* out,
                  const Strides& out_strides) {
  constexpr std::int64_t kTaskElements = (std::int64_t{1} << 16) / sizeof(T);
  if (shape.numel() == 0) return;
  const std::int64_t length = detail::row_length(shape), rows = shape.numel() / length;
  const std::int64_t block = std::max<std::int64_t>(1, kTaskElements / length);
  const std::int64_t in_stride = in_strides.empty() ? 1 : in_strides.back(),
                     out_stride = out_strides.empty() ? 1 : out_strides.back();
  parallel_for((rows + block - 1) / block, [&](std::int64_t task) {
    detail::visit_rows<2>(shape, {&in_strides, &out_strides}, task * block,
                          std::min(rows, (task + 1) * block),
                          [&](const auto& offsets, std::int64_t n) {
                            const T* from = in + offsets[0];
                            T* to = out + offsets[1];
                            if (in_stride == 1 && out_stride == 1) {
                              std::copy_n(from, n, to);
                            } else {
                              for (std::int64_t i = 0; i < n; ++i)
                                to[i * out_stride] = from[i * in_stride];
                            }
                          });
  });
}

// Whether all offsets of elements, in bytes, fit in 63 bits.
bool reach_fits(const Shape& shape, const Strides& strides, std::size_t element_size) {
  std::int64_t low = 0, high = 0;
  if (shape.numel() == 0) return true;
  for (std::size_t axis = 0; axis < strides.size(); ++axis) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(shape[static_cast<std::int64_t>(axis)] - 1, strides[axis], &reach) ||
        __builtin_mul_overflow(reach, static_cast<std::int64_t>(element_size), &reach) ||
        __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high)) {
      return false;
    }
  }
  return true;
}

void require_defined(std::string_view where, const Tensor& t) {
  if (!t.defined()) fail(where, "a null tensor has no elements; assign one first");
}

template <class T>
void require_dtype(const Tensor& t) {
  require_defined("tensor", t);
  if (t.dtype() != dtype_of<T>) {
    fail("tensor", "elements are {}, but {} was asked for", t.dtype(), dtype_of<T>);
  }
}

}  // namespace

const std::shared_ptr<const Tensor::Layout>& Tensor::scalar_layout() {
  static const auto* layout = new std::shared_ptr<const Layout>(std::make_shared<const Layout>());
  return *layout;
}

void Tensor::set_layout(const Shape& shape, Strides strides) {
  layout_ = std::make_shared<const Layout>(Layout{shape, std::move(strides)});
}

Tensor Tensor::empty(DType dtype, const Shape& shape) {
  Tensor t;
  t.set_layout(shape, contiguous_strides(shape));
  t.dtype_ = dtype;
  t.defined_ = true;
  const std::size_t bytes = std::max(t.nbytes(), std::size_t{1});
  void* memory = ::operator new(bytes, std::align_val_t(kAlignment), std::nothrow);
  if (memory == nullptr) {
    fail("tensor", "{} {} takes {} bytes, which cannot be had", dtype, shape, t.nbytes());
  }
  t.owner_ = std::shared_ptr<void>(
      memory, [](void* p) { ::operator delete(p, std::align_val_t(kAlignment)); });
  t.data_ = memory;
  return t;
}

Tensor Tensor::zeros(DType dtype, const Shape& shape) {
  Tensor t = empty(dtype, shape);
  std::memset(t.data_, 0, t.nbytes());
  return t;
}

Tensor Tensor::full(DType dtype, const Shape& shape, double value) {
  Tensor t = empty(dtype, shape);
  visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
    std::fill_n(static_cast<T*>(t.data_), t.numel(), convert<T>(value));
  });
  return t;
}

Tensor Tensor::scalar(DType dtype, double value) { return full(dtype, {}, value); }

template <Element T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
    fail("tensor", "{} values for shape {}; {} are required", values.size(), shape, shape.numel());
  }
  Tensor t = empty(dtype_of<T>, shape);
  std::copy(values.begin(), values.end(), static_cast<T*>(t.data_));
  return t;
}

template <Element T>
Tensor Tensor::from(const std::vector<T>& values, const Shape& shape) {
  if constexpr (std::same_as<T, bool>) {
    if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
      fail("tensor", "{} values for shape {}; {} are required", values.size(), shape,
           shape.numel());
    }
    Tensor t = empty(boolean, shape);
    std::copy(values.begin(), values.end(), static_cast<bool*>(t.data_));
    return t;
  } else {
    return from(std::span<const T>(values), shape);
  }
}

Tensor Tensor::borrow(void* data, DType dtype, const Shape& shape, std::optional<Strides> strides,
                      std::shared_ptr<void> owner) {
  if (data == nullptr && shape.numel() > 0) {
    fail("borrow", "a null pointer for {} {}; memory with {} elements is required", dtype, shape,
         shape.numel());
  }
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) != 0) {
    fail("borrow", "memory for {} {} is not aligned to {} bytes; copy it first", dtype, shape,
         size_of(dtype));
  }
  if (strides && static_cast<std::int64_t>(strides->size()) != shape.rank()) {
    fail("borrow", "{} strides for shape {}; {} are required", strides->size(), shape,
         shape.rank());
  }
  if (strides && !reach_fits(shape, *strides, size_of(dtype))) {
    fail("borrow", "strides {} for {} {} reach further than 63 bits", fmt::format("{}", *strides),
         dtype, shape);
  }
  Tensor t;
  t.owner_ = std::move(owner);
  t.data_ = data;
  t.set_layout(shape, strides ? *std::move(strides) : contiguous_strides(shape));
  t.dtype_ = dtype;
  t.defined_ = true;
  return t;
}

Tensor Tensor::borrow(const void* data, DType dtype, const Shape& shape,
                      std::optional<Strides> strides, std::shared_ptr<void> owner) {
  Tensor t = borrow(const_cast<void*>(data), dtype, shape, std::move(strides), std::move(owner));
  t.writable_ = false;
  return t;
}

bool Tensor::is_contiguous() const {
  if (numel() == 0) return true;
  std::int64_t stride = 1;
  for (std::int64_t axis = rank(); axis-- > 0;) {
    if (layout_->shape[axis] == 1) continue;
    if (layout_->strides[static_cast<std::size_t>(axis)] != stride) return false;
    stride *= layout_->shape[axis];
  }
  return true;
}

bool Tensor::overlaps(const Tensor& other) const {
  const detail::MemoryRange x = detail::memory_range(*this), y = detail::memory_range(other);
  return x.begin < y.end && y.begin < x.end;
}

template <Element T>
const T* Tensor::data() const {
  require_dtype<T>(*this);
  return static_cast<const T*>(data_);
}

template <Element T>
T* Tensor::mutable_data() const {
  require_dtype<T>(*this);
  return static_cast<T*>(mutable_raw());
}

void* Tensor::mutable_raw() const {
  if (!writable_)
    fail("tensor", "{} {} is read-only memory; copy it to write", dtype_, layout_->shape);
  return data_;
}

template <Element T>
T Tensor::at(std::initializer_list<std::int64_t> index) const {
  require_dtype<T>(*this);
  if (static_cast<std::int64_t>(index.size()) != rank()) {
    fail("tensor", "{} indices for shape {}; {} are required", index.size(), layout_->shape,
         rank());
  }
  std::int64_t offset = 0, axis = 0;
  for (std::int64_t i : index) {
    if (i < -layout_->shape[axis] || i >= layout_->shape[axis]) {
      fail("tensor", "index {} at axis {} of shape {}; it is out of range", i, axis,
           layout_->shape);
    }
    offset +=
        (i < 0 ? i + layout_->shape[axis] : i) * layout_->strides[static_cast<std::size_t>(axis)];
    ++axis;
  }
  return static_cast<const T*>(data_)[offset];
}

double Tensor::item() const {
  if (!defined_ || numel() != 1) {
    fail("item", "a tensor of shape {}; exactly one element is required", layout_->shape);
  }
  return visit_dtype(dtype_, [&]<class T>(std::type_identity<T>) {
    return static_cast<double>(*static_cast<const T*>(data_));
  });
}

template <Element T>
std::vector<T> Tensor::to_vector() const {
  require_dtype<T>(*this);
  const Tensor flat = contiguous();
  const auto* begin = static_cast<const T*>(flat.data_);
  return std::vector<T>(begin, begin + numel());
}

Tensor Tensor::transpose(std::span<const std::int64_t> perm) const {
  if (static_cast<std::int64_t>(perm.size()) != rank()) {
    fail("transpose", "perm {} for shape {}; {} axes are required", fmt::format("{}", perm),
         layout_->shape, rank());
  }
  std::vector<Extent> extents;
  Strides strides;
  std::vector<bool> seen(perm.size());
  for (std::int64_t entry : perm) {
    const auto axis = static_cast<std::size_t>(normalize_axis("transpose", entry, rank()));
    if (seen[axis]) fail("transpose", "perm {} names axis {} twice", fmt::format("{}", perm), axis);
    seen[axis] = true;
    extents.push_back(layout_->shape[static_cast<std::int64_t>(axis)]);
    strides.push_back(layout_->strides[axis]);
  }
  return as_strided(Shape(std::move(extents)), std::move(strides));
}

Tensor Tensor::slice(std::int64_t axis, std::optional<std::int64_t> start,
                     std::optional<std::int64_t> end, std::int64_t step) const {
  axis = normalize_axis("slice", axis, rank());
  const SliceRange range = slice_range("slice", layout_->shape[axis], start, end, step);
  Strides strides = layout_->strides;
  const std::int64_t stride = strides[static_cast<std::size_t>(axis)];
  // With one element or none the step does not matter and might overflow.
  strides[static_cast<std::size_t>(axis)] = range.count > 1 ? stride * step : stride;
  return as_strided(layout_->shape.with(axis, range.count), std::move(strides),
                    range.count > 0 ? range.start * stride : 0);
}

Tensor Tensor::select(std::int64_t axis, std::int64_t index) const {
  axis = normalize_axis("select", axis, rank());
  const std::int64_t extent = layout_->shape[axis];
  if (index < -extent || index >= extent) {
    fail("select", "index {} at axis {} of {}; {} to {} are required", index, axis, layout_->shape,
         -extent, extent - 1);
  }
  Strides strides = layout_->strides;
  strides.erase(strides.begin() + axis);
  return as_strided(
      layout_->shape.without(axis), std::move(strides),
      (index < 0 ? index + extent : index) * layout_->strides[static_cast<std::size_t>(axis)]);
}

Tensor Tensor::broadcast_to(const Shape& shape) const {
  if (!broadcasts_to(layout_->shape, shape)) {
    fail("broadcast_to", "{} to {}; aligned to the right, extents must be equal or 1",
         layout_->shape, shape);
  }
  Strides strides(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 1; i <= rank(); ++i) {
    if (layout_->shape[-i] == shape[-i]) {
      strides[static_cast<std::size_t>(shape.rank() - i)] =
          layout_->strides[static_cast<std::size_t>(rank() - i)];
    }
  }
  return as_strided(shape, std::move(strides));
}

std::optional<Tensor> Tensor::reshape_view(const Shape& shape) const {
  if (shape.numel() != numel()) {
    fail("reshape", "{} to {}: {} and {} elements; the numbers must be equal", layout_->shape,
         shape, numel(), shape.numel());
  }
  if (numel() == 0 || is_contiguous()) return as_strided(shape, contiguous_strides(shape));
  // Match runs of axes of equal size; inside a run the old axes must lie behind each other.
  Strides strides(static_cast<std::size_t>(shape.rank()));
  std::int64_t old_axis = 0, new_axis = 0;
  while (old_axis < rank() || new_axis < shape.rank()) {
    const std::int64_t old_begin = old_axis, new_begin = new_axis;
    std::int64_t old_size = old_axis < rank() ? layout_->shape[old_axis++].value() : 1;
    std::int64_t new_size = new_axis < shape.rank() ? shape[new_axis++].value() : 1;
    while (old_size != new_size) {
      if (old_size < new_size) {
        old_size *= layout_->shape[old_axis++];
      } else {
        new_size *= shape[new_axis++];
      }
    }
    std::int64_t stride = 1, expected = 0;
    bool first = true;
    for (std::int64_t axis = old_axis; axis-- > old_begin;) {
      if (layout_->shape[axis] == 1) continue;
      const std::int64_t given = layout_->strides[static_cast<std::size_t>(axis)];
      if (first) {
        stride = given;
        first = false;
      } else if (given != expected) {
        return std::nullopt;
      }
      expected = given * layout_->shape[axis];
    }
    for (std::int64_t axis = new_axis; axis-- > new_begin;) {
      strides[static_cast<std::size_t>(axis)] = stride;
      stride *= shape[axis];
    }
  }
  return as_strided(shape, std::move(strides));
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (std::optional<Tensor> view = reshape_view(shape)) return *std::move(view);
  Tensor t = copy();
  t.set_layout(shape, contiguous_strides(shape));
  return t;
}

Tensor Tensor::contiguous() const {
  if (!is_contiguous()) return copy();
  // Axes of extent 1, and tensors without elements, may still have other strides.
  std::int64_t stride = 1;
  for (std::int64_t axis = rank(); axis-- > 0;) {
    if (layout_->strides[static_cast<std::size_t>(axis)] != stride) {
      return as_strided(layout_->shape, contiguous_strides(layout_->shape));
    }
    stride *= std::max<std::int64_t>(1, layout_->shape[axis]);
  }
  return *this;
}

Tensor Tensor::copy() const { return astype(dtype_); }

Tensor Tensor::astype(DType dtype) const {
  require_defined("tensor", *this);
  Tensor t = empty(dtype, layout_->shape);
  visit_dtype(dtype, [&]<class To>(std::type_identity<To>) {
    visit_dtype(dtype_, [&]<class From>(std::type_identity<From>) {
      copy_elements<To, From>(*this, static_cast<To*>(t.data_));
    });
  });
  return t;
}

void Tensor::copy_from(const Tensor& source) const {
  require_defined("copy_from", *this);
  require_defined("copy_from", source);
  if (source.dtype_ != dtype_ || source.shape() != layout_->shape) {
    fail("copy_from", "{} into {}; shapes and dtypes must be equal", to_string(spec_of(source)),
         to_string(spec_of(*this)));
  }
  void* memory = mutable_raw();
  if (overlaps(source)) {
    if (data_ == source.data_ && strides() == source.strides()) return;
    return copy_from(source.copy());
  }
  visit_dtype(dtype_, [&]<class T>(std::type_identity<T>) {
    auto* out = static_cast<T*>(memory);
    if (is_contiguous() && source.is_contiguous()) {
      copy_elements<T, T>(source, out);
    } else {
      copy_strided(layout_->shape, static_cast<const T*>(source.data_), source.strides(), out,
                   layout_->strides);
    }
  });
}

Tensor Tensor::read_only() const {
  Tensor t = *this;
  t.writable_ = false;
  return t;
}

Tensor Tensor::as_strided(const Shape& shape, Strides strides, std::int64_t offset) const {
  Tensor t = *this;
  t.set_layout(shape, std::move(strides));
  if (t.data_ != nullptr && shape.numel() > 0) {
    t.data_ =
        static_cast<std::byte*>(t.data_) + offset * static_cast<std::int64_t>(size_of(dtype_));
  }
  return t;
}

std::string to_string(const TensorSpec& spec) { return format("{} {}", spec.dtype, spec.shape); }

bool equal_bits(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  return visit_dtype(a.dtype(), [&]<class T>(std::type_identity<T>) {
    bool equal = true;
    const auto *x = static_cast<const T*>(a.raw()), *y = static_cast<const T*>(b.raw());
    for_each_row(a.shape(), a.strides(), b.strides(),
                 [&](std::int64_t i, std::int64_t j, std::int64_t n, std::int64_t i_stride,
                     std::int64_t j_stride) {
                   for (std::int64_t k = 0; equal && k < n; ++k) {
                     const T &p = x[i + k * i_stride], &q = y[j + k * j_stride];
                     equal = std::memcmp(&p, &q, sizeof(T)) == 0 || (p != p && q != q);
                   }
                 });
    return equal;
  });
}

#define FOVEA_INSTANTIATE(T)                                            \
  template Tensor Tensor::from<T>(std::span<const T>, const Shape&);    \
  template Tensor Tensor::from<T>(const std::vector<T>&, const Shape&); \
  template const T* Tensor::data<T>() const;                            \
  template T* Tensor::mutable_data<T>() const;                          \
  template T Tensor::at<T>(std::initializer_list<std::int64_t>) const;  \
  template std::vector<T> Tensor::to_vector<T>() const;
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
FOVEA_INSTANTIATE(std::int64_t)
FOVEA_INSTANTIATE(bool)
#undef FOVEA_INSTANTIATE

}  // namespace fovea
