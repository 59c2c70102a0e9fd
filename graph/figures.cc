#include "fovea/graph/figures.h"

#include <cstddef>
#include <iterator>

#include "fovea/tensor/format.h"

namespace fovea {

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1024;
  return unit == 0 ? format("{:.0f} bytes", bytes) : format("{:.3g} {}", bytes, kUnits[unit]);
}

std::string count_text(double count) {
  constexpr const char* kUnits[] = {"", " K", " M", " G", " T", " P", " E"};
  std::size_t unit = 0;
  for (; count >= 10000 && unit + 1 < std::size(kUnits); ++unit) count /= 1000;
  return unit == 0 ? format("{:.0f}", count) : format("{:.4g}{}", count, kUnits[unit]);
}

}  // namespace fovea
