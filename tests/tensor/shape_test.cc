#include "fovea/tensor/shape.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "fovea/tensor/dtype.h"
#include "fovea/tensor/strided.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

TEST_CASE("shape: extents, names and text") {
  const Shape shape{Extent(2, "batch"), 3, Extent(64, "width")};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 384);
  CHECK(shape[-1] == 64);
  CHECK(shape[-1].name() == "width");
  CHECK(to_string(shape) == "(batch=2, 3, width=64)");
  CHECK(to_string(Shape{3}) == "(3,)");
  CHECK(to_string(Shape{}) == "()");
  CHECK(Shape{}.numel() == 1);
  CHECK(shape == Shape{2, 3, 64});
  CHECK(shape != Shape{2, 3});
  CHECK(shape != Shape{2, 3, 65});
}

TEST_CASE("shape: with, inserted, without") {
  const Shape shape{2, 3, 4};
  CHECK(shape.with(-1, 7) == Shape{2, 3, 7});
  CHECK(shape.inserted(0, 7) == Shape{7, 2, 3, 4});
  CHECK(shape.inserted(3, 7) == Shape{2, 3, 4, 7});
  CHECK(shape.without(1) == Shape{2, 4});
  CHECK(shape.without(-3) == Shape{3, 4});
}

TEST_CASE("shape: products are checked") {
  CHECK(Shape{std::int64_t{1} << 30, (std::int64_t{1} << 30) - 1}.numel() > 0);
  CHECK(contains(error_of([] {
                   Shape({std::int64_t{1} << 30, std::int64_t{1} << 30});
                 }),
                 "(1073741824, 1073741824) has too many elements"));
  CHECK_THROWS_AS(Shape({kLargest}), Error);
  CHECK_THROWS_AS(Shape({kLargest, 2}), Error);
  CHECK(Shape{kLargest / 8, 0}.numel() == 0);
  // Also where an extent is 0: strides are products of the others.
  CHECK_THROWS_AS(Shape({0, kLargest / 8, 2}), Error);
  CHECK(contains(error_of([] { Shape({2, -1}); }), "has the extent -1; extents are 0 or more"));
  CHECK(checked_product("here", kLargest / 2, 2) == kLargest - 1);
  CHECK(error_of([] { checked_product("here", kLargest, 2); }) ==
        "here: 9223372036854775807 times 2 passes 63 bits");
}

TEST_CASE("shape: at most 64 axes") {
  const std::vector<Extent> most(std::size_t{64}, Extent(1));
  CHECK(Shape(most).rank() == 64);
  CHECK(
      contains(error_of([&] { Shape(most).inserted(0, 1); }), "65 axes; at most 64 are possible"));
}

