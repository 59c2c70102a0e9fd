#include "fovea/tensor/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/npy_format.h"
#include "fovea/tensor/stored_elements.h"

namespace fovea {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint32_t kLongestHeader = 1 << 20;

struct Header {
  std::optional<Stored> type;
  std::optional<bool> fortran_order;
  std::optional<Shape> shape;
};

// Reads the header's Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
class HeaderReader {
 public:
  HeaderReader(const std::string& where, std::string_view text) : where_(where), text_(text) {}

  Header read() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr") {
        set(key, header_.type, type());
      } else if (key == "fortran_order") {
        set(key, header_.fortran_order, boolean_value());
      } else if (key == "shape") {
        set(key, header_.shape, shape());
      } else {
        fail(where_, "the header's key {}; descr, fortran_order and shape are known", quoted(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_spaces();
    if (at_ != text_.size()) refuse("the end");
    if (!header_.type || !header_.fortran_order || !header_.shape) {
      fail(where_, "the header lacks {}; it is required",
           !header_.type            ? "descr"
           : !header_.fortran_order ? "fortran_order"
                                    : "shape");
    }
    return header_;
  }

 private:
  [[noreturn]] void refuse(std::string_view required) {
    fail(where_, "the header has {} at byte {}; {} is required",
         at_ < text_.size() ? quoted(text_.substr(at_, 20)) : "its end", at_, required);
  }

  template <class T>
  void set(std::string_view key, std::optional<T>& member, T value) {
    if (member) fail(where_, "the header's key {} stands twice; keys are unique", key);
    member = std::move(value);
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) {
      ++at_;
    }
  }

  bool accept(std::string_view token) {
    skip_spaces();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool accept(char c) { return accept(std::string_view(&c, 1)); }
  void expect(char c) {
    if (!accept(c)) refuse(std::string{'\'', c, '\''});
  }

  std::string_view string() {
    skip_spaces();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') refuse("a string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a string");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    if (value.find('\\') != std::string_view::npos) refuse("a string without escapes");
    at_ = end + 1;
    return value;
  }

  bool boolean_value() {
    if (accept("True")) return true;
    if (!accept("False")) refuse("True or False");
    return false;
  }

  Stored type() {
    if (accept('[')) fail(where_, "a structured dtype; f4, f8, i8, i4, f2 or b1 is required");
    constexpr std::array<std::pair<std::string_view, Stored>, 6> kTypes{{{"f4", Stored::f32},
                                                                         {"f8", Stored::f64},
                                                                         {"i8", Stored::i64},
                                                                         {"i4", Stored::i32},
                                                                         {"f2", Stored::f16},
                                                                         {"b1", Stored::boolean}}};
    const std::string_view descr = string();
    const bool big_endian = descr.starts_with('>');
    const std::string_view name = descr.substr(descr.starts_with('<') || descr.starts_with('|') ||
                                               descr.starts_with('=') || big_endian);
    const auto* known =
        std::ranges::find(kTypes, name, &std::pair<std::string_view, Stored>::first);
    if (known == kTypes.end()) {
      fail(where_, "the dtype {}; f4, f8, i8, i4, f2 or b1 is required", quoted(descr));
    }
    if (big_endian && known->second != Stored::boolean) {
      fail(where_, "the dtype {} is big-endian; little-endian is required", quoted(descr));
    }
    return known->second;
  }

  Shape shape() {
    expect('(');
    std::vector<Extent> extents;
    bool comma = true;
    while (!accept(')')) {
      if (!comma) refuse("',' or ')'");
      skip_spaces();
      std::int64_t extent = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
      if (error != std::errc() || extent < 0) refuse("an extent of 0 or more, within 63 bits,");
      at_ += static_cast<std::size_t>(end - begin);
      accept('L');  // a long integer of Python 2
      extents.emplace_back(extent);
      comma = accept(',');
    }
    if (extents.size() == 1 && !comma) {
      fail(where_, "the header's shape is an integer; a tuple such as ({},) is required",
           extents.front());
    }
    try {
      return Shape(std::move(extents));
    } catch (const Error& error) {
      fail(where_, "{}", error.what());
    }
  }

  const std::string& where_;
  std::string_view text_;
  std::size_t at_ = 0;
  Header header_;
};

void require_bytes(const std::string& where, const ByteSource& source, std::uint64_t bytes) {
  if (source.remaining() < bytes) {
    fail(where, "the file ends after {} bytes of its header; {} are required", source.remaining(),
         bytes);
  }
}

Header read_header(const std::string& where, ByteSource& source) {
  std::array<unsigned char, 12> start{};
  require_bytes(where, source, 10);
  source.read(start.data(), 10);
  if (!std::equal(kMagic.begin(), kMagic.end(), start.begin(), [](char c, unsigned char byte) {
        return static_cast<unsigned char>(c) == byte;
      })) {
    fail(where, "the first bytes are no .npy magic; \"\\x93NUMPY\" is required");
  }
  const unsigned version = start[6];
  if (version < 1 || version > 3 || start[7] != 0) {
    fail(where, "format version {}.{}; 1.0, 2.0 or 3.0 is required", version, start[7]);
  }
  std::uint32_t length = start[8] | static_cast<std::uint32_t>(start[9]) << 8;
  if (version >= 2) {
    require_bytes(where, source, 2);
    source.read(start.data() + 10, 2);
    length |= static_cast<std::uint32_t>(start[10]) << 16 | static_cast<std::uint32_t>(start[11])
                                                                << 24;
  }
  require_bytes(where, source, length);
  if (length > kLongestHeader) {
    fail(where, "a header of {} bytes; at most {} are read", length, kLongestHeader);
  }
  std::string text(length, '\0');
  source.read(text.data(), length);
  return HeaderReader(where, text).read();
}

}  // namespace

Tensor read_npy(const std::string& where, ByteSource& source) {
  const Header header = read_header(where, source);
  const Shape& shape = *header.shape;
  const std::uint64_t bytes = static_cast<std::uint64_t>(shape.numel()) * size_of(*header.type);
  if (source.remaining() != bytes) {
    fail(where, "{} bytes of elements; shape {} takes exactly {}", source.remaining(), shape,
         bytes);
  }
  if (!*header.fortran_order) return read_elements(where, source, *header.type, shape);
  const Shape reversed(std::vector<Extent>(shape.extents().rbegin(), shape.extents().rend()));
  std::vector<std::int64_t> perm(static_cast<std::size_t>(shape.rank()));
  for (std::size_t i = 0; i < perm.size(); ++i) perm[i] = -1 - static_cast<std::int64_t>(i);
  return read_elements(where, source, *header.type, reversed).transpose(perm);
}

std::string npy_header(const Tensor& tensor) {
  constexpr std::array<std::string_view, 4> kDescr{"<f4", "<f8", "<i8", "|b1"};
  const std::vector<std::int64_t> extents(tensor.shape().begin(), tensor.shape().end());
  std::string dict = format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                            kDescr[static_cast<std::size_t>(tensor.dtype())],
                            fmt::join(extents, ", "), extents.size() == 1 ? "," : "");
  // The elements begin at a multiple of 64. (64 axes take less than 2 KiB: format version 1.)
  constexpr std::size_t start = 10;
  dict.append(63 - (start + dict.size()) % 64, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += '\1';
  header += '\0';
  for (std::size_t i = 0; i < 2; ++i) header += static_cast<char>(dict.size() >> (8 * i) & 0xff);
  return header + dict;
}

Tensor load_npy(const std::string& path) {
  InputFile file(path);
  return read_npy(path, file);
}

void save_npy(const std::string& path, const Tensor& tensor) {
  if (!tensor) fail(path, "a null tensor; one with elements is required");
  const Tensor flat = tensor.contiguous();
  atomic_write(path, [&](FileWriter& out) {
    out.write(npy_header(flat));
    out.write(flat.raw(), flat.nbytes());
  });
}

}  // namespace fovea
