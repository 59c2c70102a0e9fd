#include "fovea/tensor/npz.h"

#include <zip.h>

#include <memory>
#include <vector>

#include "fovea/tensor/file_io.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/npy_format.h"

namespace fovea {

namespace {

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;
using MemberFile = std::unique_ptr<zip_file_t, decltype(&zip_fclose)>;

constexpr std::string_view kEnding = ".npy";

std::string text_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

// A member's uncompressed bytes.
class Member : public ByteSource {
 public:
  Member(const std::string& where, zip_t* archive, zip_uint64_t index, std::uint64_t size)
      : where_(where), file_(zip_fopen_index(archive, index, 0), &zip_fclose), remaining_(size) {
    if (!file_) fail(where, "{}", zip_strerror(archive));
  }

  std::uint64_t remaining() const override { return remaining_; }

  void read(void* out, std::size_t bytes) override {
    auto* to = static_cast<char*>(out);
    while (bytes > 0) {
      const zip_int64_t got = zip_fread(file_.get(), to, bytes);
      if (got <= 0) refuse(got, "the data ends too early");
      to += got;
      bytes -= static_cast<std::size_t>(got);
      remaining_ -= static_cast<std::uint64_t>(got);
    }
  }

  // libzip compares the checksum when it is asked for what is behind the last byte.
  void finish() {
    char extra = 0;
    const zip_int64_t got = zip_fread(file_.get(), &extra, 1);
    if (got != 0) refuse(got, "the data goes on behind its end");
  }

 private:
  [[noreturn]] void refuse(zip_int64_t got, std::string_view otherwise) {
    fail(where_, "{}; the member is damaged",
         got < 0 ? std::string_view(zip_file_strerror(file_.get())) : otherwise);
  }

  std::string where_;
  MemberFile file_;
  std::uint64_t remaining_;
};

Archive open_archive(const std::string& path, InputFile& file) {
  if (file.size() == 0) fail(path, "the file is empty; a zip archive is required");
  int code = 0;
  zip_t* archive = zip_fdopen(file.descriptor(), ZIP_CHECKCONS, &code);
  if (code == ZIP_ER_EXISTS) fail(path, "two members have one name; names are unique");
  if (archive == nullptr) fail(path, "{}; a consistent zip archive is required", text_of(code));
  file.release();  // closed by libzip
  return Archive(archive, &zip_discard);
}

// The array's name, after everything that can be checked before reading has been.
std::string checked_name(const std::string& path, const zip_stat_t& status) {
  constexpr zip_uint64_t kAll = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if ((status.valid & kAll) != kAll) fail(path, "a member without name or size; both are required");
  const std::string_view name = status.name;
  if (!name.ends_with(kEnding) || name.size() == kEnding.size()) {
    fail(path, "the member {}; members are NAME.npy", fovea::quoted(name));
  }
  if (status.encryption_method != ZIP_EM_NONE) {
    fail(path, "the member {} is encrypted; that is not supported", fovea::quoted(name));
  }
  if (status.comp_method != ZIP_CM_STORE && status.comp_method != ZIP_CM_DEFLATE) {
    fail(path, "the member {} has compression method {}; 0 (stored) or 8 (deflated) is required",
         fovea::quoted(name), status.comp_method);
  }
  // 258 bytes for two bits is the most that deflate can do.
  const bool possible = status.comp_method == ZIP_CM_STORE ? status.size == status.comp_size
                                                           : status.size / 1032 <= status.comp_size;
  if (!possible) {
    fail(path, "the member {} claims {} bytes from {}; its data cannot give as many",
         fovea::quoted(name), status.size, status.comp_size);
  }
  return std::string(name.substr(0, name.size() - kEnding.size()));
}

struct Entry {
  std::string header;
  Tensor elements;
};

void add_member(const std::string& path, zip_t* archive, const std::string& name, Entry& entry) {
  zip_buffer_fragment_t fragments[2] = {
      {reinterpret_cast<zip_uint8_t*>(entry.header.data()), entry.header.size()},
      {static_cast<zip_uint8_t*>(const_cast<void*>(entry.elements.raw())),
       entry.elements.nbytes()}};
  const auto refuse = [&] {
    fail(path, "the array {} cannot be added: {}", fovea::quoted(name), zip_strerror(archive));
  };
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source =
      zip_source_buffer_fragment_create(fragments, entry.elements.nbytes() > 0 ? 2 : 1, 0, &error);
  zip_error_fini(&error);
  if (source == nullptr) refuse();
  const zip_int64_t index =
      zip_file_add(archive, (name + std::string(kEnding)).c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) {
    zip_source_free(source);
    refuse();
  }
  const auto member = static_cast<zip_uint64_t>(index);
  constexpr zip_uint16_t kFirstOfJanuary1980 = 1 << 5 | 1;
  if (zip_set_file_compression(archive, member, ZIP_CM_STORE, 0) != 0 ||
      zip_file_set_dostime(archive, member, 0, kFirstOfJanuary1980, 0) != 0) {
    refuse();
  }
}

}  // namespace

NamedTensors load_npz(const std::string& path) {
  InputFile file(path);
  const Archive archive = open_archive(path, file);
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  NamedTensors tensors;
  std::uint64_t compressed = 0;
  for (zip_uint64_t index = 0; index < static_cast<zip_uint64_t>(count); ++index) {
    zip_stat_t status;
    if (zip_stat_index(archive.get(), index, 0, &status) != 0) {
      fail(path, "member {}: {}", index, zip_strerror(archive.get()));
    }
    const std::string name = checked_name(path, status);
    if (status.comp_size > file.size() - compressed) {
      fail(path, "the members claim more bytes than the file's {}", file.size());
    }
    compressed += status.comp_size;
    if (tensors.contains(name)) {
      fail(path, "the member {} stands twice; names are unique", fovea::quoted(status.name));
    }
    const std::string where = format("{}: {}", path, fovea::quoted(status.name));
    Member member(where, archive.get(), index, status.size);
    Tensor tensor = read_npy(where, member);
    member.finish();
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

void save_npz(const std::string& path, const NamedTensors& tensors,
              const std::function<void()>& before_rename) {
  if (tensors.empty()) {
    // libzip writes no archive without members: this is the end record alone.
    return atomic_write(
        path, [](FileWriter& out) { out.write(std::string("PK\5\6") + std::string(18, '\0')); },
        before_rename);
  }
  TemporaryFile file(path);
  file.close();
  int code = 0;
  Archive archive(zip_open(file.name().c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code), &zip_discard);
  if (!archive) fail(path, "cannot be written: {}", text_of(code));
  std::vector<Entry> entries;
  entries.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    if (!tensor)
      fail(path, "{}: a null tensor; one with elements is required", fovea::quoted(name));
    if (name.empty() || name.find('\0') != std::string::npos) {
      fail(path, "the name {}; a name has characters other than NUL", fovea::quoted(name));
    }
    entries.push_back({npy_header(tensor), tensor.contiguous()});
    add_member(path, archive.get(), name, entries.back());
  }
  if (zip_close(archive.get()) != 0) {
    fail(path, "cannot be written: {}", zip_strerror(archive.get()));
  }
  static_cast<void>(archive.release());
  if (before_rename) before_rename();
  file.commit();
}

}  // namespace fovea
