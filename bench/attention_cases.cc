// Attention, forward and backward, and the layer around it.
//
// Floating-point operations are counted as in the literature: 4·B·H·Lq·Lk·d forward, 10·… backward
// and 14·… for both. Causal counts half, a window the pairs that it shows, a boolean mask or a bias
// everything.
#include <algorithm>
#include <cmath>

#include "bench/case.h"
#include "fovea/fovea.h"
#include "fovea/ops/attention_gradient.h"

namespace fovea::bench {

namespace {

enum class Pass { forward, backward, both };

struct Problem {
  std::int64_t heads = 8, lq = 0, lk = 0, d = 64;
  bool causal = false;
  std::string mask = {};
  std::int64_t kv_heads = 0;  // 0: as many as heads
  DType dtype = f32;

  std::int64_t shared() const { return kv_heads == 0 ? heads : kv_heads; }
};

constexpr std::int64_t kWindow = 256;

// (query, key) pairs of one head that count.
double pairs(const Problem& p) {
  const auto all = static_cast<double>(p.lq) * static_cast<double>(p.lk);
  if (p.mask == "window") {
    const auto width = static_cast<double>(std::min(kWindow, p.lk));
    return static_cast<double>(p.lq) * width - width * (width - 1) / 2;
  }
  return p.causal ? all / 2 : all;
}

Attention attributes(const Problem& p) {
  Attention a;
  a.causal = p.causal;
  if (p.mask == "window") a.window = {kWindow - 1, 0};
  return a;
}

// The call runs `outputs` of `inputs` into memory of its own.
Call compiled(const std::vector<Expr>& inputs, const std::vector<Expr>& outputs,
              std::vector<Tensor> given) {
  Executable executable = compile(inputs, outputs);
  std::vector<Tensor> results;
  for (const TensorSpec& spec : executable.outputs()) {
    results.push_back(Tensor::zeros(spec.dtype, spec.shape));
  }
  executable.run(given, results);
  std::size_t extra = executable.peak_bytes();
  for (const Tensor& result : results) extra -= result.nbytes();
  Call call = [executable, given = std::move(given), results = std::move(results)] {
    executable.run(given, results);
  };
  call.extra_bytes = extra;
  return call;
}

struct Operands {
  std::vector<Expr> inputs;
  std::vector<Tensor> given;
  Attention::In<Expr> in;

  explicit Operands(const Problem& p) {
    in.q = add("q", normals(p.dtype, {1, p.heads, p.lq, p.d}));
    in.k = add("k", normals(p.dtype, {1, p.shared(), p.lk, p.d}));
    in.v = add("v", normals(p.dtype, {1, p.shared(), p.lk, p.d}));
    if (p.mask == "bool") in.mask = add("mask", random_bernoulli({p.lq, p.lk}, 0.5, {1, 1}));
    if (p.mask == "bias") in.bias = add("bias", normals(p.dtype, {p.lq, p.lk}));
  }
  Expr add(const std::string& name, const Tensor& value) {
    inputs.push_back(input(name, value.dtype(), value.shape()));
    given.push_back(value);
    return inputs.back();
  }
};

Call prepare(const Problem& p, Pass pass) {
  Operands o(p);
  const Attention a = attributes(p);
  if (pass == Pass::forward) return compiled(o.inputs, {attention(o.in, a).y}, o.given);
  const Tensor dy = normals(p.dtype, {1, p.heads, p.lq, p.d});
  if (pass == Pass::both) {
    const Attention::Out<Expr> out = attention(o.in, a);
    const Expr cotangent = o.add("dy", dy);
    std::vector<Expr> results =
        gradients(std::vector{out.y}, std::vector{o.in.q, o.in.k, o.in.v}, std::vector{cotangent});
    results.push_back(out.y);
    return compiled(o.inputs, results, o.given);
  }
  const Attention::Out<Expr> out = attention(o.in, a);
  const std::vector<Tensor> known = compile(o.inputs, std::vector{out.y, out.lse})(o.given);
  AttentionGradient::In<Expr> in{.q = o.in.q, .k = o.in.k, .v = o.in.v, .lse = {}};
  in.mask = o.in.mask;
  in.bias = o.in.bias;
  in.y = o.add("y", known[0]);
  in.lse = o.add("lse", known[1]);
  in.dy = o.add("dy", dy);
  AttentionGradient gradient;
  static_cast<Attention&>(gradient) = a;
  const auto d = apply(gradient, in, Location());
  return compiled(o.inputs, {d.dq, d.dk, d.dv}, o.given);
}

Case attention_case(std::string what, const Problem& p, Pass pass) {
  Case c;
  c.what = std::move(what);
  c.dtype = p.dtype;
  c.batch = 1;
  c.heads = p.heads;
  c.kv_heads = p.shared();
  c.lq = p.lq;
  c.lk = p.lk;
  c.d = p.d;
  c.causal = p.causal;
  c.mask = p.mask;
  const double per_pair = pass == Pass::forward ? 4 : pass == Pass::backward ? 10 : 14;
  c.work = per_pair * pairs(p) * static_cast<double>(p.heads * p.d);
  c.prepare = [p, pass] { return prepare(p, pass); };
  return c;
}

// One self-attention layer with its projections, and the gradients of its weights and input.
Call prepare_layer(std::int64_t batch, std::int64_t length, std::int64_t width,
                   std::int64_t heads) {
  const Expr x = input("x", f32, {batch, length, width});
  const Expr w_qkv = input("w_qkv", f32, {width, 3 * width});
  const Expr w_out = input("w_out", f32, {width, width});
  const Expr dy = input("dy", f32, {batch, length, width});
  const Expr qkv =
      transpose(reshape(matmul(x, w_qkv), {.shape = {batch, length, 3, heads, width / heads}}),
                {.perm = {2, 0, 3, 1, 4}});
  const auto part = [&](std::int64_t i) { return select(qkv, {.axis = 0, .index = i}); };
  const Expr att = attention(part(0), part(1), part(2), {.causal = true});
  const Expr joined =
      reshape(transpose(att, {.perm = {0, 2, 1, 3}}), {.shape = {batch, length, width}});
  const Expr y = matmul(joined, w_out);
  std::vector<Expr> results =
      gradients(std::vector{y}, std::vector{x, w_qkv, w_out}, std::vector{dy});
  results.push_back(y);
  const auto scaled = [width](Tensor t) {
    auto* data = t.mutable_data<float>();
    const float factor = 1 / std::sqrt(static_cast<float>(width));
    for (std::int64_t i = 0; i < t.numel(); ++i) data[i] *= factor;
    return t;
  };
  return compiled({x, w_qkv, w_out, dy}, results,
                  {normals(f32, x.shape()), scaled(normals(f32, w_qkv.shape())),
                   scaled(normals(f32, w_out.shape())), normals(f32, dy.shape())});
}

Case layer_case(Size size) {
  const std::int64_t batch = 4, width = 512, heads = 8, length = size == Size::full ? 512 : 64;
  Case c;
  c.what = "layer";
  c.note = "forward and backward, projections included";
  c.batch = batch;
  c.heads = c.kv_heads = heads;
  c.lq = c.lk = length;
  c.d = width / heads;
  c.causal = true;
  const auto rows = static_cast<double>(batch * length), w = static_cast<double>(width);
  // Each of three products per projection; then 14 per visible pair.
  c.work = 3 * 2 * rows * w * (3 * w + w) + 14 * rows * static_cast<double>(length) * w / 2;
  c.coverage = {.plain = false, .parallel = true};
  c.prepare = [=] { return prepare_layer(batch, length, width, heads); };
  return c;
}

class List {
 public:
  List(std::vector<Case>& cases, Size size)
      : cases_(cases), most_(size == Size::full ? 1 << 30 : 256) {}

