#include "fovea/tensor/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "fovea/tensor/random.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

using Index = std::vector<std::int64_t>;

Tensor iota(const Shape& shape) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), std::int64_t{0});
  return Tensor::from(values, shape);
}

// All indices of a shape in row-major order.
std::vector<Index> indices(const Index& shape) {
  std::vector<Index> all{{}};
  for (std::int64_t extent : shape) {
    std::vector<Index> longer;
    for (const Index& index : all) {
      for (std::int64_t i = 0; i < extent; ++i) {
        longer.push_back(index);
        longer.back().push_back(i);
      }
    }
    all = std::move(longer);
  }
  return all;
}

// A view said as plain index arithmetic: for each element, the number of the base's element.
struct Model {
  Index shape, elements;

  std::int64_t at(const Index& index) const {
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < shape.size(); ++i) offset = offset * shape[i] + index[i];
    return elements[static_cast<std::size_t>(offset)];
  }

  // The model of `shape` whose element `index` is this one's element `map(index)`.
  template <class Map>
  Model mapped(const Index& new_shape, const Map& map) const {
    Model result{new_shape, {}};
    for (const Index& index : indices(new_shape)) result.elements.push_back(at(map(index)));
    return result;
  }
};

// Small numbers from a fixed sequence.
class Choices {
 public:
  explicit Choices(std::uint64_t seed)
      : values_(random_integers({64}, 0, 1 << 30, {seed, 7}).to_vector<std::int64_t>()) {}
  std::int64_t below(std::int64_t n) { return values_[at_++ % values_.size()] % n; }
  std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }

 private:
  std::vector<std::int64_t> values_;
  std::size_t at_ = 0;
};

void random_step(Choices& choices, Tensor& view, Model& model) {
  const auto rank = static_cast<std::int64_t>(model.shape.size());
  const std::int64_t kind = choices.below(4);
  if (kind == 0) {
    Index perm(model.shape.size());
    std::iota(perm.begin(), perm.end(), std::int64_t{0});
    for (std::size_t i = perm.size(); i > 1; --i) {
      std::swap(perm[i - 1],
                perm[static_cast<std::size_t>(choices.below(static_cast<std::int64_t>(i)))]);
    }
    Index shape, given;
    for (std::int64_t axis : perm) {
      shape.push_back(model.shape[static_cast<std::size_t>(axis)]);
      given.push_back(choices.below(2) == 0 ? axis : axis - rank);
    }
    model = model.mapped(shape, [&](const Index& index) {
      Index source(index.size());
      for (std::size_t i = 0; i < perm.size(); ++i) {
        source[static_cast<std::size_t>(perm[i])] = index[i];
      }
      return source;
    });
    view = view.transpose(given);
  } else if (kind == 1 && rank > 0) {
    const auto axis = static_cast<std::size_t>(choices.below(rank));
    const std::int64_t extent = model.shape[axis];
    const std::int64_t step = choices.between(1, 3) * (choices.below(2) == 0 ? 1 : -1);
    // A forward or backward walk between two positions inside.
    const std::int64_t a = choices.between(0, extent), b = choices.between(0, extent);
    std::vector<std::int64_t> positions;
    if (step > 0) {
      for (std::int64_t i = a; i < b; i += step) positions.push_back(i);
    } else {
      for (std::int64_t i = b - 1; i >= a; i += step) positions.push_back(i);
    }
    Index shape = model.shape;
    shape[axis] = static_cast<std::int64_t>(positions.size());
    model = model.mapped(shape, [&](Index index) {
      index[axis] = positions[static_cast<std::size_t>(index[axis])];
      return index;
    });
    const auto given_axis = static_cast<std::int64_t>(axis);
    if (step > 0) {
      view = view.slice(given_axis - rank, a, b, step);
    } else if (b == 0) {
      view = view.slice(given_axis, 0, 0, step);
    } else {
      view = view.slice(given_axis, b - 1, a == 0 ? std::nullopt : std::optional(a - 1), step);
    }
  } else if (kind == 2 && rank > 0) {
    const auto axis = static_cast<std::size_t>(choices.below(rank));
    if (model.shape[axis] == 0) return;
    const std::int64_t position = choices.below(model.shape[axis]);
    Index shape = model.shape;
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
    const std::int64_t extent = model.shape[axis];
    model = model.mapped(shape, [&](Index index) {
      index.insert(index.begin() + static_cast<std::ptrdiff_t>(axis), position);
      return index;
    });
    view = view.select(static_cast<std::int64_t>(axis),
                       choices.below(2) == 0 ? position : position - extent);
  } else if (kind == 3 && rank < 5) {
    Index shape = model.shape;
    for (std::int64_t& extent : shape) {
      if (extent == 1) extent = choices.between(0, 3);
    }
    shape.insert(shape.begin(), choices.between(1, 2));
    model = model.mapped(shape, [&](Index index) {
      index.erase(index.begin());
      for (std::size_t i = 0; i < index.size(); ++i) {
        if (model.shape[i] == 1) index[i] = 0;
      }
      return index;
    });
    view = view.broadcast_to(Shape(std::span<const std::int64_t>(shape)));
  }
}

