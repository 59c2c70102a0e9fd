// The part of DLPack that arrays are exchanged by; https://dmlc.github.io/dlpack, version 0.8.
#pragma once

#include <cstdint>

namespace fovea::python {

struct DLDevice {
  std::int32_t type, id;
};
inline constexpr std::int32_t kDLCPU = 1;

struct DLDataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
inline constexpr std::uint8_t kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6;

struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: row-major
  std::uint64_t byte_offset;
};

struct DLManagedTensor {
  DLTensor tensor;
  void* manager;
  void (*deleter)(DLManagedTensor* self);
};

}  // namespace fovea::python
