// What the command prints, and where.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "fovea/tensor/error.h"

namespace fovea::cli {

/// Makes sure that no file opened later becomes a standard stream that the caller has closed, and
/// that a closed pipe is an error, not a signal. Returns whether stdout is open.
bool prepare_streams();

/// Writes all of `text` to stdout. Throws Error if that fails.
void print(std::string_view text, bool stdout_is_open);

/// A line on stderr.
void note(std::string_view text);

/// Prints at most 20 mistakes and 4 KiB on stderr, then how many more there are.
void print_error(const Error& error);
/// `fovea: text` on stderr.
void print_error(std::string_view text);

/// While it lives, and once a second has passed, stderr says that work goes on, if it is a
/// terminal.
class Progress {
 public:
  Progress(std::string what, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// The part that is done, from 0 to 1.
  void set(double part);

 private:
  void run();

  std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  double part_ = -1;
  std::thread thread_;
};

}  // namespace fovea::cli
