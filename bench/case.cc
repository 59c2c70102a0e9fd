#include "bench/case.h"

#include "fovea/tensor/format.h"

namespace fovea::bench {

namespace {

template <class T>
void fill(T* x, std::int64_t count) {
  std::uint64_t state = 0x9e3779b97f4a7c15u;
  for (std::int64_t i = 0; i < count; ++i) {
    // Knuth's MMIX generator; four 16-bit uniforms, whose sum has variance 4/12.
    double sum = -2;
    state = state * 6364136223846793005u + 1442695040888963407u;
    const std::uint64_t bits = state ^ (state >> 29);
    for (int part = 0; part < 4; ++part) {
      sum += static_cast<double>((bits >> (16 * part)) & 0xffff) / 65536;
    }
    x[i] = static_cast<T>(sum * 1.7320508075688772);
  }
}

}  // namespace

Tensor normals(DType dtype, const Shape& shape) {
  Tensor x = Tensor::empty(dtype, shape);
  if (dtype == f32) {
    fill(x.mutable_data<float>(), x.numel());
  } else {
    fill(x.mutable_data<double>(), x.numel());
  }
  return x;
}

std::string Case::name() const {
  std::string text = format("{} {}", what, dtype);
  const auto add = [&](std::string_view label, const std::optional<std::int64_t>& extent) {
    if (extent) text += format(" {}={}", label, *extent);
  };
  add("batch", batch);
  add("heads", heads);
  if (kv_heads != heads) add("kv_heads", kv_heads);
  add("lq", lq);
  if (lk != lq) add("lk", lk);
  add("d", d);
  add("m", m);
  add("n", n);
  add("k", k);
  if (causal) text += " causal";
  if (!mask.empty()) text += " " + mask;
  if (!note.empty()) text += " " + note;
  return text;
}

std::vector<Case> all_cases(Size size) {
  std::vector<Case> cases;
  add_attention_cases(cases, size);
  add_gemm_cases(cases, size);
  add_row_cases(cases, size);
  add_overhead_cases(cases, size);
  return cases;
}

}  // namespace fovea::bench
