// What attention refuses, and how it says so.
#include <doctest/doctest.h>

#include <string>

#include "attention_reference.h"
#include "fovea/ops/registry.h"

using namespace fovea;
using namespace fovea::test;

namespace {

Expr in(std::initializer_list<Extent> shape, DType dtype = f32) {
  return input("x", dtype, Shape(shape));
}

std::string refusal(const Attention::In<Expr>& inputs, const Attention& a = {}) {
  try {
    attention(inputs, a);
  } catch (const Error& error) {
    const Diagnostic& first = error.diagnostics().front();
    CHECK(first.op == "attention");
    CHECK(first.place.find("attention_errors_test.cc:") != std::string::npos);
    return first.text;
  }
  return "nothing refused";
}

std::string decoding(const AttributeMap& attributes) {
  try {
    op_type<Attention>().make(attributes);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing refused";
}

bool has(const std::string& text, std::string_view part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE(text);
  return found;
}

}  // namespace

TEST_CASE("attention: refusals show shapes with the names of their extents") {
  const Extent batch(2, "batch"), length(16, "length"), other(17, "other");
  CHECK(
      refusal({in({batch, length, 64}), in({batch, length, 63}), in({batch, length, 64})}) ==
      "q (batch=2, length=16, 64) and k (batch=2, length=16, 63): inner extents 64 and 63 differ; "
      "equal ones are required");
  CHECK(has(refusal({in({batch, length, 64}), in({batch, length, 64}), in({batch, other, 64})}),
            "lengths 16 and 17"));
  CHECK(has(refusal({in({1, 6, 8, 4}), in({1, 4, 8, 4}), in({1, 4, 8, 4})}),
            "q (1, 6, 8, 4) has 6 heads, k (1, 4, 8, 4) and v have 4; a multiple"));
  CHECK(has(refusal({.q = in({batch, 3, 4}),
                     .k = in({batch, 5, 4}),
                     .v = in({batch, 5, 4}),
                     .mask = in({3, 4}, boolean)}),
            "mask (3, 4) does not broadcast to the scores; (batch, Lq, Lk) of the shape (batch=2, "
            "3, 5) is required"));
}

TEST_CASE("attention: causal on lengths that differ explains both alignments") {
  const Attention::In<Expr> wide{in({3, 4}), in({5, 4}), in({5, 4})};
  const std::string text = refusal(wide, {.causal = true});
  CHECK(has(text,
            "causal with 3 queries and 5 keys; align \"top_left\" or \"bottom_right\", or "
            "query_offset (the key position of query 0), is required"));
  CHECK(has(text, "\n    top_left         bottom_right"));
  CHECK(has(text, "\n    # . . . .        # # # . ."));
  CHECK(has(text, "\n    # # . . .        # # # # ."));
  CHECK(has(text, "\n    # # # . .        # # # # #"));
  const std::string tall = refusal({in({50, 4}), in({30, 4}), in({30, 4})}, {.window = {4, {}}});
  CHECK(has(tall, "window with 50 queries and 30 keys"));
  CHECK(has(tall, "\n    # . .        . . ."));
  CHECK(has(tall, "\n    # # #        # # #"));
  CHECK_NOTHROW(attention(wide, {.causal = true, .align = Align::top_left}));
  CHECK_NOTHROW(attention(wide, {.causal = true, .query_offset = -7}));
  CHECK_NOTHROW(attention(wide, {.align = Align::bottom_right}));
}

TEST_CASE("attention: attributes out of range") {
  const Attention::In<Expr> x{in({3, 4}), in({3, 4}), in({3, 4})};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(has(refusal(x, {.scale = kInfinity}), "scale is inf; a finite number"));
  CHECK(has(refusal(x, {.scale = -1e300}), "scale is -1e+300; a finite number in f32"));
  CHECK(has(refusal(x, {.scale = nan}), "scale is nan"));
  CHECK(has(refusal(x, {.softcap = nan}), "softcap is nan"));
  CHECK(has(refusal(x, {.softcap = kInfinity}), "softcap is inf"));
  CHECK(has(refusal(x, {.softcap = -1}), "softcap is -1"));
  CHECK(has(refusal(x, {.window = {{}, -3}}), "the right side of window is -3"));
  CHECK(has(refusal(x, {.align = Align::top_left, .query_offset = 4}),
            "align \"top_left\" and query_offset 4; one of them at most"));
}

TEST_CASE("attention: key lengths are checked before anything is read") {
  const Tensor x = random_normal(f32, {2, 3, 4}, 0, 1, {1, 1});
  for (const std::int64_t bad :
       {std::int64_t{-1}, std::int64_t{4}, std::numeric_limits<std::int64_t>::max(),
        std::numeric_limits<std::int64_t>::min()}) {
    const Tensor lengths = Tensor::from({std::int64_t{3}, bad}, {2});
    CHECK_THROWS_WITH_AS(eval::attention({.q = x, .k = x, .v = x, .key_lengths = lengths}),
                         doctest::Contains("; a length in [0, 3] is required"), Error);
  }
}

TEST_CASE("attention: fused is what require allows") {
  const Tensor x = random_normal(f32, {3, 4}, 0, 1, {1, 1});
  const Attention a{.require = Require::fused};
  CHECK_NOTHROW(eval::attention({.q = x, .k = x, .v = x}, a));
  CHECK_THROWS_WITH_AS(eval::attention({.q = x, .k = x, .v = x}, a, {true, true, false, true}),
                       doctest::Contains("probs are used, which takes Lq * Lk memory"), Error);
}

TEST_CASE("attention: reserved names say so") {
  for (const char* name : {"score", "alibi", "dropout"}) {
    CHECK(has(decoding({{name, {true}}}), std::string("attribute \"") + name + "\" is reserved"));
  }
  CHECK(has(decoding({{"casual", {true}}}), "did you mean \"causal\"?"));
  const OpType& type = op_type<Attention>();
  CHECK(std::ranges::find(type.reserved_inputs, "sink") != type.reserved_inputs.end());
  CHECK(type.reserved_inputs.size() == 3);
}

TEST_CASE("attention: attributes as a model says them") {
  const auto list = [](AttributeValue left, AttributeValue right) {
    return AttributeValue{AttributeValue::List{std::move(left), std::move(right)}};
  };
  const AttributeMap given{{"causal", {true}},
                           {"window", list({Extent(256)}, {})},
                           {"align", {std::string("bottom_right")}},
                           {"scores_stage", {std::string("biased")}},
                           {"require", {std::string("fused")}}};
  const Attention a = decode_attributes<Attention>(given);
  CHECK(a.causal);
  CHECK(a.window == Window{256, {}});
  CHECK(a.align == Align::bottom_right);
  CHECK(a.scores_stage == ScoresStage::biased);
  CHECK(a.require == Require::fused);
  CHECK_FALSE(a.scale);
  CHECK(encode_attributes(decode_attributes<Attention>(encode_attributes(a))) ==
        encode_attributes(a));
  CHECK(has(decoding({{"window", {Extent(3)}}}),
            "attribute \"window\" is 3; [integer or null, integer or null]"));
  CHECK(has(decoding({{"window", {AttributeValue::List{{Extent(3)}}}}}),
            "[integer or null, integer or null]"));
  CHECK(has(decoding({{"window", list({1.5}, {})}}), "[1.5, null]"));
  CHECK(has(decoding({{"window", {}}}), "null"));
  CHECK(has(decoding({{"align", {std::string("bottom_left")}}}), "\"bottom_right\""));
  CHECK(has(decoding({{"scale", {}}}), "null"));
  CHECK(has(decoding({{"align", {}}}), "null"));
}
