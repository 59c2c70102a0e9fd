// The one exception of the library.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fovea {

/// One mistake: where it was made, in which op, and what was given and is required.
struct Diagnostic {
  std::string
      place;  ///< `model.json:14:38: /nodes/3/inputs/1`, `layer.cc:42`, a file's name, or empty
  std::string op;    ///< the op's or function's name, or empty
  std::string text;  ///< `what was given; what is required`, perhaps `; did you mean …?`

  /// `place: op: text`, without the parts that are empty.
  std::string message() const;
};

/// Thrown for every mistake of a caller, of a model and of a file. The library never prints, aborts
/// or exits. Copying never throws.
class Error : public std::exception {
 public:
  /// `where` is the op or function that refuses.
  Error(std::string_view where, std::string_view text);
  explicit Error(Diagnostic diagnostic);
  /// Independent mistakes reported together; at least one.
  explicit Error(std::vector<Diagnostic> diagnostics);

  Error(const Error&) noexcept;
  Error& operator=(const Error&) noexcept;
  ~Error() override;

  /// One line for each diagnostic.
  const char* what() const noexcept override;
  const std::vector<Diagnostic>& diagnostics() const noexcept;

  /// The same error with `place` set on each diagnostic that has none.
  Error at(std::string_view place) const;

 private:
  struct Payload;
  std::shared_ptr<const Payload> payload_;
};

/// ` ; did you mean "candidate"?` for the closest candidate, or empty when nothing is close.
std::string did_you_mean(std::string_view given, const std::vector<std::string>& candidates);

/// `text` as it may stand in a message: control characters escaped, shortened to 80 characters.
std::string quoted(std::string_view text);

}  // namespace fovea
