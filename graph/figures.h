// Large numbers as people read them. Internal.
#pragma once

#include <string>

namespace fovea {

/// `512 bytes`, `1.5 KiB`, `324 MiB`.
std::string bytes_text(double bytes);
/// `768`, `12.3 K`, `85.1 M`, `22 G`.
std::string count_text(double count);

}  // namespace fovea
