// Files that are complete or not there.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace fovea {

class TemporaryFile;

/// Where the callback of `atomic_write` puts its bytes.
class FileWriter {
 public:
  /// Throws Error with the system's reason, a full disk for instance.
  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }

 private:
  friend class TemporaryFile;
  explicit FileWriter(TemporaryFile& file) : file_(file) {}
  TemporaryFile& file_;
};

/// Calls `write` with a temporary file in the folder of `path`, and renames it to `path` when it is
/// complete. On any failure, an exception of `write` too, the temporary file is removed, a file
/// that was at `path` is unchanged, and an Error names the path and the system's reason (other
/// exceptions of `write` pass through). A symbolic link is followed. Refused: a path that is there
/// and is no regular file. `before_rename`, when given, is called when the file is complete; it may
/// throw as `write` may.
void atomic_write(const std::string& path, const std::function<void(FileWriter&)>& write,
                  const std::function<void()>& before_rename = {});

}  // namespace fovea
