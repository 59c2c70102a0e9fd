// Laws 2, 11 and 14: refusals, attributes, documentation.
#include <array>
#include <exception>
#include <string>

#include "fovea/graph/law_run.h"
#include "fovea/graph/model.h"
#include "fovea/graph/one_node_model.h"
#include "fovea/ops/registry.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

// The text of the Error that `call` throws; anything else is reported.
template <class Call>
std::optional<std::string> refusal(const Call& call, std::string_view what, LawSink& sink) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  } catch (const Trespass& error) {
    sink.broken(format("{} is not refused: {}", what, error.what()));
    return {};
  } catch (const std::exception& other) {
    sink.broken(format("{}: it throws {} instead of Error", what, other.what()));
    return {};
  }
  sink.broken(format("{} is not refused", what));
  return {};
}

void expect_text(const std::optional<std::string>& given, std::string_view part,
                 std::string_view what, LawSink& sink) {
  if (given && given->find(part) == std::string::npos) {
    sink.broken(format("{}: the text is \"{}\"; \"{}\" is required in it", what, *given, part));
  }
}

// A value that no attribute of this type takes.
AttributeValue wrong_value(const AttributeType& type) {
  if (type.kind == AttributeKind::boolean) return {std::string("yes")};
  return {true};
}

// The attributes of the op in a model file that says them.
AttributeMap through_json(const SampleRun& run) {
  Registry registry;
  registry.add(run.type());
  const std::string text =
      one_node_model(run.op(), run.values(f64), std::array<std::int64_t, 1>{0});
  const Session session = Model::parse(text, ".", registry).bind();
  return session.outputs().front().second.node().op().attributes();
}

}  // namespace

void check_rejects(const OpType& type, LawSink& sink) {
  std::size_t number = 0;
  for (const AnySample& reject : type.rejects()) {
    const std::string what = format("reject {} (\"{}\")", ++number, reject.text);
    std::vector<Tensor> values;
    for (const Arg& a : reject.in) values.push_back(make_tensor(a, f64, {0, values.size()}));
    const auto text = refusal([&] { guarded_forward(*reject.op, values); }, what, sink);
    expect_text(text, reject.text, what, sink);
    expect_text(text, type.name, what, sink);
    sink.ran();
  }
}

void check_attributes(const SampleRun& run, LawSink& sink) {
  const OpType& type = run.type();
  const AttributeMap attributes = run.op().attributes();
  const std::shared_ptr<const Op> decoded = type.make(attributes);
  if (decoded->attributes() != attributes) {
    sink.broken("attributes that are encoded, decoded and encoded again differ");
  }
  if (through_json(run) != attributes) {
    sink.broken("attributes that are written as JSON and read from a model differ");
  }
  if (auto text = difference(guarded_forward(*decoded, run.values(f64)), run.results(f64))) {
    sink.broken(format("the op made from its own attributes differs: {}", *text));
  }
  AttributeMap unknown = attributes;
  unknown.emplace_back("no_such_attribute", AttributeValue{true});
  expect_text(refusal([&] { type.make(unknown); }, "an unknown attribute", sink),
              "no_such_attribute", "an unknown attribute", sink);
  for (const AttributeInfo& info : type.attributes) {
    AttributeMap wrong;
    wrong.emplace_back(info.name, wrong_value(info.type));
    const std::string what = format("attribute \"{}\" of the wrong type", info.name);
    expect_text(refusal([&] { type.make(wrong); }, what, sink), info.name, what, sink);
  }
  sink.ran();
}

void check_documentation(const OpType& type, LawSink& sink) {
  if (type.doc.empty()) sink.broken("it has no doc");
  for (const AttributeInfo& info : type.attributes) {
    if (info.help.empty()) sink.broken(format("attribute \"{}\" has no help", info.name));
  }
  if (type.samples().size() < 2) sink.broken("it has fewer than two samples");
  if (type.rejects().empty()) sink.broken("it has no reject");
  sink.ran();
}

}  // namespace fovea
