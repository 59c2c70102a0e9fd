// A folder for one test's files, and the text of the error that a call ends in.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "fovea/tensor/error.h"

namespace fovea {

class Scratch {
 public:
  Scratch() {
    const char* given = std::getenv("TEST_TMPDIR");
    const std::filesystem::path base =
        given != nullptr ? given : std::filesystem::temp_directory_path();
    std::string pattern = (base / "scratch-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string path(std::string_view name) const { return folder_ + "/" + std::string(name); }

  std::string put(std::string_view name, std::string_view bytes) const {
    const std::string file = path(name);
    // Some file systems write to the disk at once when an old file is emptied.
    std::filesystem::remove(file);
    std::ofstream(file, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    return file;
  }

  static std::string get(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

 private:
  std::string folder_;
};

/// The message of the fovea::Error that `call` ends in; empty if it does not.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Bytes from hexadecimal digits; anything else is skipped.
inline std::string unhex(std::string_view digits) {
  std::string bytes, nibbles;
  for (char c : digits) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) continue;
    nibbles += c;
    if (nibbles.size() < 2) continue;
    bytes += static_cast<char>(std::stoi(nibbles, nullptr, 16));
    nibbles.clear();
  }
  return bytes;
}

/// `number` as `bytes` little-endian bytes.
inline std::string little_endian(std::uint64_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i) & 0xff);
  return text;
}

}  // namespace fovea