  Case& add(std::string what, Problem p, Pass pass, Coverage coverage = {}) {
    p.lq = std::min(p.lq, most_);
    p.lk = std::min(p.lk, most_);
    cases_.push_back(attention_case(std::move(what), p, pass));
    cases_.back().coverage = coverage;
    return cases_.back();
  }

  // Bound by reading k and v once.
  void add_decode(Problem p) {
    Case& c = add("decode", p, Pass::forward, {.plain = false, .parallel = true});
    c.unit = "GB/s";
    c.work =
        2.0 * static_cast<double>(p.shared() * *c.lk * p.d) * static_cast<double>(size_of(p.dtype));
    c.yardstick = Yardstick::read;
  }

 private:
  std::vector<Case>& cases_;
  std::int64_t most_;
};

}  // namespace

void add_attention_cases(std::vector<Case>& cases, Size size) {
  List list(cases, size);
  for (const bool causal : {false, true}) {
    for (const std::int64_t length : {128, 512, 1024, 2048}) {
      list.add("forward", {.lq = length, .lk = length, .causal = causal}, Pass::forward,
               {.plain = length == 512, .parallel = length >= 512});
    }
    list.add("forward", {.heads = 4, .lq = 4096, .lk = 4096, .d = 128, .causal = causal},
             Pass::forward);
    for (const std::int64_t length : {512, 1024, 2048}) {
      list.add("backward", {.lq = length, .lk = length, .causal = causal}, Pass::backward,
               {.plain = length == 512, .parallel = true});
    }
    for (const std::int64_t length : {512, 1024}) {
      list.add("backward", {.lq = length, .lk = length, .d = 128, .causal = causal},
               Pass::backward);
    }
    list.add("both", {.lq = 1024, .lk = 1024, .causal = causal}, Pass::both,
             {.plain = false, .parallel = true});
  }
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const std::string what = pass == Pass::forward ? "forward" : "backward";
    for (const std::int64_t length : {512, 2048}) {
      list.add(what, {.heads = 1, .lq = length, .lk = length}, pass,
               {.plain = false, .parallel = true});
    }
    list.add(what, {.lq = 1000, .lk = 1000, .d = 80}, pass);
    list.add(what, {.lq = 777, .lk = 777, .d = 40}, pass);
    list.add(what, {.lq = 1024, .lk = 1024, .dtype = f64}, pass);
    list.add(what, {.lq = 1024, .lk = 1024, .kv_heads = 2}, pass);
  }
  std::function<Call()> unmasked;
  for (const char* mask : {"", "bool", "bias", "window"}) {
    Case& c = list.add("forward", {.lq = 4096, .lk = 4096, .mask = mask}, Pass::forward);
    if (c.mask.empty()) unmasked = c.prepare;
    if (c.mask == "bool" || c.mask == "bias") c.beside = unmasked, c.beside_name = "no mask";
  }
  for (const std::int64_t heads : {2, 8}) {
    list.add_decode({.heads = 8, .lq = 1, .lk = 4096, .d = 128, .kv_heads = heads});
  }
  list.add("tiny", {.heads = 1, .lq = 16, .lk = 16}, Pass::forward).note =
      "through the public call";
  cases.push_back(layer_case(size));
}

}  // namespace fovea::bench