TEST_CASE("tensor: chains of views are index arithmetic") {
  const std::vector<Shape> bases{{4, 3, 5}, {7}, {2, 1, 3, 1}, {}, {3, 0, 2}, {1, 1, 6}};
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    const Shape& base = bases[seed % bases.size()];
    Choices choices(seed);
    Tensor view = iota(base);
    Model model{Index(base.begin(), base.end()), view.to_vector<std::int64_t>()};
    for (int step = 0; step < 4; ++step) random_step(choices, view, model);
    INFO("seed ", seed);
    const Index shape(view.shape().begin(), view.shape().end());
    REQUIRE(shape == model.shape);
    CHECK(view.to_vector<std::int64_t>() == model.elements);
    CHECK(view.copy().is_contiguous());
    CHECK(equal_bits(view.copy(), view));
    CHECK(equal_bits(view.contiguous(), view));
    CHECK(view.astype(f64).to_vector<double>() ==
          std::vector<double>(model.elements.begin(), model.elements.end()));

    // A reshape has the same elements in the same order, as a view or as a copy.
    for (const Shape& target :
         {Shape{view.numel()}, Shape{1, view.numel(), 1},
          view.numel() % 2 == 0 ? Shape{2, view.numel() / 2} : Shape{view.numel(), 1},
          view.numel() % 3 == 0 ? Shape{view.numel() / 3, 3} : Shape{1, view.numel()}}) {
      CHECK(view.reshape(target).to_vector<std::int64_t>() == model.elements);
      if (const auto same_memory = view.reshape_view(target)) {
        CHECK(same_memory->to_vector<std::int64_t>() == model.elements);
        if (view.numel() > 0) CHECK(same_memory->raw() == view.raw());
      }
    }

    // Writing through a view into memory of its own writes each element.
    const Tensor target = iota(view.shape());
    const Tensor strided = Tensor::zeros(i64, view.shape().inserted(view.rank(), 2)).select(-1, 1);
    strided.copy_from(view);
    target.copy_from(view);
    CHECK(equal_bits(strided, view));
    CHECK(equal_bits(target, view));
  }
}

TEST_CASE("tensor: large copies, which are made in pieces") {
  for (const Shape& shape : {Shape{20, 30, 51}, Shape{3, 1, 40000}, Shape{40000, 3}}) {
    const Tensor x = iota(shape);
    for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
      // The axis goes to the end, by a copy from and by one into such memory.
      std::vector<std::int64_t> perm, inverse(static_cast<std::size_t>(shape.rank()));
      for (std::int64_t i = 0; i < shape.rank(); ++i) {
        if (i != axis) perm.push_back(i);
      }
      perm.push_back(axis);
      for (std::size_t i = 0; i < perm.size(); ++i)
        inverse[static_cast<std::size_t>(perm[i])] = static_cast<std::int64_t>(i);
      const Tensor view = x.transpose(perm);
      const Tensor copy = Tensor::zeros(i64, view.shape());
      copy.copy_from(view);
      std::vector<std::int64_t> expected = view.to_vector<std::int64_t>();
      CHECK(copy.to_vector<std::int64_t>() == expected);
      const Tensor back = Tensor::zeros(i64, view.shape());
      back.transpose(inverse).copy_from(x);
      CHECK(back.to_vector<std::int64_t>() == expected);
    }
  }
}

