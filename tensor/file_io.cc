#include "fovea/tensor/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <system_error>

#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 16;

std::string reason(int error) { return std::generic_category().message(error); }

std::string_view kind_of(const struct stat& status) {
  if (S_ISDIR(status.st_mode)) return "a folder";
  if (S_ISFIFO(status.st_mode)) return "a pipe";
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) return "a device";
  if (S_ISSOCK(status.st_mode)) return "a socket";
  return "no regular file";
}

void check_path(const std::string& path) {
  if (path.empty()) fail("file", "an empty path; a file's name is required");
  if (path.find('\0') != std::string::npos) {
    fail("file", "{}; a path has no NUL byte", quoted(path));
  }
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  check_path(path);
  // Not to wait for a pipe's other end.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0) fail(path, "cannot be read: {}", reason(errno));
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  const int error = errno;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    if (!known) fail(path, "cannot be read: {}", reason(error));
    fail(path, "{}; a regular file is required", kind_of(status));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(void* out, std::size_t bytes) {
  auto* to = static_cast<char*>(out);
  position_ += bytes;
  const auto take = [&](char* into, std::size_t most) {
    for (;;) {
      const ssize_t got = ::read(descriptor_, into, std::min(most, std::size_t{1} << 30));
      if (got > 0) return static_cast<std::size_t>(got);
      if (got == 0) fail(path_, "the file has become shorter while it was read");
      if (errno != EINTR) fail(path_, "cannot be read: {}", reason(errno));
    }
  };
  while (bytes > 0) {
    if (begin_ == end_ && bytes >= kBuffer) {
      const std::size_t got = take(to, bytes);
      to += got;
      bytes -= got;
      continue;
    }
    if (begin_ == end_) {
      buffer_.resize(kBuffer);
      begin_ = 0;
      end_ = take(buffer_.data(), kBuffer);
    }
    const std::size_t count = std::min(bytes, end_ - begin_);
    std::memcpy(to, buffer_.data() + begin_, count);
    begin_ += count;
    to += count;
    bytes -= count;
  }
}

void FilePart::read(void* out, std::size_t bytes) {
  auto* to = static_cast<char*>(out);
  remaining_ -= bytes;
  while (bytes > 0) {
    const ssize_t got = ::pread(file_.descriptor(), to, std::min(bytes, std::size_t{1} << 30),
                                static_cast<off_t>(at_));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) fail(file_.path(), "the file has become shorter while it was read");
    if (got < 0) fail(file_.path(), "cannot be read: {}", reason(errno));
    to += got;
    at_ += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::string read_text_file(const std::string& path, std::uint64_t most) {
  InputFile file(path);
  if (file.size() > most) fail(path, "{} bytes; at most {} are read", file.size(), most);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(text.data(), text.size());
  return text;
}

TemporaryFile::TemporaryFile(const std::string& path) : path_(path), target_(path) {
  check_path(path);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode)) {
      fail(path, "{}; a regular file, or a new one, is required", kind_of(status));
    }
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                           &std::free);
    if (real) target_ = real.get();
  } else if (::lstat(path.c_str(), &status) == 0) {
    fail(path, "a link to nothing; a regular file, or a new one, is required");
  }
  const std::size_t slash = target_.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : target_.substr(0, slash + 1);
  std::random_device random;
  for (int attempt = 0; attempt < 100; ++attempt) {
    name_ = format("{}.fovea-{:08x}{:08x}.tmp", folder, random(), random());
    descriptor_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) return;
    if (errno != EEXIST) break;
  }
  fail(path, "cannot be written: {}", reason(errno));
}

TemporaryFile::~TemporaryFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!name_.empty()) ::unlink(name_.c_str());
}

void TemporaryFile::flush(const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, data, std::min(bytes, std::size_t{1} << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail(path_, "cannot be written: {}", reason(put < 0 ? errno : ENOSPC));
    data += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

void TemporaryFile::write(const void* data, std::size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBuffer) {
    flush(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  if (bytes >= kBuffer) return flush(from, bytes);
  buffer_.insert(buffer_.end(), from, from + bytes);
}

void TemporaryFile::close() {
  flush(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    fail(path_, "cannot be written: {}", reason(errno));
  }
}

void TemporaryFile::commit() {
  if (descriptor_ >= 0) close();
  if (std::rename(name_.c_str(), target_.c_str()) != 0) {
    fail(path_, "cannot be written: {}", reason(errno));
  }
  name_.clear();
}

void FileWriter::write(const void* data, std::size_t bytes) { file_.write(data, bytes); }

void atomic_write(const std::string& path, const std::function<void(FileWriter&)>& write,
                  const std::function<void()>& before_rename) {
  TemporaryFile file(path);
  FileWriter writer = file.writer();
  write(writer);
  file.close();
  if (before_rename) before_rename();
  file.commit();
}

}  // namespace fovea
