#include "fovea/tensor/error.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <optional>

#include "fovea/tensor/format.h"

namespace fovea {

std::string Diagnostic::message() const {
  std::string message;
  for (const std::string* part : {&place, &op}) {
    if (!part->empty()) message += *part + ": ";
  }
  return message + text;
}

struct Error::Payload {
  std::vector<Diagnostic> diagnostics;
  std::string text;
};

Error::Error(std::vector<Diagnostic> diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (!text.empty()) text += '\n';
    text += diagnostic.message();
  }
  payload_ = std::make_shared<const Payload>(Payload{std::move(diagnostics), std::move(text)});
}

Error::Error(Diagnostic diagnostic) : Error(std::vector{std::move(diagnostic)}) {}

Error::Error(std::string_view where, std::string_view text)
    : Error(Diagnostic{.place = {}, .op = std::string(where), .text = std::string(text)}) {}

Error::Error(const Error&) noexcept = default;
Error& Error::operator=(const Error&) noexcept = default;
Error::~Error() = default;

const char* Error::what() const noexcept { return payload_->text.c_str(); }

const std::vector<Diagnostic>& Error::diagnostics() const noexcept { return payload_->diagnostics; }

Error Error::at(std::string_view place) const {
  std::vector<Diagnostic> placed = diagnostics();
  for (Diagnostic& diagnostic : placed) {
    if (diagnostic.place.empty()) diagnostic.place = place;
  }
  return Error(std::move(placed));
}

namespace {

// Levenshtein distance with one row of memory; a swap of neighbours counts as one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] =
          std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        next[j] = std::min(next[j], before[j - 2] + 1);
      }
    }
    std::swap(before, row);
    std::swap(row, next);
  }
  return row[b.size()];
}

// What other libraries call what Fovea has.
struct Elsewhere {
  std::string_view there, here;
};
constexpr Elsewhere kElsewhere[] = {
    {"float32", "f32"},
    {"float", "f32"},
    {"float64", "f64"},
    {"double", "f64"},
    {"int64", "i64"},
    {"int", "i64"},
    {"long", "i64"},
    {"boolean", "bool"},
    {"permute", "transpose"},
    {"swapaxes", "transpose"},
    {"view", "reshape"},
    {"flatten", "reshape"},
    {"squeeze", "reshape"},
    {"unsqueeze", "reshape"},
    {"expand", "broadcast_to"},
    {"cat", "concat"},
    {"concatenate", "concat"},
    {"chunk", "split"},
    {"embedding", "take"},
    {"index_select", "take"},
    {"arange", "iota"},
    {"detach", "stop_gradient"},
    {"astype", "cast"},
    {"multiply", "mul"},
    {"subtract", "sub"},
    {"divide", "div"},
    {"negative", "neg"},
    {"power", "pow"},
    {"linear", "matmul"},
    {"dot", "matmul"},
    {"mm", "matmul"},
    {"bmm", "matmul"},
    {"einsum", "matmul"},
    {"masked_fill", "where"},
    {"swish", "silu"},
    {"sdpa", "attention"},
    {"scaled_dot_product_attention", "attention"},
    {"multi_head_attention", "attention"},
    {"nll_loss", "cross_entropy"},
    {"dim", "axis"},
    {"dim", "axes"},
    {"is_causal", "causal"},
    {"attn_mask", "mask"},
};

// Without regard to capitals.
bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

// One is the other with more before a dot, as in `encoder.weight`, or behind an underscore.
bool is_part(std::string_view part, std::string_view whole) {
  return part.size() >= 3 && part.size() < whole.size() &&
         ((whole.ends_with(part) && whole[whole.size() - part.size() - 1] == '.') ||
          (whole.starts_with(part) && whole[part.size()] == '_'));
}

// How far a candidate is from what was given: the closest wins, nothing for one that is no likely
// meaning.
std::optional<std::size_t> strangeness(std::string_view given, std::string_view candidate) {
  if (same_letters(given, candidate)) return 0;
  const bool elsewhere = std::ranges::any_of(kElsewhere, [&](const Elsewhere& one) {
    return same_letters(one.there, given) && one.here == candidate;
  });
  if (elsewhere) return 0;
  const std::size_t distance = edit_distance(given, candidate);
  const std::size_t most = std::max<std::size_t>(1, given.size() / 3);
  if (distance <= most && distance < std::max(given.size(), candidate.size())) return distance;
  if (is_part(given, candidate) || is_part(candidate, given)) return most + 1;
  return {};
}

}  // namespace

std::string did_you_mean(std::string_view given, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 80;
  if (given.size() > kLongest) return {};
  const std::string* best = nullptr;
  std::size_t least = kLongest;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const std::optional<std::size_t> one = strangeness(given, candidate);
    if (one && *one < least) {
      least = *one;
      best = &candidate;
    }
  }
  return best ? format("; did you mean \"{}\"?", *best) : std::string();
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "\"";
  for (char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  // Never end inside a UTF-8 sequence.
  if (text.size() > kLongest) {
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();
    if (static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
    out += "…";
  }
  return out + "\"";
}

}  // namespace fovea