TEST_CASE("tensor: reshapes that are views, and those that cannot be") {
  const Tensor t = iota({4, 6});
  CHECK(t.reshape_view({2, 2, 3, 2}));
  CHECK(t.transpose({1, 0}).reshape_view({3, 2, 4}));
  CHECK(t.transpose({1, 0}).reshape_view({6, 2, 2}));
  CHECK_FALSE(t.transpose({1, 0}).reshape_view({24}));
  CHECK(t.slice(0, {}, {}, -1).reshape_view({2, 2, 6}));
  CHECK_FALSE(t.slice(0, {}, {}, -1).reshape_view({24}));
  CHECK(t.slice(1, 0, 3).reshape_view({4, 1, 3, 1}));
  CHECK_FALSE(t.slice(1, 0, 3).reshape_view({12}));
  CHECK(Tensor::scalar(f32, 1).broadcast_to({4, 6}).reshape_view({24}));
  CHECK(contains(error_of([&] { t.reshape({5, 5}); }), "(4, 6) to (5, 5): 24 and 25 elements"));
}

TEST_CASE("tensor: refused views") {
  const Tensor t = iota({2, 3});
  CHECK(contains(error_of([&] { t.transpose({0}); }), "perm [0] for shape (2, 3)"));
  CHECK(contains(error_of([&] { t.transpose({0, 0}); }), "names axis 0 twice"));
  CHECK(contains(error_of([&] { t.transpose({0, -2}); }), "names axis 0 twice"));
  CHECK(contains(error_of([&] { t.transpose({0, 2}); }), "axis 2 at rank 2"));
  CHECK(contains(error_of([&] { t.slice(2, 0); }), "slice: axis 2 at rank 2"));
  CHECK(contains(error_of([&] { t.slice(0, 0, 1, 0); }), "step 0"));
  CHECK(contains(error_of([&] { t.select(1, 3); }), "index 3 at axis 1 of (2, 3); -3 to 2"));
  CHECK(contains(error_of([&] { t.select(1, -4); }), "index -4"));
  CHECK(contains(error_of([&] { t.broadcast_to({2, 6}); }), "(2, 3) to (2, 6)"));
  CHECK(contains(error_of([&] { t.broadcast_to({3}); }), "(2, 3) to (3,)"));
}

TEST_CASE("tensor: creation, conversion and access") {
  CHECK(reinterpret_cast<std::uintptr_t>(Tensor::empty(f32, {3}).raw()) % 64 == 0);
  CHECK(Tensor::zeros(f64, {2, 2}).to_vector<double>() == std::vector<double>(4, 0.0));
  CHECK(Tensor::full(f32, {3}, 0.1).to_vector<float>() == std::vector<float>(3, 0.1f));
  CHECK(Tensor::full(boolean, {2}, 0.5).to_vector<bool>() == std::vector<bool>(2, true));
  CHECK(Tensor::scalar(i64, -3).item() == -3);
  const Tensor t = Tensor::from<double>({1.9, -1.9, std::nan(""), 1e300, -HUGE_VAL, 0}, {6});
  CHECK(t.astype(i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, -1, 0, 0, 0, 0});
  CHECK(t.astype(boolean).to_vector<bool>() ==
        std::vector<bool>{true, true, true, true, true, false});
  CHECK(iota({2, 3}).at<std::int64_t>({1, -1}) == 5);
  CHECK(contains(error_of([] { iota({2, 3}).at<std::int64_t>({2, 0}); }), "index 2 at axis 0"));
  CHECK(contains(error_of([] { iota({2, 3}).at<std::int64_t>({0}); }), "1 indices"));
  CHECK(contains(error_of([] { iota({2, 3}).at<double>({0, 0}); }), "are i64, but f64"));
  CHECK(contains(error_of([] { iota({2}).data<float>(); }), "are i64, but f32"));
  CHECK(contains(error_of([] { iota({2}).item(); }), "exactly one element"));
  CHECK(contains(error_of([] { Tensor::from<float>({1, 2}, {3}); }), "2 values for shape (3,)"));
  CHECK_THROWS_AS(Tensor::from(std::vector<bool>{true}, {2}), Error);
  CHECK(to_string(spec_of(t)) == "f64 (6,)");
}

