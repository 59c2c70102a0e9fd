#include "fovea/cli/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

constexpr std::size_t kMostErrors = 20;
constexpr std::size_t kMostBytes = 4096;
constexpr std::size_t kLongestLine = 1000;

// Bytes of the UTF-8 character that starts `text`; 0 if there is none.
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t size = first < 0x80   ? 1
                           : first < 0xc2 ? 0
                           : first < 0xe0 ? 2
                           : first < 0xf0 ? 3
                           : first < 0xf5 ? 4
                                          : 0;
  if (size == 0 || size > text.size()) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return size;
}

// Valid UTF-8 without control characters but the line's end, shortened to `most` bytes.
std::string printable(std::string_view text, std::size_t most) {
  std::string out;
  while (!text.empty()) {
    if (out.size() + 8 > most) return out + "…";
    const std::size_t size = character_size(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (size == 0 || (first < 0x20 && first != '\n') || first == 0x7f) {
      out += format("\\x{:02x}", first);
      text.remove_prefix(1);
    } else {
      out += text.substr(0, size);
      text.remove_prefix(size);
    }
  }
  return out;
}

bool write_all(int stream, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(stream, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

bool prepare_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error of writing
  bool stdout_is_open = true;
  for (int stream = 0; stream <= 2; ++stream) {
    if (fcntl(stream, F_GETFD) != -1) continue;
    if (stream == 1) stdout_is_open = false;
    // The lowest free descriptor is this one.
    if (open("/dev/null", O_RDWR) != stream) break;
  }
  return stdout_is_open;
}

void print(std::string_view text, bool stdout_is_open) {
  if (text.empty()) return;
  if (!stdout_is_open) throw Error("stdout", "it is closed; the result cannot be printed");
  if (!write_all(1, text)) {
    throw Error("stdout", format("the result cannot be printed: {}", std::strerror(errno)));
  }
}

void note(std::string_view text) { write_all(2, printable(text, kMostBytes) + "\n"); }

void print_error(const Error& error) {
  std::string out;
  std::size_t printed = 0;
  const std::size_t all = error.diagnostics().size();
  for (const Diagnostic& diagnostic : error.diagnostics()) {
    const std::string line = printable(diagnostic.message(), kLongestLine) + "\n";
    if (printed == kMostErrors || out.size() + line.size() + 64 > kMostBytes) break;
    out += line;
    ++printed;
  }
  if (printed < all) {
    out += format("… and {} more {}\n", all - printed, all - printed == 1 ? "error" : "errors");
  }
  write_all(2, out);
}

void print_error(std::string_view text) {
  write_all(2, "fovea: " + printable(text, kLongestLine) + "\n");
}

Progress::Progress(std::string what, bool quiet) : what_(std::move(what)) {
  if (!quiet && isatty(2) == 1) thread_ = std::thread([this] { run(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Progress::set(double part) {
  const std::lock_guard lock(mutex_);
  part_ = part;
}

void Progress::run() {
  using std::chrono::seconds;
  std::unique_lock lock(mutex_);
  bool shown = false;
  for (int elapsed = 1; !changed_.wait_for(lock, seconds(1), [this] { return done_; }); ++elapsed) {
    shown = true;
    const std::string part = part_ < 0 ? "" : format(" {:.0f} %,", 100 * std::min(part_, 1.0));
    write_all(2, format("\r{}:{} {} s ", what_, part, elapsed));
  }
  if (shown) write_all(2, "\r\x1b[K");
}

}  // namespace fovea::cli
