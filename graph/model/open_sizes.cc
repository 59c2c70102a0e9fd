#include "fovea/graph/model/open_sizes.h"

#include <algorithm>
#include <charconv>

#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// Multiples of 720 can be divided by whatever heads and the like there may be; primes tell dims
// apart.
constexpr std::int64_t kFactor = 720;
constexpr std::array<std::int64_t, 16> kFirst{7,  11, 13, 17, 19, 23, 29, 31,
                                              37, 41, 43, 47, 53, 59, 61, 67};
constexpr std::array<std::int64_t, 16> kSecond{71,  73,  79,  83,  89,  97,  101, 103,
                                               107, 109, 113, 127, 131, 137, 139, 149};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The numbers of a text, and what stands between them.
struct Split {
  explicit Split(const std::string& text) {
    between.emplace_back();
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t begin = i;
      while (i < text.size() && is_digit(text[i])) ++i;
      if (i > begin) {
        numbers.push_back(text.substr(begin, i - begin));
        between.emplace_back();
      } else {
        between.back() += text[i++];
      }
    }
  }
  std::vector<std::string> numbers, between;
};

std::int64_t whole(const std::string& digits) {
  std::int64_t value = -1;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return read.ec == std::errc() ? value : -1;
}

// k with a = k b in both choices, or 0.
std::int64_t ratio(const OpenSizes::Pair& a, const OpenSizes::Pair& b) {
  if (b[0] == 0 || b[1] == 0 || a[0] % b[0] != 0) return 0;
  const std::int64_t k = a[0] / b[0];
  std::int64_t product = 0;
  return !__builtin_mul_overflow(b[1], k, &product) && product == a[1] ? k : 0;
}

}  // namespace

OpenSizes::OpenSizes(const DimValues& dims) {
  const std::size_t count = dims.unbound().size();
  for (const auto& primes : {kFirst, kSecond}) {
    std::vector<std::int64_t> sizes;
    for (std::size_t i = 0; i < count; ++i) {
      sizes.push_back(kFactor * primes[i % primes.size()]);
    }
    choices_.push_back(count > 0 ? dims.with(sizes) : dims);
  }
  for (std::uint32_t i = 0; i < dims.description().dims.size(); ++i) {
    const auto first = choices_[0].value(i), second = choices_[1].value(i);
    if (first && second && *first != *second) {
      known_.push_back({dims.description().dims[i].name, {*first, *second}});
    }
  }
}

// c, c d, d / c, d e, c d e, and d e f, of dims d, e and f and a number c.
std::string OpenSizes::product(const Pair& values) const {
  std::int64_t least = 0;  // the smallest c says most
  std::string text;
  for (const Known& d : known_) {
    const std::int64_t times = ratio(values, d.values), part = ratio(d.values, values);
    const std::int64_t k = times != 0 ? times : part;
    if (k == 0 || (least != 0 && k >= least)) continue;
    least = k;
    text = k == 1 ? d.name : times != 0 ? format("{}*{}", k, d.name) : format("{}/{}", d.name, k);
  }
  if (!text.empty()) return text;
  for (const Known& d : known_) {
    if (values[0] % d.values[0] != 0 || values[1] % d.values[1] != 0) continue;
    const Pair rest{values[0] / d.values[0], values[1] / d.values[1]};
    if (rest[0] == rest[1]) continue;
    if (const std::string other = product(rest); !other.empty()) {
      return format("{}*{}", d.name, other);
    }
  }
  return {};
}

std::string OpenSizes::name_of(const Pair& values) const {
  if (values[0] == values[1]) return format("{}", values[0]);
  if (values[0] > 0 && values[1] > 0) {
    if (std::string text = product(values); !text.empty()) return text;
  }
  for (const Known& d : known_) {
    const std::int64_t more = values[0] - d.values[0];
    if (more == values[1] - d.values[1]) {
      return format("{} {} {}", d.name, more < 0 ? '-' : '+', more < 0 ? -more : more);
    }
  }
  for (const Known& d : known_) {
    const std::string rest = values[0] > d.values[0] && values[1] > d.values[1]
                                 ? product({values[0] - d.values[0], values[1] - d.values[1]})
                                 : "";
    if (!rest.empty()) return format("{} + {}", d.name, rest);
  }
  return "?";
}

std::string OpenSizes::text(const std::string& first, const std::string& second) const {
  const Split a(first), b(second);
  const bool alike = a.between == b.between;
  std::string text = a.between[0];
  for (std::size_t i = 0; i < a.numbers.size(); ++i) {
    const Pair values{whole(a.numbers[i]), alike ? whole(b.numbers[i]) : -1};
    const auto stand_in = std::ranges::find_if(known_, [&](const Known& d) {
      return d.values[0] == values[0] || d.values[1] == values[0];
    });
    const bool varies = alike ? values[0] != values[1] : stand_in != known_.end();
    if (varies && text.ends_with('=')) {
      text.pop_back();
    } else {
      text += !varies ? a.numbers[i] : alike ? name_of(values) : stand_in->name;
    }
    text += a.between[i + 1];
  }
  return text;
}

std::string without_numbers(const std::string& text) {
  return format("{}", fmt::join(Split(text).between, "#"));
}

}  // namespace fovea::model
