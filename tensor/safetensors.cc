#include "fovea/tensor/safetensors.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/json_document.h"
#include "fovea/tensor/stored_elements.h"

namespace fovea {

namespace {

constexpr std::uint64_t kLongestHeader = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kLoaded = "F32, F64, I64, I32, BOOL, F16 or BF16";

// What a header may say; those without `as` are not loaded.
struct StoredName {
  std::string_view name;
  std::size_t bytes;
  std::optional<Stored> as;
};
constexpr std::array<StoredName, 15> kTypes{{{"F32", 4, Stored::f32},
                                             {"F64", 8, Stored::f64},
                                             {"I64", 8, Stored::i64},
                                             {"I32", 4, Stored::i32},
                                             {"BOOL", 1, Stored::boolean},
                                             {"F16", 2, Stored::f16},
                                             {"BF16", 2, Stored::bf16},
                                             {"U8", 1, {}},
                                             {"I8", 1, {}},
                                             {"U16", 2, {}},
                                             {"I16", 2, {}},
                                             {"U32", 4, {}},
                                             {"U64", 8, {}},
                                             {"F8_E4M3", 1, {}},
                                             {"F8_E5M2", 1, {}}}};

struct Entry {
  std::string name;
  const StoredName* type = nullptr;
  Shape shape;
  std::uint64_t begin = 0, end = 0;  // within the data
};

class HeaderReader {
 public:
  HeaderReader(const std::string& path, const JsonValue& root) : path_(path), root_(root) {}

  std::vector<Entry> read() {
    if (!root_.is(JsonKind::object)) {
      fail(path_, "the header is {}; an object is required", root_.describe());
    }
    std::vector<Entry> entries;
    for (JsonValue member : root_) {
      if (member.key() == kMetadata) {
        check_metadata(member);
      } else {
        entries.push_back(entry(member));
      }
    }
    return entries;
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const JsonValue& member, fmt::format_string<Args...> text,
                           Args&&... args) {
    fail(path_, "{}: {}", fovea::quoted(member.key()), format(text, std::forward<Args>(args)...));
  }

  void check_metadata(const JsonValue& metadata) {
    if (!metadata.is(JsonKind::object)) refuse(metadata, "{}; an object", metadata.describe());
    for (JsonValue member : metadata) {
      if (!member.is(JsonKind::text)) {
        refuse(metadata, "{} is {}; a text is required", fovea::quoted(member.key()),
               member.describe());
      }
    }
  }

  Entry entry(const JsonValue& member) {
    if (!member.is(JsonKind::object)) {
      refuse(member, "{}; an object with dtype, shape and data_offsets is required",
             member.describe());
    }
    for (JsonValue part : member) {
      if (part.key() != "dtype" && part.key() != "shape" && part.key() != "data_offsets") {
        refuse(member, "the key {}; dtype, shape and data_offsets are known",
               fovea::quoted(part.key()));
      }
    }
    Entry entry;
    entry.name = member.key();
    entry.type = type(member);
    entry.shape = shape(member);
    const std::vector<std::int64_t> offsets = numbers(member, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      refuse(member, "data_offsets {}; [begin, end] is required", fmt::format("{}", offsets));
    }
    entry.begin = static_cast<std::uint64_t>(offsets[0]);
    entry.end = static_cast<std::uint64_t>(offsets[1]);
    const auto bytes = static_cast<std::uint64_t>(entry.shape.numel()) * entry.type->bytes;
    if (entry.end - entry.begin != bytes) {
      refuse(member, "{} bytes for shape {}; exactly {} are required", entry.end - entry.begin,
             entry.shape, bytes);
    }
    return entry;
  }

  const StoredName* type(const JsonValue& member) {
    const JsonValue value = member.find("dtype");
    const auto* known = value.is(JsonKind::text)
                            ? std::ranges::find(kTypes, value.text(), &StoredName::name)
                            : kTypes.end();
    if (known == kTypes.end()) {
      refuse(member, "dtype {}; {} is required", value ? value.describe() : "missing", kLoaded);
    }
    return known;
  }

  Shape shape(const JsonValue& member) {
    const std::vector<std::int64_t> extents = numbers(member, "shape");
    try {
      return Shape(std::span<const std::int64_t>(extents));
    } catch (const Error& error) {
      refuse(member, "{}", error.what());
    }
  }

  std::vector<std::int64_t> numbers(const JsonValue& member, std::string_view key) {
    const JsonValue list = member.find(key);
    if (!list.is(JsonKind::array)) refuse(member, "no list {}; it is required", key);
    std::vector<std::int64_t> numbers;
    for (JsonValue number : list) {
      if (!number.is(JsonKind::integer) || number.integer() < 0) {
        refuse(member, "{} in {}; a whole number of 0 or more is required", number.describe(), key);
      }
      numbers.push_back(number.integer());
    }
    return numbers;
  }

