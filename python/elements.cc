#include "fovea/python/elements.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

namespace fovea::python {

namespace {

struct Half {
  std::uint16_t bits;
  operator float() const { return from_f16(bits); }
};
struct Brain {
  std::uint16_t bits;
  operator float() const { return from_bf16(bits); }
};
struct Truth {  // any byte but 0 is true
  std::uint8_t bits;
  operator bool() const { return bits != 0; }
};

struct Row {
  std::string_view name;
  std::size_t size;
};
constexpr std::array<Row, 13> kRows{{{"float32", 4},
                                     {"float64", 8},
                                     {"float16", 2},
                                     {"bfloat16", 2},
                                     {"bool", 1},
                                     {"int8", 1},
                                     {"int16", 2},
                                     {"int32", 4},
                                     {"int64", 8},
                                     {"uint8", 1},
                                     {"uint16", 2},
                                     {"uint32", 4},
                                     {"uint64", 8}}};

template <class F>
void visit_element(Element element, const F& f) {
  switch (element) {
    case Element::f32:
      return f(std::type_identity<float>{});
    case Element::f64:
      return f(std::type_identity<double>{});
    case Element::f16:
      return f(std::type_identity<Half>{});
    case Element::bf16:
      return f(std::type_identity<Brain>{});
    case Element::boolean:
      return f(std::type_identity<Truth>{});
    case Element::i8:
      return f(std::type_identity<std::int8_t>{});
    case Element::i16:
      return f(std::type_identity<std::int16_t>{});
    case Element::i32:
      return f(std::type_identity<std::int32_t>{});
    case Element::i64:
      return f(std::type_identity<std::int64_t>{});
    case Element::u8:
      return f(std::type_identity<std::uint8_t>{});
    case Element::u16:
      return f(std::type_identity<std::uint16_t>{});
    case Element::u32:
      return f(std::type_identity<std::uint32_t>{});
    case Element::u64:
      return f(std::type_identity<std::uint64_t>{});
  }
}

// Calls visit(offset in bytes) for each innermost row.
template <class Visit>
void for_each_row(const RawArray& array, const Visit& visit) {
  const std::size_t outer = array.shape.empty() ? 0 : array.shape.size() - 1;
  std::vector<std::int64_t> index(outer);
  std::int64_t offset = 0;
  for (;;) {
    visit(offset);
    std::size_t axis = outer;
    for (; axis > 0; --axis) {
      const std::size_t a = axis - 1;
      offset += array.strides[a];
      if (++index[a] < array.shape[a]) break;
      offset -= array.shape[a] * array.strides[a];
      index[a] = 0;
    }
    if (axis == 0) return;
  }
}

template <class To, class From>
void convert_rows(const RawArray& array, To* to) {
  const bool scalar = array.shape.empty();
  const std::int64_t n = scalar ? 1 : array.shape.back();
  const std::int64_t stride = scalar ? 0 : array.strides.back();
  for_each_row(array, [&](std::int64_t offset) {
    const std::byte* from = array.data + offset;
    for (std::int64_t i = 0; i < n; ++i, from += stride) {
      From x;
      std::memcpy(&x, from, sizeof x);
      if constexpr (std::is_same_v<From, Half> || std::is_same_v<From, Brain>) {
        *to++ = static_cast<To>(static_cast<float>(x));
      } else {
        *to++ = static_cast<To>(x);
      }
    }
  });
}

template <class From, class Convert>
void store_rows(const From* from, const RawArray& array, std::byte* to, const Convert& convert) {
  const bool scalar = array.shape.empty();
  const std::int64_t n = scalar ? 1 : array.shape.back();
  const std::int64_t stride = scalar ? 0 : array.strides.back();
  for_each_row(array, [&](std::int64_t offset) {
    for (std::int64_t i = 0; i < n; ++i) {
      const auto x = convert(*from++);
      std::memcpy(to + offset + i * stride, &x, sizeof x);
    }
  });
}

// Whether every byte of a bool array is 0 or 1, as C++ requires of a bool.
bool proper_truth(RawArray array) {
  if (std::ranges::count(array.shape, 0) != 0) return true;
  std::vector<std::int64_t> shape, strides;  // of the axes that reach other bytes
  for (std::size_t a = 0; a < array.shape.size(); ++a) {
    if (array.shape[a] == 1 || array.strides[a] == 0) continue;
    shape.push_back(array.shape[a]);
    strides.push_back(array.strides[a]);
  }
  array.shape = shape, array.strides = strides;
  const std::int64_t n = shape.empty() ? 1 : shape.back();
  const std::int64_t stride = shape.empty() ? 1 : strides.back();
  std::uint64_t all = 0;
  for_each_row(array, [&](std::int64_t offset) {
    const std::byte* from = array.data + offset;
    std::int64_t i = 0;
    for (; stride == 1 && i + 8 <= n; i += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, from + i, sizeof eight);
      all |= eight;
    }
    for (; i < n; ++i) all |= static_cast<std::uint64_t>(from[i * stride]);
  });
  return (all & ~0x0101010101010101u) == 0;
}

// Calls mostly see the same few layouts again: these are kept, so that another view of one
// allocates nothing.
class RecentLayouts {
 public:
  std::optional<Tensor> find(const RawArray& array, bool writable) const {
    for (const Entry& entry : entries_) {
      if (entry.tensor && entry.element == array.element && entry.writable == writable &&
          std::ranges::equal(entry.shape, array.shape) &&
          std::ranges::equal(entry.strides, array.strides)) {
        return entry.tensor;
      }
    }
    return {};
  }

