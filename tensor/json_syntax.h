// What is wrong with a text that is no JSON. Internal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fovea {

/// `what` is the parser's message, `token` where the token begins that it does not take.
std::string json_syntax_error(std::string_view text, std::size_t token, std::string_view what);

/// Of a text with a NUL byte, which has other causes than a slip of the pen.
std::string json_binary_error(std::string_view text);

}  // namespace fovea