// The sanitizer's allocator ends the program instead of failing.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE("tensor: memory that cannot be had is an Error") {
  CHECK(contains(error_of([] { Tensor::empty(f64, {std::int64_t{1} << 59}); }),
                 "takes 4611686018427387904 bytes, which cannot be had"));
}
#endif

TEST_CASE("tensor: a null tensor is refused, not followed") {
  const Tensor null;
  CHECK_FALSE(null);
  CHECK_THROWS_AS(null.data<float>(), Error);
  CHECK_THROWS_AS(null.copy(), Error);
  CHECK_THROWS_AS(null.item(), Error);
  CHECK_THROWS_AS(null.copy_from(Tensor::scalar(f32, 1)), Error);
  CHECK_THROWS_AS(Tensor::scalar(f32, 1).copy_from(null), Error);
  CHECK(equal_bits(null, Tensor()));
  CHECK_FALSE(equal_bits(null, Tensor::scalar(f32, 0)));
}

TEST_CASE("borrow: strides, owner, read-only memory") {
  std::vector<float> memory{0, 1, 2, 3, 4, 5};
  const Tensor t = Tensor::borrow(memory.data() + 5, f32, {2, 3}, Strides{-1, -2});
  CHECK(t.to_vector<float>() == std::vector<float>{5, 3, 1, 4, 2, 0});
  CHECK(t.is_writable());
  t.copy_from(Tensor::zeros(f32, {2, 3}));
  CHECK(memory == std::vector<float>(6, 0.0f));

  auto owner = std::make_shared<std::vector<double>>(4, 2.5);
  const std::weak_ptr<std::vector<double>> watched = owner;
  {
    Tensor view;
    {
      const Tensor whole = Tensor::borrow(owner->data(), f64, {4}, {}, owner);
      owner.reset();
      view = whole.slice(0, 1, 3);
    }
    CHECK_FALSE(watched.expired());
    CHECK(view.to_vector<double>() == std::vector<double>(2, 2.5));
  }
  CHECK(watched.expired());

  const std::vector<float> constant(6, 1.0f);
  const Tensor fixed = Tensor::borrow(constant.data(), f32, {6});
  CHECK_FALSE(fixed.is_writable());
  CHECK_FALSE(fixed.reshape({2, 3}).select(0, 1).is_writable());
  CHECK(contains(error_of([&] { fixed.mutable_data<float>(); }), "read-only memory"));
  CHECK_THROWS_AS(fixed.copy_from(Tensor::zeros(f32, {6})), Error);
  CHECK(fixed.copy().is_writable());
  CHECK_FALSE(fixed.copy().read_only().is_writable());
}

