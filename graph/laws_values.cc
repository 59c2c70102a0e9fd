// Laws 1 and 7 to 10: what forward computes, from whatever memory, on whatever machine.
#include <algorithm>
#include <limits>

#include "fovea/graph/law_run.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace {

constexpr DType kReals[] = {f64, f32};

void check_in_place(const SampleRun& run, const std::vector<Tensor>& values,
                    const std::vector<Tensor>& expected, LawSink& sink) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i] || spec_of(values[i]) != spec_of(expected[0])) continue;
    const GuardedOutput memory(spec_of(values[i]), 0);
    memory.tensor().copy_from(values[i]);
    std::vector<Tensor> in = values;
    in[i] = memory.tensor();
    std::vector<Tensor> out(expected.size());
    out[0] = in[i];
    Context context;
    run.op().forward(context, in, out);
    if (memory.overrun()) {
      throw Trespass(1, format("in place of input {}: output 0 is written beyond its end", i));
    }
    if (auto text = difference(out[0], expected[0])) {
      sink.broken(format("in place of input {} at {}", i, *text));
    }
    sink.ran();
  }
}

}  // namespace

void check_filling(const SampleRun& run, LawSink& sink) {
  for (DType real : kReals) {
    const std::vector<Tensor>& values = run.values(real);
    const std::vector<Tensor> first = guarded_forward(run.op(), values, 0);
    const std::vector<Tensor> second = guarded_forward(run.op(), values, 1);
    if (auto text = difference(first, second)) {
      sink.broken(format("{}: what was in the output's memory shows: {}", real, *text));
    }
    sink.ran();
    for (std::size_t o = 0; first.size() > 1 && o < first.size(); ++o) {
      std::vector<Tensor> wanted(first.size());
      wanted[o] = first[o];
      const auto alone = guarded_forward(run.op(), values, 1, static_cast<std::int64_t>(o));
      if (auto text = difference(alone, wanted)) {
        sink.broken(format("{}: output {} alone differs: {}", real, o, *text));
      }
      sink.ran();
    }
    if (run.type().overwrites) check_in_place(run, values, first, sink);
  }
}

namespace {

// The same elements, each in memory of another layout.
Tensor transposed(const Tensor& x) {
  std::vector<std::int64_t> perm;
  for (std::int64_t axis = x.rank(); axis-- > 0;) perm.push_back(axis);
  return x.transpose(perm).copy().transpose(perm);
}

Tensor every_second(const Tensor& x) {
  std::vector<Extent> extents;
  for (const Extent& extent : x.shape()) extents.emplace_back(2 * extent + 1);
  // What stands between must not be read: NaN, or another value.
  const Tensor larger = is_float(x.dtype()) ? Tensor::full(x.dtype(), Shape(std::move(extents)),
                                                           std::numeric_limits<double>::quiet_NaN())
                                            : Tensor::full(x.dtype(), Shape(std::move(extents)), 1);
  Tensor view = larger;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    view = view.slice(axis, 1, 2 * x.shape()[axis] + 1, 2);
  }
  view.copy_from(x);
  return view;
}

Tensor backwards(const Tensor& x) {
  Tensor flipped = x;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) flipped = flipped.slice(axis, {}, {}, -1);
  flipped = flipped.copy();
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) flipped = flipped.slice(axis, {}, {}, -1);
  return flipped;
}

void compare_layout(const SampleRun& run, const std::vector<Tensor>& views,
                    const std::vector<Tensor>& expected, std::string_view what, LawSink& sink) {
  if (auto text = difference(run.forward(views), expected)) {
    sink.broken(format("{} inputs: {}", what, *text));
  }
  sink.ran();
}

std::vector<Tensor> map_inputs(const std::vector<Tensor>& values, Tensor (*layout)(const Tensor&)) {
  std::vector<Tensor> mapped;
  for (const Tensor& x : values) mapped.push_back(x ? layout(x) : x);
  return mapped;
}

}  // namespace

void check_views(const SampleRun& run, LawSink& sink) {
  for (DType real : kReals) {
    const std::vector<Tensor>& values = run.values(real);
    const std::vector<Tensor>& expected = run.results(real);
    compare_layout(run, map_inputs(values, transposed), expected, "transposed", sink);
    compare_layout(run, map_inputs(values, every_second), expected, "sliced", sink);
    compare_layout(run, map_inputs(values, backwards), expected, "reversed", sink);
    for (std::size_t i = 0; i < values.size(); ++i) {
      for (std::int64_t axis = 0; values[i] && axis < values[i].rank(); ++axis) {
        if (values[i].shape()[axis] < 2) continue;
        std::vector<Tensor> views = values, copies = values;
        views[i] = values[i].slice(axis, 0, 1).broadcast_to(values[i].shape());
        copies[i] = views[i].copy();
        compare_layout(run, views, run.forward(copies), "broadcast", sink);
      }
    }
  }
}

void check_determinism(const SampleRun& run, LawSink& sink) {
  const int threads = num_threads();
  for (DType real : kReals) {
    // Each run looks at the inputs when it is done: guarded_forward.
    const std::vector<Tensor>& values = run.values(real);
    const std::vector<Tensor> again = run.forward(values);
    if (auto text = difference(again, run.results(real))) {
      sink.broken(format("a second run gives other bits: {}", *text));
    }
    sink.ran();
    for (int count : {1, 2, 3}) {
      set_num_threads(count);
      std::optional<std::string> text;
      try {
        text = difference(run.forward(values), again);
      } catch (...) {
        set_num_threads(threads);
        throw;
      }
      set_num_threads(threads);
      if (text) sink.broken(format("{} threads give other bits: {}", count, *text));
      sink.ran();
    }
  }
}

void check_narrow(const SampleRun& run, LawSink& sink) {
  // The rounded inputs, exactly, in f64: only the arithmetic differs.
  std::vector<Tensor> exact;
  for (const Tensor& x : run.values(f32)) {
    exact.push_back(x && x.dtype() == f32 ? x.astype(f64) : x);
  }
  const std::vector<Tensor> expected = run.forward(exact);
  const std::vector<Tensor>& given = run.results(f32);
  for (std::size_t o = 0; o < given.size(); ++o) {
    const bool exactly = !is_float(given[o].dtype());
    const auto text =
        difference(given[o], expected[o], exactly ? std::vector<double>{0} : run.rounding(o, f32));
    if (text) sink.broken(format("f32 output {} at {}", o, *text));
    sink.ran();
  }
}

void check_instruction_sets(const SampleRun& run, LawSink& sink) {
  using kernels::Isa;
  for (DType real : kReals) {
    std::vector<std::pair<Isa, std::vector<Tensor>>> all;
    for (const Isa isa : kernels::available_isas()) {
      const kernels::ScopedIsa scope(isa);
      all.emplace_back(isa, run.forward(run.values(real)));
    }
    const std::vector<Tensor>* fused = nullptr;
    for (const auto& [isa, results] : all) {
      const bool fuses = isa == Isa::avx2 || isa == Isa::avx512;
      if (fuses && fused) {
        if (auto text = difference(results, *fused)) {
          sink.broken(format("{}: avx512 and avx2 differ: {}", real, *text));
        }
      }
      if (fuses) fused = &results;
      for (std::size_t o = 0; o < results.size(); ++o) {
        const auto text = difference(results[o], all[0].second[o], run.rounding(o, real));
        if (text) sink.broken(format("{} {}: output {} at {}", real, name_of(isa), o, *text));
      }
      sink.ran();
    }
  }
}

}  // namespace fovea
