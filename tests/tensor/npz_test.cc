#include "fovea/tensor/npz.h"

#include <doctest/doctest.h>

#include "fovea/tensor/random.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

// numpy.savez(w=float32 [[1, 2], [3, 4]], n=arange(3)): stored, with zip64 extra fields.
const std::string kStored = unhex(
    "504b0304140000000000000021004efb2075900000009000000005001400772e6e7079010010009000000000000000"
    "90"
    "00000000000000934e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e5f6f726465"
    "72"
    "273a2046616c73652c20277368617065273a2028322c2032292c207d20202020202020202020202020202020202020"
    "20"
    "20202020202020202020202020202020202020202020202020202020202020202020202020200a0000803f00000040"
    "00"
    "00404000008040504b030414000000000000002100f74012ea9800000098000000050014006e2e6e70790100100098"
    "00"
    "0000000000009800000000000000934e554d5059010076007b276465736372273a20273c6938272c2027666f727472"
    "61"
    "6e5f6f72646572273a2046616c73652c20277368617065273a2028332c292c207d2020202020202020202020202020"
    "20"
    "2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200a00"
    "00"
    "00000000000001000000000000000200000000000000504b01021403140000000000000021004efb20759000000090"
    "00"
    "0000050000000000000000000000800100000000772e6e7079504b0102140314000000000000002100f74012ea9800"
    "00"
    "00980000000500000000000000000000008001c70000006e2e6e7079504b0506000000000200020066000000960100"
    "00"
    "0000");

// numpy.savez_compressed of the same.
const std::string kDeflated = unhex(
    "504b0304140000000800000021004efb2075530000009000000005001400772e6e7079010010009000000000000000"
    "53"
    "000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f9492"
    "0a"
    "12774bcc294e058a17672416a402f91a463a0a469a3a0ab50a64032e0686067b060606072002e2060700504b030414"
    "00"
    "0000080000002100f74012ea4c00000098000000050014006e2e6e70790100100098000000000000004c0000000000"
    "00"
    "009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a1aea3a09e965f54529498179f5f94920a12774bcc29"
    "4e"
    "058a17672416a402f91ac63a9a3a0ab50a14002e06286084d24c501a00504b01021403140000000800000021004efb"
    "20"
    "755300000090000000050000000000000000000000800100000000772e6e7079504b01021403140000000800000021"
    "00"
    "f74012ea4c0000009800000005000000000000000000000080018a0000006e2e6e7079504b05060000000002000200"
    "66"
    "0000000d0100000000");

// A .npy of `count` zero bytes of dtype bool.
std::string npy_of_bools(std::size_t count, std::size_t claimed) {
  std::string dict =
      "{'descr': '|b1', 'fortran_order': False, 'shape': (" + std::to_string(claimed) + ",), }";
  dict.append(63 - (10 + dict.size()) % 64, ' ');
  dict += '\n';
  return std::string("\x93NUMPY\1\0", 8) + little_endian(dict.size(), 2) + dict +
         std::string(count, '\0');
}

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~std::uint32_t{0};
  for (char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
  }
  return ~crc;
}

struct Part {
  std::string name, data;
  std::uint64_t size = 0;  // claimed
  std::uint64_t method = 0, flags = 0;
};

Part part(std::string name, std::string data) {
  const std::size_t size = data.size();
  return {std::move(name), std::move(data), size};
}

