#include "fovea/tensor/npy.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

// A file of the given version whose header is `dict`, padded as NumPy does.
std::string npy(std::string dict, std::string_view elements, int version = 1) {
  const std::size_t start = version == 1 ? 10 : 12;
  dict.append(63 - (start + dict.size()) % 64, ' ');
  dict += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  return bytes + little_endian(dict.size(), version == 1 ? 2 : 4) + dict + std::string(elements);
}

std::string dict(std::string_view descr, std::string_view shape, bool fortran = false) {
  return "{'descr': '" + std::string(descr) +
         "', 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + std::string(shape) + ", }";
}

Tensor load(std::string_view bytes) {
  const Scratch scratch;
  return load_npy(scratch.put("x.npy", bytes));
}

std::string load_error(std::string_view bytes) {
  return error_of([&] { load(bytes); });
}

const std::string kInt = dict("<i8", "(2,)");
const std::string kTwo = little_endian(5, 8) + little_endian(~std::uint64_t{0}, 8);

TEST_CASE("npy: versions 1 to 3") {
  for (int version : {1, 2, 3}) {
    CHECK(equal_bits(load(npy(kInt, kTwo, version)), Tensor::from<std::int64_t>({5, -1}, {2})));
  }
}

TEST_CASE("npy: dtypes, widened where needed") {
  CHECK(equal_bits(load(npy(dict("<f4", "()"), unhex("0000c03f"))), Tensor::scalar(f32, 1.5)));
  CHECK(equal_bits(load(npy(dict("<f8", "(1,)"), unhex("000000000000f8bf"))),
                   Tensor::from<double>({-1.5}, {1})));
  CHECK(equal_bits(load(npy(dict("|b1", "(1, 2)"), unhex("0100"))),
                   Tensor::from<bool>({true, false}, {1, 2})));
  CHECK(
      equal_bits(load(npy(dict("<i4", "(2,)"), unhex("ffffffff 00000080"))),
                 Tensor::from<std::int64_t>({-1, std::numeric_limits<std::int32_t>::min()}, {2})));
  // One, the largest, the smallest subnormal, minus zero, the smallest normal, infinity.
  CHECK(equal_bits(load(npy(dict("<f2", "(6,)"), unhex("003c ff7b 0100 0080 0004 007c"))),
                   Tensor::from<float>({1, 65504, 0x1p-24f, -0.0f, 0x1p-14f, HUGE_VALF}, {6})));
  CHECK(std::isnan(load(npy(dict("<f2", "()"), unhex("017e"))).item()));
}

TEST_CASE("npy: Fortran order is a transposed view") {
  std::string elements;
  for (int i = 0; i < 6; ++i) elements += little_endian(static_cast<std::uint64_t>(i), 8);
  const Tensor t = load(npy(dict("<i8", "(2, 3)", true), elements));
  CHECK(equal_bits(t, Tensor::from<std::int64_t>({0, 2, 4, 1, 3, 5}, {2, 3})));
}

TEST_CASE("npy: other spellings of the header") {
  CHECK(load(npy(R"({"shape":(2,),"descr":"<i8","fortran_order":False})", kTwo)).numel() == 2);
  CHECK(load(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2L,)}", kTwo)).numel() == 2);
  CHECK(load(npy("{'descr': '=i8', 'fortran_order': False, 'shape': (1, 2)}", kTwo)).numel() == 2);
  CHECK(load(npy(dict("<i8", "(3, 0)"), "")).shape() == Shape{3, 0});
}

TEST_CASE("npy: refusals") {
  CHECK(contains(load_error(""), "x.npy: the file ends after 0 bytes of its header"));
  CHECK(contains(load_error("\x93NUMPZ..........."), "no .npy magic"));
  CHECK(contains(load_error(npy(kInt, kTwo, 4)), "format version 4.0"));
  CHECK(contains(load_error(npy(kInt, kTwo + "x")), "17 bytes of elements; shape (2,)"));
  CHECK(contains(load_error(npy(kInt, kTwo.substr(1))), "15 bytes of elements"));
  CHECK(contains(load_error(npy(dict(">f4", "(1,)"), "1234")), "\">f4\" is big-endian"));
  CHECK(contains(load_error(npy(dict("<c8", "(1,)"), "12345678")), "the dtype \"<c8\""));
  CHECK(contains(load_error(npy(dict("|u1", "(1,)"), "1")), "the dtype \"|u1\""));
  CHECK(contains(load_error(npy(dict("|O", "(1,)"), "1")), "the dtype \"|O\""));
  CHECK(contains(
      load_error(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", "1234")),
      "a structured dtype"));
  CHECK(contains(load_error(npy(dict("|b1", "(2,)"), unhex("0002"))), "the bool element 1"));
  CHECK(contains(load_error(npy(dict("<f4", "(4)"), std::string(16, '\0'))), "such as (4,)"));
  CHECK(contains(load_error(npy(dict("<f4", "(-1,)"), "")), "an extent of 0 or more"));
  CHECK(contains(load_error(npy(dict("<f4", "(9223372036854775808,)"), "")), "an extent of 0"));
  CHECK(
      contains(load_error(npy(dict("<f4", "(4294967296, 4294967296)"), "")), "too many elements"));
  CHECK(contains(load_error(npy(dict("<f4", "(1152921504606846975,)"), "1234")),
                 "4 bytes of elements"));
  CHECK(contains(load_error(npy("{'descr': '<f4', 'shape': ()}", "1234")), "lacks fortran_order"));
  CHECK(contains(load_error(npy("{'descr': '<f4', 'descr': '<f4'}", "1234")), "stands twice"));
  CHECK(contains(load_error(npy("{'descr': '<f4', 'order': 1}", "1234")), "key \"order\""));
  CHECK(contains(load_error(npy(dict("<f4", "()") + "}", "1234")), "the end is required"));
  CHECK(contains(load_error(npy("nothing", "1234")), "'{' is required"));
  std::string long_header = npy(kInt, kTwo);
  long_header[9] = '\x7f';
  CHECK(contains(load_error(long_header), "bytes of its header"));
}

TEST_CASE("npy: what is written reads back, and starts its elements at a multiple of 64") {
  const Scratch scratch;
  const std::string file = scratch.path("x.npy");
  const Tensor t = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  const Shape long_shape(std::vector<Extent>(std::size_t{64}, Extent(1)));
  for (const Tensor& tensor : {t, t.transpose({1, 0}), t.select(0, 1), Tensor::scalar(f64, 0.1),
                               t.astype(boolean), t.astype(i64), Tensor::zeros(f32, {0, 3}),
                               t.select(1, 1).select(0, 0).reshape(long_shape)}) {
    save_npy(file, tensor);
    CHECK(equal_bits(load_npy(file), tensor));
    CHECK((Scratch::get(file).size() - tensor.nbytes()) % 64 == 0);
  }
  save_npy(file, t);
  CHECK(Scratch::get(file) ==
        npy(dict("<f4", "(2, 3)"), unhex("0000803f000000400000404000008040 0000a0400000c040")));
}

}  // namespace
}  // namespace fovea