TEST_CASE("shape: broadcasting") {
  CHECK(broadcast_shapes("f", {2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast_shapes("f", {}, {3}) == Shape{3});
  CHECK(broadcast_shapes("f", {1}, {0}) == Shape{0});
  CHECK(broadcast_shapes("f", {Extent(2, "a"), 1}, {1, Extent(3, "b")})[1].name() == "b");
  CHECK(error_of([] {
          broadcast_shapes("add", {2, 3}, {4, 3});
        }) ==
        "add: (2, 3) and (4, 3) do not broadcast: extents 2 and 4 at axis -2; equal or 1 is "
        "required");
  CHECK_THROWS_AS(broadcast_shapes("f", {0}, {2}), Error);
  CHECK(broadcasts_to({1, 3}, {5, 2, 3}));
  CHECK(broadcasts_to({}, {5}));
  CHECK(broadcasts_to({1}, {0}));
  CHECK_FALSE(broadcasts_to({0}, {1}));
  CHECK_FALSE(broadcasts_to({5, 1}, {1}));
  CHECK_FALSE(broadcasts_to({2}, {3}));
}

TEST_CASE("shape: axes") {
  CHECK(normalize_axis("f", -1, 3) == 2);
  CHECK(normalize_axis("f", 2, 3) == 2);
  CHECK(error_of([] { normalize_axis("sum", 3, 3); }) ==
        "sum: axis 3 at rank 3; -3 to 2 are required");
  CHECK_THROWS_AS(normalize_axis("f", -4, 3), Error);
  CHECK_THROWS_AS(normalize_axis("f", std::numeric_limits<std::int64_t>::min(), 3), Error);
  CHECK(contains(error_of([] { normalize_axis("f", 0, 0); }), "a scalar has no axes"));
}

TEST_CASE("shape: row-major strides") {
  CHECK(contiguous_strides({2, 3, 4}) == std::vector<std::int64_t>{12, 4, 1});
  CHECK(contiguous_strides({}).empty());
  CHECK(contiguous_strides({2, 0, 4}) == std::vector<std::int64_t>{4, 4, 1});
}

// What Python's range does with slice.indices, for every small case.
TEST_CASE("slice_range: as Python") {
  using Position = std::optional<std::int64_t>;
  std::vector<Position> positions{{}, kLargest, -kLargest - 1};
  for (std::int64_t i = -6; i <= 6; ++i) positions.push_back(i);
  std::int64_t checked = 0;
  for (std::int64_t extent = 0; extent <= 4; ++extent) {
    for (Position start : positions) {
      for (Position end : positions) {
        for (std::int64_t step :
             {-kLargest - 1, std::int64_t{-3}, std::int64_t{-2}, std::int64_t{-1}, std::int64_t{1},
              std::int64_t{2}, std::int64_t{3}, kLargest}) {
          const auto place = [&](Position p, std::int64_t none) {
            if (!p) return none;
            const std::int64_t at = *p < 0 ? std::max<std::int64_t>(*p, -100) + extent : *p;
            return step > 0 ? std::clamp<std::int64_t>(at, 0, extent)
                            : std::clamp<std::int64_t>(at, -1, extent - 1);
          };
          const std::int64_t first = place(start, step > 0 ? 0 : extent - 1);
          const std::int64_t last = place(end, step > 0 ? extent : -1);
          const std::int64_t small = std::clamp<std::int64_t>(step, -100, 100);
          std::int64_t count = 0;
          for (std::int64_t i = first; small > 0 ? i < last : i > last; i += small) ++count;
          const SliceRange range = slice_range("slice", extent, start, end, step);
          CHECK(range.count == count);
          if (count > 0) CHECK(range.start == first);
          ++checked;
        }
      }
    }
  }
  CHECK(checked == 5 * 16 * 16 * 8);
  CHECK(error_of([] { slice_range("slice", 3, {}, {}, 0); }) == "slice: step 0; a step is not 0");
}

TEST_CASE("error: text, places and candidates") {
  const Error error("matmul", "a and b; equal is required");
  CHECK(std::string(error.what()) == "matmul: a and b; equal is required");
  CHECK(std::string(error.at("m.json:1:2").what()) ==
        "m.json:1:2: matmul: a and b; equal is required");
  CHECK(std::string(error.at("first").at("second").what()).starts_with("first: "));
  CHECK(did_you_mean("vv", {"v", "value"}) == "; did you mean \"v\"?");
  CHECK(did_you_mean("sofmtax", {"softmax", "sum"}) == "; did you mean \"softmax\"?");
  CHECK(did_you_mean("Softmax", {"softmax", "softmin"}) == "; did you mean \"softmax\"?");
  CHECK(did_you_mean("permute", {"mul", "transpose"}) == "; did you mean \"transpose\"?");
  CHECK(did_you_mean("dim", {"axes", "keep_dims"}) == "; did you mean \"axes\"?");
  CHECK(did_you_mean("xavier", {"ones", "xavier_uniform"}) == "; did you mean \"xavier_uniform\"?");
  CHECK(did_you_mean("weight", {"bias", "encoder.weight"}) == "; did you mean \"encoder.weight\"?");
  CHECK(did_you_mean("permute", {"mul", "add"}).empty());
  CHECK(did_you_mean("ei", {"encoder.ei", "ei_x"}).empty());
  CHECK(did_you_mean("something", {"v"}).empty());
  CHECK(did_you_mean("x", {"v"}).empty());
  CHECK(fovea::quoted("a\"b\n") == "\"a\\\"b\\x0a\"");
  CHECK(fovea::quoted(std::string(100, 'x')) == "\"" + std::string(80, 'x') + "…\"");
  // 79 letters and a character of two bytes, of which only one would fit.
  CHECK(fovea::quoted(std::string(79, 'x') + "ää") == "\"" + std::string(79, 'x') + "…\"");
}

TEST_CASE("dtype: names") {
  for (DType dtype : {f32, f64, i64, boolean}) CHECK(dtype_named(name_of(dtype)) == dtype);
  CHECK(name_of(boolean) == "bool");
  CHECK_FALSE(dtype_named("i32"));
  CHECK_FALSE(dtype_named(""));
}

}  // namespace
}  // namespace fovea