  const std::string& path_;
  JsonValue root_;
};

std::vector<Entry> read_header(const std::string& path, InputFile& file) {
  std::uint64_t length = 0;
  if (file.size() < sizeof length) {
    fail(path, "{} bytes; a header's length of 8 bytes is required", file.size());
  }
  file.read(&length, sizeof length);
  if (length > file.remaining()) {
    fail(path, "a header of {} bytes, but only {} are there", length, file.remaining());
  }
  if (length > kLongestHeader) {
    fail(path, "a header of {} bytes; at most {} are read", length, kLongestHeader);
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(text.data(), text.size());
  if (!text.starts_with('{')) fail(path, "the header does not begin with '{{'; JSON is required");
  const auto document = JsonDocument::parse(path, std::move(text));
  return HeaderReader(path, document->root()).read();
}

std::string_view stored_name(DType dtype) {
  constexpr std::array<std::string_view, 4> kNames{"F32", "F64", "I64", "BOOL"};
  return kNames[static_cast<std::size_t>(dtype)];
}

}  // namespace

struct SafetensorsFile::State {
  explicit State(const std::string& path) : path(path), file(path) {}

  const Entry& entry(std::string_view name) const { return entries[index.find(name)->second]; }
  std::string where(std::string_view name) const {
    return format("{}: {}", path, fovea::quoted(name));
  }

  std::string path;
  InputFile file;
  std::uint64_t data = 0;  // where it begins
  std::vector<Entry> entries;
  std::map<std::string, std::size_t, std::less<>> index;
};

SafetensorsFile::SafetensorsFile(const std::string& path) {
  auto state = std::make_shared<State>(path);
  std::vector<Entry>& entries = state->entries;
  entries = read_header(path, state->file);
  state->data = state->file.size() - state->file.remaining();
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != end) {
      fail(path, "{}: its bytes begin at {}; {} is required, without gap or overlap",
           fovea::quoted(entry.name), entry.begin, end);
    }
    end = entry.end;
    state->index.emplace(entry.name, state->index.size());
  }
  if (end != state->file.remaining()) {
    fail(path, "{} bytes of elements; the header describes exactly {}", state->file.remaining(),
         end);
  }
  state_ = std::move(state);
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : state_->entries) names.push_back(entry.name);
  return names;
}

bool SafetensorsFile::contains(std::string_view name) const {
  return state_->index.find(name) != state_->index.end();
}

TensorSpec SafetensorsFile::spec(std::string_view name) const {
  const Entry& entry = state_->entry(name);
  if (!entry.type->as) {
    fail(state_->where(name), "dtype \"{}\"; {} is required", entry.type->name, kLoaded);
  }
  return {loaded_as(*entry.type->as), entry.shape};
}

Tensor SafetensorsFile::load(std::string_view name) const {
  spec(name);
  const Entry& entry = state_->entry(name);
  FilePart part(state_->file, state_->data + entry.begin, entry.end - entry.begin);
  return read_elements(state_->where(name), part, *entry.type->as, entry.shape);
}

NamedTensors load_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace(name, file.load(name));
  return tensors;
}

void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const std::function<void()>& before_rename) {
  std::vector<std::pair<std::string_view, Tensor>> order;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor)
      fail(path, "{}: a null tensor; one with elements is required", fovea::quoted(name));
    if (name == kMetadata) fail(path, "the name {}; the format reserves it", fovea::quoted(name));
    order.emplace_back(name, tensor);
  }
  std::ranges::stable_sort(order, std::greater{},
                           [](const auto& entry) { return size_of(entry.second.dtype()); });
  std::string header = "{";
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : order) {
    std::string key;
    try {
      key = nlohmann::json(name).dump();
    } catch (const nlohmann::json::exception&) {
      fail(path, "the name {}; names are UTF-8", fovea::quoted(name));
    }
    const std::vector<std::int64_t> extents(tensor.shape().begin(), tensor.shape().end());
    header += format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                     offset == 0 && header.size() == 1 ? "" : ",", key, stored_name(tensor.dtype()),
                     fmt::join(extents, ","), offset, offset + tensor.nbytes());
    offset += tensor.nbytes();
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  if (header.size() > kLongestHeader) {
    fail(path, "a header of {} bytes; at most {} are allowed", header.size(), kLongestHeader);
  }
  atomic_write(
      path,
      [&](FileWriter& out) {
        const std::uint64_t length = header.size();
        out.write(&length, sizeof length);
        out.write(header);
        for (const auto& [name, tensor] : order) {
          const Tensor flat = tensor.contiguous();
          out.write(flat.raw(), flat.nbytes());
        }
      },
      before_rename);
}

}  // namespace fovea