TEST_CASE("borrow: refusals") {
  std::vector<double> memory(4);
  void* none = nullptr;
  auto* bytes = reinterpret_cast<std::byte*>(memory.data());
  CHECK(contains(error_of([&] { Tensor::borrow(none, f32, {1}); }), "a null pointer"));
  CHECK(Tensor::borrow(none, f32, {0, 3}).transpose({1, 0}).slice(0, 1, 2).numel() == 0);
  CHECK(contains(error_of([&] { Tensor::borrow(static_cast<void*>(bytes + 4), f64, {1}); }),
                 "not aligned to 8 bytes"));
  CHECK(contains(error_of([&] {
                   Tensor::borrow(static_cast<void*>(bytes), f64, {2, 2}, Strides{1});
                 }),
                 "1 strides for shape (2, 2)"));
  for (const Strides& strides : {Strides{std::numeric_limits<std::int64_t>::max() / 8 + 1, 1},
                                 Strides{std::numeric_limits<std::int64_t>::min(), 1},
                                 Strides{std::numeric_limits<std::int64_t>::max() / 8, 2}}) {
    CHECK(contains(error_of([&] {
                     Tensor::borrow(static_cast<void*>(bytes), f64, {2, 2}, strides);
                   }),
                   "further than 63 bits"));
  }
  // A stride that is never taken may be anything.
  const Tensor t = Tensor::borrow(static_cast<void*>(bytes), f64, {1, 4},
                                  Strides{std::numeric_limits<std::int64_t>::max(), 1});
  CHECK(t.is_contiguous());
  CHECK(t.slice(0, {}, {}, -5).copy().numel() == 4);
}

TEST_CASE("copy_from: memory that overlaps") {
  const Tensor t = iota({6});
  t.copy_from(t.slice(0, {}, {}, -1));
  CHECK(t.to_vector<std::int64_t>() == std::vector<std::int64_t>{5, 4, 3, 2, 1, 0});
  t.slice(0, 1).copy_from(t.slice(0, 0, 5));
  CHECK(t.to_vector<std::int64_t>() == std::vector<std::int64_t>{5, 5, 4, 3, 2, 1});
  t.copy_from(t);
  CHECK(t.at<std::int64_t>({5}) == 1);
  CHECK(contains(error_of([&] { t.copy_from(t.astype(f32)); }), "f32 (6,) into i64 (6,)"));
  CHECK_THROWS_AS(t.copy_from(t.reshape({2, 3})), Error);
}

TEST_CASE("overlaps") {
  const Tensor t = iota({4, 6});
  CHECK(t.overlaps(t));
  CHECK(t.overlaps(t.select(0, 3)));
  CHECK_FALSE(t.select(0, 2).overlaps(t.select(0, 3)));
  CHECK_FALSE(t.slice(0, 0, 2).overlaps(t.slice(0, 2, 4)));
  CHECK(t.slice(0, {}, {}, -1).overlaps(t.select(0, 0)));
  CHECK_FALSE(t.overlaps(t.copy()));
  CHECK_FALSE(t.overlaps(t.slice(0, 0, 0)));
  CHECK_FALSE(t.overlaps(Tensor()));
}

TEST_CASE("is_contiguous") {
  const Tensor t = iota({4, 1, 6});
  CHECK(t.is_contiguous());
  CHECK(t.transpose({1, 0, 2}).is_contiguous());
  CHECK_FALSE(t.transpose({2, 1, 0}).is_contiguous());
  CHECK(t.slice(0, 1, 3).is_contiguous());
  CHECK_FALSE(t.slice(2, 0, 5).is_contiguous());
  CHECK(t.slice(2, 0, 0).is_contiguous());
  CHECK_FALSE(t.broadcast_to({4, 2, 6}).is_contiguous());
}

TEST_CASE("equal_bits") {
  const Tensor t = Tensor::from<double>({0, 1, std::nan("")}, {3});
  CHECK(equal_bits(t, t.copy()));
  CHECK(equal_bits(t, t.slice(0, {}, {}, -1).copy().slice(0, {}, {}, -1)));
  CHECK_FALSE(equal_bits(t, Tensor::from<double>({-0.0, 1, std::nan("")}, {3})));
  CHECK_FALSE(equal_bits(t, Tensor::from<double>({0, 2, std::nan("")}, {3})));
  CHECK_FALSE(equal_bits(t, t.astype(f32)));
  CHECK_FALSE(equal_bits(t, t.reshape({1, 3})));
  CHECK(equal_bits(Tensor::zeros(f32, {0, 2}), Tensor::zeros(f32, {0, 2})));
}

}  // namespace
}  // namespace fovea
