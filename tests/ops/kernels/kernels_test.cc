#include "fovea/ops/kernels/kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "fovea/tensor/error.h"

namespace fovea::kernels {
namespace {

// A table holds nothing but pointers.
template <class T>
bool complete(const Loops<T>& loops) {
  std::array<void (*)(), sizeof(loops) / sizeof(void (*)())> pointers;
  std::memcpy(pointers.data(), &loops, sizeof(loops));
  return std::none_of(pointers.begin(), pointers.end(), [](auto* p) { return p == nullptr; });
}

// The environment is read at the first call of kernels(), so this case stands first.
TEST_CASE("FOVEA_ISA that is unknown is refused") {
  const char* given = std::getenv("FOVEA_ISA");
  const std::string before = given != nullptr ? given : "";
  setenv("FOVEA_ISA", "sse9", 1);
  CHECK_THROWS_WITH_AS(kernels(), doctest::Contains("FOVEA_ISA: unknown instruction set"), Error);
  CHECK_THROWS_WITH_AS(kernels(), doctest::Contains("scalar"), Error);
  setenv("FOVEA_ISA", "sse2", 1);
  CHECK(isa_in_use() == Isa::sse2);
  setenv("FOVEA_ISA", before.c_str(), 1);
}

TEST_CASE("every set fills its table") {
  const auto isas = available_isas();
  REQUIRE(!isas.empty());
  CHECK(isas.front() == Isa::scalar);
  for (const Isa isa : isas) {
    CAPTURE(std::string(name_of(isa)));
    const Kernels* table = kernels_for(isa);
    REQUIRE(table != nullptr);
    CHECK(table->isa == isa);
    CHECK(complete(table->f32));
    CHECK(complete(table->f64));
  }
}

TEST_CASE("a scope switches the set and back") {
  const Isa before = isa_in_use();
  {
    const ScopedIsa outer(Isa::scalar);
    CHECK(isa_in_use() == Isa::scalar);
    {
      const ScopedIsa inner(available_isas().back());
      CHECK(isa_in_use() == available_isas().back());
    }
    CHECK(isa_in_use() == Isa::scalar);
  }
  CHECK(isa_in_use() == before);
}

}  // namespace
}  // namespace fovea::kernels
