#include "fovea/graph/executable.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>

#include "fovea/graph/gradients.h"
#include "fovea/ops/attention.h"
#include "fovea/ops/elementwise.h"
#include "fovea/ops/evaluate.h"
#include "fovea/ops/logic.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/movement.h"
#include "fovea/ops/reductions.h"
#include "fovea/tensor/random.h"

using namespace fovea;

namespace {

std::atomic<std::int64_t> allocations = 0;

Tensor normal(const Shape& shape, std::uint64_t stream, DType dtype = f64) {
  return random_normal(dtype, shape, 0, 1, {7, stream});
}

void check_equal(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(equal_bits(got[i], want[i]));
}

}  // namespace

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(std::max(bytes, std::size_t{1}));
}
void* operator new(std::size_t bytes) {
  if (void* memory = operator new(bytes, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  ++allocations;
  const auto align = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(align, (bytes + align - 1) / align * align);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (void* memory = operator new(bytes, alignment, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

TEST_CASE("a compiled graph gives what plain evaluation gives, with and without passes") {
  const Expr a = input("a", f64, {3, 1, 5}), b = input("b", f64, {4, 1}), c = input("c", f64, {});
  const Expr s = exp(a * b - 1) + c, t = s / (2 + exp(-s));
  const std::vector<Expr> outputs{t, s * s, s, t - t, a + 0.5};
  const std::vector<Tensor> values{normal({3, 1, 5}, 0), normal({4, 1}, 1), normal({}, 2)};
  const std::vector<Binding> bindings{{a, values[0]}, {b, values[1]}, {c, values[2]}};
  const std::vector<Tensor> want = evaluate(outputs, bindings);
  const std::vector<Expr> inputs{a, b, c};
  check_equal(compile(inputs, outputs)(values), want);
  check_equal(compile(inputs, outputs, CompileOptions::plain())(values), want);
  CompileOptions frozen;
  frozen.frozen = {{b, values[1]}, {c, values[2]}};
  check_equal(compile({{a}}, outputs, frozen)(std::vector{values[0]}), want);
}

TEST_CASE("a chain fused from values of different sizes reads each before it is overwritten") {
  for (const DType dtype : {f32, f64}) {
    const Expr a = input("a", dtype, {3, 5}), b = input("b", dtype, {5, 1});
    const Expr y = 2 * where(isfinite(a), a, 7) + where(less(a, transpose(b)), 1, a);
    const Tensor x = normal({3, 5}, 8, dtype), z = normal({5, 1}, 9, dtype);
    const std::vector<Tensor> want = evaluate(std::vector{y}, std::vector<Binding>{{a, x}, {b, z}});
    check_equal(compile({a, b}, {y})(std::vector{x, z}), want);
  }
}

TEST_CASE("outputs never alias inputs, constants or each other") {
  const Expr a = input("a", f64, {8});
  const Tensor fixed = normal({8}, 3);
  const Executable run = compile({a}, {a, constant(fixed), a, exp(a)});
  const Tensor value = normal({8}, 4);
  const std::vector<Tensor> out = run({value});
  check_equal({out[0], out[1], out[2]}, {value, fixed, value});
  for (std::size_t i = 0; i < out.size(); ++i) {
    CHECK_FALSE(out[i].overlaps(value));
    CHECK_FALSE(out[i].overlaps(fixed));
    for (std::size_t j = 0; j < i; ++j) CHECK_FALSE(out[i].overlaps(out[j]));
  }
}

TEST_CASE("inputs may be strided, outputs may be strided or share an input's memory") {
  const Expr a = input("a", f64, {4, 6}), b = input("b", f64, {4, 6});
  const Executable run = compile({a, b}, {exp(a) + b, a - b});
  const Tensor x = normal({6, 4}, 5).transpose({1, 0}), y = normal({4, 12}, 6).slice(1, 1, {}, 2);
  const std::vector<Tensor> want = run({x.copy(), y.copy()});
  check_equal(run({x, y}), want);
  const std::vector<Tensor> strided{Tensor::zeros(f64, {6, 4}).transpose({1, 0}),
                                    Tensor::zeros(f64, {4, 6})};
  run.run(std::vector{x, y}, strided);
  check_equal(strided, want);
  const Tensor shared = x.copy();
  const std::vector<Tensor> into{shared, Tensor::zeros(f64, {4, 6})};
  run.run(std::vector{shared, y}, into);
  check_equal(into, want);
}

TEST_CASE("of many inputs and outputs, any two may share memory") {
  constexpr std::size_t kCount = 12;
  std::vector<Expr> a, y;
  for (std::size_t i = 0; i < kCount; ++i) a.push_back(input("a" + std::to_string(i), f64, {5}));
  for (std::size_t i = 0; i < kCount; ++i) y.push_back(exp(a[i]) + a[(i + 1) % kCount]);
  const Executable run = compile(a, y);
  const auto rows = [](const Tensor& memory, std::int64_t step) {
    std::vector<Tensor> list;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(kCount); ++i)
      list.push_back(memory.slice(0, i * step, i * step + 5));
    return list;
  };
  const Tensor values = normal({60}, 9);
  const std::vector<Tensor> want = run(rows(values, 5));
  const std::vector<Tensor> apart = rows(Tensor::zeros(f64, {60}), 5);
  run.run(rows(values, 5), apart);
  check_equal(apart, want);
  const std::vector<Tensor> shared = rows(values.copy(), 5);
  run.run(shared, shared);
  check_equal(shared, want);
  const Tensor overlapping = Tensor::zeros(f64, {60});  // the later of two outputs stands there
  run.run(rows(values, 5), rows(overlapping, 4));
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(kCount); ++i) {
    const std::int64_t own = i + 1 < static_cast<std::int64_t>(kCount) ? 4 : 5;
    check_equal({overlapping.slice(0, i * 4, i * 4 + own)},
                {want[static_cast<std::size_t>(i)].slice(0, 0, own)});
  }
}

TEST_CASE("a chain reuses memory, and knows its peak before it runs") {
  const Shape shape{1000};
  const Expr a = input("a", f64, shape), b = input("b", f64, {2, 1000});
  Expr x = a * a;
  Expr other = b;
  for (int i = 0; i < 50; ++i) other = exp(-other);
  for (int i = 0; i < 50; ++i) x = exp(-x);
  const std::size_t peak = compile({a, b}, {x + other}).peak_bytes();
  CHECK(
      peak <
      200'000);  // 16,000 for the result, a few rows of 8,000, and tiles of scratch for each thread
}

TEST_CASE("after the first call, a call into the caller's memory allocates nothing") {
  const Expr a = input("a", f64, {3, 40}), b = input("b", f64, {40});
  const Executable run = compile({a, b}, {exp(a * b) + 1, (a - b) / 3});
  const std::vector<Tensor> in{normal({3, 40}, 7), normal({40}, 8)};
  const std::vector<Tensor> out{Tensor::empty(f64, {3, 40}), Tensor::empty(f64, {3, 40})};
  run.run(in, out);
  const std::int64_t before = allocations;
  run.run(in, out);
  CHECK(allocations - before == 0);
}

TEST_CASE("nor does an attention layer, forward and backward") {
  const Expr x = input("x", f32, {2, 24, 32}), w = input("w", f32, {32, 96});
  const Expr split =
      transpose(reshape(matmul(x, w), {.shape = {2, 24, 3, 4, 8}}), {.perm = {2, 0, 3, 1, 4}});
  const auto part = [&](std::int64_t i) { return select(split, {.axis = 0, .index = i}); };
  const Expr y = attention(part(0), part(1), part(2), {.causal = true});
  const Expr loss = mean(square(y));
  const std::vector<Expr> d = gradients(loss, {x, w});
  const Executable run = compile({x, w}, {loss, d[0], d[1]});
  const std::vector<Tensor> in{normal({2, 24, 32}, 9, f32), normal({32, 96}, 10, f32)};
  const std::vector<Tensor> out = run(in);
  run.run(in, out);
  const std::int64_t before = allocations;
  run.run(in, out);
  CHECK(allocations - before == 0);
}

TEST_CASE("several threads may call one executable at once") {
  const Expr a = input("a", f64, {257});
  const Executable run = compile({a}, {exp(a) * a + exp(-a)});
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const Tensor x = normal({257}, t);
      const Tensor want = run({x})[0];
      for (int i = 0; i < 200; ++i) wrong += equal_bits(run({x})[0], want) ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("compile and run refuse what does not fit") {
  const Expr a = input("a", f64, {2}), b = input("b", f64, {2});
  CHECK_THROWS_WITH_AS(compile({a}, {a + b}), doctest::Contains("\"b\" is needed"), Error);
  CHECK_THROWS_WITH_AS(compile({a, a}, {a}), doctest::Contains("stands twice"), Error);
  CHECK_THROWS_WITH_AS(compile({a + b}, {a}), doctest::Contains("not an input"), Error);
  const Executable run = compile({a}, {a * a});
  CHECK_THROWS_WITH_AS(run({}), doctest::Contains("0 inputs; 1 are required"), Error);
  CHECK_THROWS_WITH_AS(run({normal({3}, 0)}), doctest::Contains("f64 (3,); f64 (2,) is required"),
                       Error);
  CHECK_THROWS_WITH_AS(run({normal({2}, 0, f32)}),
                       doctest::Contains("f32 (2,); f64 (2,) is required"), Error);
  CHECK_THROWS_WITH_AS(run({Tensor()}), doctest::Contains("null tensor"), Error);
}