std::string zip_of(const std::vector<Part>& parts) {
  std::string bytes, directory;
  for (const Part& p : parts) {
    const std::string common = little_endian(20, 2) + little_endian(p.flags, 2) +
                               little_endian(p.method, 2) + little_endian(0x00210000, 4) +
                               little_endian(crc32(p.data), 4) + little_endian(p.data.size(), 4) +
                               little_endian(p.size, 4) + little_endian(p.name.size(), 2) +
                               little_endian(0, 2);
    directory += "PK\1\2" + little_endian(20, 2) + common + std::string(10, '\0') +
                 little_endian(bytes.size(), 4) + p.name;
    bytes += "PK\3\4" + common + p.name + p.data;
  }
  const std::size_t start = bytes.size();
  return bytes + directory + "PK\5\6" + little_endian(0, 4) + little_endian(parts.size(), 2) +
         little_endian(parts.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(start, 4) + little_endian(0, 2);
}

NamedTensors load(std::string_view bytes) {
  const Scratch scratch;
  return load_npz(scratch.put("x.npz", bytes));
}

std::string load_error(std::string_view bytes) {
  return error_of([&] { load(bytes); });
}

TEST_CASE("npz: what NumPy writes") {
  for (const std::string& bytes : {kStored, kDeflated}) {
    const NamedTensors tensors = load(bytes);
    CHECK(tensors.size() == 2);
    CHECK(equal_bits(tensors.at("w"), Tensor::from<float>({1, 2, 3, 4}, {2, 2})));
    CHECK(equal_bits(tensors.at("n"), Tensor::from<std::int64_t>({0, 1, 2}, {3})));
  }
}

TEST_CASE("npz: what is written reads back, and equal tensors give equal bytes") {
  const Scratch scratch;
  const std::string file = scratch.path("x.npz"), again = scratch.path("y.npz");
  const Tensor w = random_normal(f32, {30, 50}, 0, 1, {});
  const NamedTensors tensors{{"w", w},
                             {"view", w.transpose({1, 0}).slice(0, {}, {}, -2)},
                             {"layer/ä", w.astype(f64)},
                             {"mask", w.astype(boolean)},
                             {"scalar", Tensor::scalar(i64, -7)},
                             {"empty", Tensor::zeros(f32, {2, 0})}};
  save_npz(file, tensors);
  const NamedTensors loaded = load_npz(file);
  CHECK(loaded.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) CHECK(equal_bits(tensor, loaded.at(name)));
  save_npz(again, tensors);
  CHECK(Scratch::get(file) == Scratch::get(again));
  save_npz(file, {});
  CHECK(load_npz(file).empty());
  CHECK(scratch.files() == 2);
}

TEST_CASE("npz: what cannot be written leaves the file as it was") {
  const Scratch scratch;
  const std::string file = scratch.put("x.npz", "before");
  const Tensor t = Tensor::zeros(f32, {2});
  CHECK(contains(error_of([&] { save_npz(file, {{"", t}}); }), "the name \"\""));
  CHECK(contains(error_of([&] { save_npz(file, {{"\xff", t}}); }), "cannot be added"));
  CHECK(contains(error_of([&] { save_npz(file, {{"a", t}, {"b", Tensor()}}); }), "null tensor"));
  CHECK(Scratch::get(file) == "before");
  CHECK(scratch.files() == 1);
}

TEST_CASE("npz: members that are refused") {
  const std::string four = npy_of_bools(4, 4);
  CHECK(load(zip_of({part("a.npy", four), part("b.npy", four)})).size() == 2);
  CHECK(contains(load_error(zip_of({part("a.npy", four), part("a.npy", four)})), "x.npz: "));
  CHECK(contains(load_error(zip_of({part("a.txt", four)})),
                 "the member \"a.txt\"; members are NAME"));
  CHECK(contains(load_error(zip_of({part(".npy", four)})), "members are NAME.npy"));
  CHECK(contains(load_error(zip_of({part("a/", "")})), "members are NAME.npy"));
  CHECK(
      contains(load_error(zip_of({{"a.npy", four, four.size(), 12, 0}})), "compression method 12"));
  CHECK(contains(load_error(zip_of({{"a.npy", four, four.size(), 0, 1}})), "encrypted"));
  CHECK(contains(load_error(zip_of({part("a.npy", npy_of_bools(4, 5))})),
                 "x.npz: \"a.npy\": 4 bytes of elements; shape (5,)"));
  CHECK(contains(load_error(zip_of({part("a.npy", npy_of_bools(4, 3))})), "shape (3,)"));
  CHECK(contains(load_error(zip_of({part("a.npy", "short")})), "bytes of its header"));
}

TEST_CASE("npz: a member cannot claim more than its data can give") {
  // A header that promises 4 GB, in a member that claims as many.
  const std::size_t claim = 4'000'000'000;
  const std::string liar = npy_of_bools(4, claim);
  const std::uint64_t size = liar.size() - 4 + claim;
  CHECK(contains(load_error(zip_of({{"a.npy", liar, size, 8, 0}})), "cannot give as many"));
  CHECK_FALSE(load_error(zip_of({{"a.npy", liar, size, 0, 0}})).empty());
}

TEST_CASE("npz: checksums are compared") {
  for (const std::string& whole : {kStored, kDeflated}) {
    // Elements of w, behind its header.
    std::string bytes = whole;
    const std::size_t at = whole.find("NUMPY") == whole.npos ? 60 : whole.find("NUMPY") + 120;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    CHECK_FALSE(load_error(bytes).empty());
  }
  std::string stored = kStored;
  const std::size_t element = stored.find("NUMPY") + 129;
  stored[element] = static_cast<char>(stored[element] ^ 1);
  CHECK(contains(load_error(stored), "\"w.npy\": CRC error"));
}

TEST_CASE("npz: archives that are none") {
  CHECK(contains(load_error(""), "the file is empty"));
  CHECK(contains(load_error("something else"), "Not a zip archive"));
  CHECK_FALSE(load_error(kStored + "x").empty());
  CHECK_FALSE(load_error("x" + kStored).empty());
}

}  // namespace
}  // namespace fovea
