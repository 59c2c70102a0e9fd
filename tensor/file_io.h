// Files for the project's own readers and writers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/atomic_write.h"

namespace fovea {

/// Bytes of known number, read once from the first to the last.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Bytes not read yet.
  virtual std::uint64_t remaining() const = 0;
  /// Reads exactly `bytes`, at most remaining(); anything less is an Error.
  virtual void read(void* out, std::size_t bytes) = 0;
};

/// A regular file that is open for reading. Devices, folders and pipes are refused: reading them
/// might never end.
class InputFile : public ByteSource {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile() override;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t remaining() const override { return size_ - position_; }
  void read(void* out, std::size_t bytes) override;

  std::uint64_t size() const { return size_; }
  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }
  /// Leaves closing the descriptor to others.
  void release() { descriptor_ = -1; }

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0, position_ = 0;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // bytes of buffer_ not handed out yet
};

/// A part of a file that stays open, read once from its first byte to its last. Parts of one file
/// may be read by several threads.
class FilePart : public ByteSource {
 public:
  /// The part must lie within the file.
  FilePart(const InputFile& file, std::uint64_t begin, std::uint64_t bytes)
      : file_(file), at_(begin), remaining_(bytes) {}

  std::uint64_t remaining() const override { return remaining_; }
  void read(void* out, std::size_t bytes) override;

 private:
  const InputFile& file_;
  std::uint64_t at_, remaining_;
};

/// The file's bytes; Error if there are more than `most`.
std::string read_text_file(const std::string& path, std::uint64_t most);

/// A file that does not outlive a failure: removed unless `commit` renamed it to the path it is
/// for.
class TemporaryFile {
 public:
  /// Beside `path`, empty, open for writing.
  explicit TemporaryFile(const std::string& path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& name() const { return name_; }
  void write(const void* data, std::size_t bytes);
  FileWriter writer() { return FileWriter(*this); }
  /// Writes what is left and closes; `name` may then be written by others, until `commit`.
  void close();
  void commit();

 private:
  void flush(const char* data, std::size_t bytes);

  std::string path_;    // as given, for messages
  std::string target_;  // with links resolved
  std::string name_;
  int descriptor_ = -1;
  std::vector<char> buffer_;
};

}  // namespace fovea