  void add(const RawArray& array, bool writable, const Tensor& tensor) {
    Entry& entry = entries_[next_++ % entries_.size()];
    entry = {.element = array.element,
             .writable = writable,
             .shape = {array.shape.begin(), array.shape.end()},
             .strides = {array.strides.begin(), array.strides.end()},
             .tensor = tensor};
    entry.tensor.rebind(nullptr);
  }

 private:
  struct Entry {
    Element element = Element::f32;
    bool writable = false;
    std::vector<std::int64_t> shape, strides;
    Tensor tensor;
  };
  std::array<Entry, 8> entries_;
  std::size_t next_ = 0;
};

}  // namespace

std::string_view name_of(Element element) { return kRows[static_cast<std::size_t>(element)].name; }
std::size_t size_of(Element element) { return kRows[static_cast<std::size_t>(element)].size; }

std::optional<DType> same_dtype(Element element) {
  switch (element) {
    case Element::f32:
      return f32;
    case Element::f64:
      return f64;
    case Element::i64:
      return i64;
    case Element::boolean:
      return boolean;
    default:
      return {};
  }
}

float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0) {  // fraction · 2⁻²⁴
    const float x = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -x : x;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

std::uint16_t to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | (magnitude >> 13 & 0x1ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else {  // adding 1/2 leaves |x| · 2²⁴, rounded by the addition, in the lowest bits
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  }
  return static_cast<std::uint16_t>(sign | half);
}

std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

std::optional<Tensor> viewed(const RawArray& array, bool writable) {
  const auto size = static_cast<std::uintptr_t>(size_of(array.element));
  if (!same_dtype(array.element) || reinterpret_cast<std::uintptr_t>(array.data) % size != 0) {
    return {};
  }
  if (array.element == Element::boolean && !writable && !proper_truth(array)) return {};
  thread_local RecentLayouts recent;
  auto* data = const_cast<std::byte*>(array.data);
  if (std::optional<Tensor> tensor = recent.find(array, writable); tensor && data != nullptr) {
    tensor->rebind(data);
    return tensor;
  }
  Strides strides(array.strides.begin(), array.strides.end());
  for (std::int64_t& stride : strides) {
    if (stride % static_cast<std::int64_t>(size) != 0) return {};
    stride /= static_cast<std::int64_t>(size);
  }
  const DType dtype = *same_dtype(array.element);
  const Shape shape(array.shape);
  const Tensor tensor =
      writable ? Tensor::borrow(static_cast<void*>(data), dtype, shape, std::move(strides))
               : Tensor::borrow(static_cast<const void*>(data), dtype, shape, std::move(strides));
  recent.add(array, writable, tensor);
  return tensor;
}

Tensor converted(const RawArray& array, DType dtype) {
  Tensor result = Tensor::empty(dtype, Shape(array.shape));
  if (result.numel() == 0) return result;
  visit_dtype(dtype, [&]<class To>(std::type_identity<To>) {
    visit_element(array.element, [&]<class From>(std::type_identity<From>) {
      convert_rows<To, From>(array, result.mutable_data<To>());
    });
  });
  return result;
}

void store(const Tensor& source, const RawArray& to) {
  if (source.numel() == 0) return;
  const Tensor dense = source.contiguous();
  auto* data = const_cast<std::byte*>(to.data);
  if (dense.dtype() == f64) {
    store_rows(dense.data<double>(), to, data, [](double x) { return x; });
  } else if (to.element == Element::f16) {
    store_rows(dense.data<float>(), to, data, to_f16);
  } else if (to.element == Element::bf16) {
    store_rows(dense.data<float>(), to, data, to_bf16);
  } else {
    store_rows(dense.data<float>(), to, data, [](float x) { return x; });
  }
}

}  // namespace fovea::python
