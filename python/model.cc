#include "fovea/python/model.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fovea/graph/executable.h"
#include "fovea/graph/gradcheck.h"
#include "fovea/graph/gradients.h"
#include "fovea/graph/model.h"
#include "fovea/graph/summary.h"
#include "fovea/ops/op.h"
#include "fovea/python/arrays.h"
#include "fovea/python/errors.h"
#include "fovea/python/release.h"

namespace fovea::python {

namespace py = pybind11;

namespace {

constexpr char kWhere[] = "Model";

// The argument as a tensor of this dtype: it lives as long as `array`, and as the caller's memory.
Tensor tensor_of(ArrayArgument& array, std::string_view name, py::handle object, DType dtype) {
  const Role role = is_float(dtype) ? Role::number : dtype == i64 ? Role::integer : Role::boolean;
  array.read({kWhere, name}, object.ptr(), role);
  return array.tensor().dtype() == dtype ? array.tensor() : array.tensor().astype(dtype);
}

py::tuple shape_of(const Shape& shape) {
  py::tuple extents(static_cast<std::size_t>(shape.rank()));
  for (std::int64_t a = 0; a < shape.rank(); ++a) {
    extents[static_cast<std::size_t>(a)] = shape[a].value();
  }
  return extents;
}

// (name, shape, dtype, the same as text with the names of dims).
py::tuple described_value(const std::string& name, const Expr& expr) {
  return py::make_tuple(name, shape_of(expr.shape()), std::string(fovea::name_of(expr.dtype())),
                        to_string(expr.spec()));
}

// What a compiled graph takes and gives, by position; None for what its session has values for.
class Program {
 public:
  Program(Session session, std::vector<ModelValue> inputs, const std::vector<Expr>& outputs)
      : session_(std::move(session)),
        inputs_(std::move(inputs)),
        executable_(compile(exprs_of(inputs_), outputs)) {}

  py::list call(const py::list& arrays) const {
    if (arrays.size() != inputs_.size())
      fail(kWhere, "{} arrays for {}", arrays.size(), inputs_.size());
    std::vector<ArrayArgument> read(inputs_.size());
    std::vector<Tensor> inputs, outputs;
    for (std::size_t i = 0; i < read.size(); ++i) {
      const TensorSpec& spec = executable_.inputs()[i];
      if (arrays[i].is_none()) {
        inputs.push_back(session_.tensor(inputs_[i]));
        continue;
      }
      inputs.push_back(tensor_of(read[i], inputs_[i].name, arrays[i], spec.dtype));
      if (inputs.back().shape() != spec.shape) {
        fail(kWhere, "{} is {}; {} is required", quoted(inputs_[i].name),
             to_string(spec_of(inputs.back())), to_string(spec));
      }
    }
    py::list results;
    for (const TensorSpec& spec : executable_.outputs()) {
      results.append(new_numpy(spec.dtype, spec.shape, outputs.emplace_back()));
    }
    const WithoutLock released;
    executable_.run(inputs, outputs);
    return results;
  }

 private:
  static std::vector<Expr> exprs_of(const std::vector<ModelValue>& values) {
    std::vector<Expr> exprs;
    for (const ModelValue& value : values) exprs.push_back(value.expr);
    return exprs;
  }

  Session session_;
  std::vector<ModelValue> inputs_;
  Executable executable_;
};

// A session, and programs over what it takes: its inputs, then its params.
class BoundModel {
 public:
  explicit BoundModel(Session session) : session_(std::move(session)) {
    for (const ModelValue& value : session_.inputs()) leaves_.push_back(value);
    for (const ModelValue& value : session_.params()) leaves_.push_back(value);
    const std::map<std::string, Expr> sorted(session_.outputs().begin(), session_.outputs().end());
    for (const auto& [name, expr] : sorted) run_.push_back(expr);
  }

  // name → (kind, shape, dtype, text, origin), inputs first.
  py::list leaves() const {
    constexpr const char* kOrigins[] = {"given", "stated", "init", "weights", "drawn"};
    py::list all;
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      all.append(described_value(leaves_[i].name, leaves_[i].expr) +
                 py::make_tuple(i < session_.inputs().size() ? "input" : "param",
                                kOrigins[static_cast<std::size_t>(leaves_[i].origin)]));
    }
    return all;
  }

  py::list outputs() const {
    py::list all;
    for (const auto& [name, expr] : session_.outputs()) all.append(described_value(name, expr));
    return all;
  }

  py::object initial(const std::string& name) const {
    return to_numpy(session_.tensor(leaf(name)));
  }

  // The outputs' arrays for those of the inputs; None for what the session has values for.
  py::list run(const py::list& arrays) const {
    if (arrays.size() != session_.inputs().size())
      fail(kWhere, "{} arrays for {} inputs", arrays.size(), session_.inputs().size());
    std::vector<ArrayArgument> read(arrays.size());
    NamedTensors inputs, outputs;
    for (std::size_t i = 0; i < read.size(); ++i) {
      const ModelValue& leaf = leaves_[i];
      if (arrays[i].is_none()) continue;
      inputs.emplace(leaf.name, tensor_of(read[i], leaf.name, arrays[i], leaf.expr.dtype()));
    }
    session_.require_memory(run_);
    py::list results;
    for (const auto& [name, expr] : session_.outputs()) {
      results.append(new_numpy(expr.dtype(), expr.shape(), outputs[name]));
    }
    const WithoutLock released;
    session_.run(inputs, outputs);
    return results;
  }

  void set_params(const py::dict& arrays) {
    std::deque<ArrayArgument> read;
    NamedTensors values;
    for (const auto& [key, object] : arrays) {
      const std::string name = py::cast<std::string>(key);
      values.emplace(name, tensor_of(read.emplace_back(), name, object, leaf(name).expr.dtype()));
    }
    session_.set_params(values);
  }

  std::unique_ptr<Program> forward() const {
    std::vector<Expr> outputs;
    for (const auto& [name, expr] : session_.outputs()) outputs.push_back(expr);
    session_.require_memory(outputs);
    return std::make_unique<Program>(session_, leaves_, outputs);
  }

  // Takes the leaves, then a cotangent for each of `of`.
  std::unique_ptr<Program> gradient(const std::vector<std::string>& of,
                                    const std::vector<std::string>& wrt) const {
    std::vector<Expr> outputs, cotangents, wanted;
    std::vector<ModelValue> inputs = leaves_;
    for (const std::string& name : of) {
      const auto at =
          std::ranges::find(session_.outputs(), name,
                            [](const auto& one) -> const std::string& { return one.first; });
      outputs.push_back(at != session_.outputs().end() ? at->second : session_.value(name));
      if (!is_float(outputs.back().dtype())) {
        fail(kWhere, "{} is {}; only f32 and f64 have gradients", quoted(name),
             to_string(outputs.back().spec()));
      }
      cotangents.push_back(input(name, outputs.back().dtype(), outputs.back().shape()));
      inputs.push_back({"cotangent of " + name, cotangents.back(), Origin::given});
    }
    session_.require_memory(outputs);
    for (const std::string& name : wrt) wanted.push_back(leaf(name).expr);
    return std::make_unique<Program>(session_, inputs, gradients(outputs, wanted, cotangents));
  }

  GradientReport gradcheck(const py::list& arrays, std::uint64_t seed, int order) const {
    GradcheckOptions options{.seed = seed, .order = order};
    std::vector<Expr> outputs, wrt;
    std::vector<ArrayArgument> read(leaves_.size());
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      const Expr& expr = leaves_[i].expr;
      const Tensor tensor = arrays[i].is_none()
                                ? session_.tensor(leaves_[i])
                                : tensor_of(read[i], leaves_[i].name, arrays[i], expr.dtype());
      options.values.emplace_back(expr, tensor);
      if (is_float(expr.dtype())) wrt.push_back(expr);
    }
    for (const auto& [name, expr] : session_.outputs()) outputs.push_back(expr);
    const WithoutLock released;
    return check_gradients(outputs, wrt, options);
  }

 private:
  const ModelValue& leaf(const std::string& name) const {
    const auto at = std::ranges::find(leaves_, name, &ModelValue::name);
    if (at == leaves_.end()) {
      fail(kWhere, "unknown name {}{}", quoted(name), did_you_mean(name, leaf_names()));
    }
    return *at;
  }
  std::vector<std::string> leaf_names() const {
    std::vector<std::string> names;
    for (const ModelValue& value : leaves_) names.push_back(value.name);
    return names;
  }

  Session session_;
  std::vector<ModelValue> leaves_;
  std::vector<Expr> run_;  // the outputs, in a session's order
};

BindOptions named_as_in_python() {
  return {.words = {.weights = "weights=",
                    .sizes = "dims",
                    .size = "dims={{\"{0}\": {1}}}",
                    .max_memory = ""}};
}

// Sizes from arrays that the model's inputs will be given: only their shapes matter here, so the
// session holds one element for each.
BoundModel bind(const Model& model, const Sizes& dims, const py::dict& arrays,
                std::optional<std::uint64_t> seed, bool widened) {
  BindOptions options = named_as_in_python();
  options.seed = seed;
  if (widened) options.dtype = f64;
  for (const auto& [key, object] : arrays) {
    const std::string name = py::cast<std::string>(key);
    const DType dtype = model.dtype_of(name, options.dtype).value_or(f64);
    ArrayArgument array;
    const Shape shape = tensor_of(array, name, object, dtype).shape();
    options.inputs.emplace(name, Tensor::zeros(dtype, {}).broadcast_to(shape));
  }
  return BoundModel(model.bind(dims, options));
}

// Dims without a size, and (kind, name, spec) of what the model takes and gives, also where these
// leave something open.
py::dict outline(const Model& model, const Sizes& dims) {
  const Summary summary = summarize(model, dims, named_as_in_python());
  py::list open, rows;
  for (const auto& [name, size] : summary.dims) {
    if (size == "open") open.append(name);
  }
  const auto add = [&](const char* kind, const std::string& name, const ValueSummary& value) {
    rows.append(py::make_tuple(kind, name, spec_text(value)));
  };
  for (const ValueSummary& value : summary.inputs) add("input", value.name, value);
  for (const ValueSummary& value : summary.params) add("param", value.name, value);
  for (const auto& [name, value] : summary.outputs) add("output", name, value);
  using namespace pybind11::literals;
  return py::dict("open"_a = open, "rows"_a = rows);
}

void set_weights(Model& model, const py::dict& arrays) {
  NamedTensors weights;
  for (const auto& [key, object] : arrays) {
    const std::string name = py::cast<std::string>(key);
    ArrayArgument array;
    const DType dtype = model.dtype_of(name).value_or(f64);
    weights.emplace(name, tensor_of(array, name, object, dtype).copy());
  }
  model.set_weights(std::move(weights));
}

py::dict described_type(const OpType& type) {
  const auto slots = [](const std::vector<Slot>& list) {
    constexpr const char* kArity[] = {"required", "optional", "variadic"};
    py::list all;
    for (const Slot& slot : list) {
      all.append(py::make_tuple(std::string(slot.name), kArity[static_cast<int>(slot.arity)]));
    }
    return all;
  };
  py::list attributes;
  for (const AttributeInfo& info : type.attributes) {
    attributes.append(
        py::make_tuple(std::string(info.name), to_string(info.type),
                       info.standard ? py::object(py::str(to_string(*info.standard))) : py::none(),
                       std::string(info.help)));
  }
  using namespace pybind11::literals;
  return py::dict("name"_a = std::string(type.name), "doc"_a = std::string(type.doc),
                  "inputs"_a = slots(type.inputs), "outputs"_a = slots(type.outputs),
                  "attributes"_a = attributes);
}

void define_report(py::module_& module) {
  py::class_<GradientRow>(module, "GradientRow", "What was found out about one input's gradient.")
      .def_readonly("name", &GradientRow::name)
      .def_readonly("elements", &GradientRow::elements)
      .def_readonly("checked", &GradientRow::checked)
      .def_readonly("directions", &GradientRow::directions)
      .def_readonly("relative", &GradientRow::relative)
      .def_readonly("worst", &GradientRow::worst)
      .def_readonly("analytic", &GradientRow::analytic)
      .def_readonly("numeric", &GradientRow::numeric)
      .def_readonly("note", &GradientRow::note)
      .def_property_readonly("verdict", [](const GradientRow& row) {
        return std::string(fovea::name_of(row.verdict));
      });
  py::class_<GradientReport>(module, "GradientReport",
                             "Gradients against their oracles; `str` is a table.")
      .def_readonly("rows", &GradientReport::rows)
      .def_readonly("notes", &GradientReport::notes)
      .def_readonly("seed", &GradientReport::seed)
      .def_property_readonly("passed", &GradientReport::passed)
      .def("__bool__", &GradientReport::passed)
      .def_property_readonly("verdict",
                             [](const GradientReport& report) {
                               return std::string(fovea::name_of(report.verdict()));
                             })
      .def("__repr__", [](const GradientReport& report) { return to_string(report); });
}

GradientReport check_op_gradients(const std::string& name, std::uint64_t seed) {
  const OpType& type = Registry::builtin().get(name);
  const WithoutLock released;
  return check_op(type, {.seed = seed});
}

}  // namespace

void define_model(py::module_& module) {
  define_report(module);
  py::class_<Program>(module, "Program").def("__call__", &Program::call);
  py::class_<BoundModel>(module, "BoundModel")
      .def("leaves", &BoundModel::leaves)
      .def("outputs", &BoundModel::outputs)
      .def("initial", &BoundModel::initial)
      .def("run", &BoundModel::run)
      .def("set_params", &BoundModel::set_params)
      .def("forward", &BoundModel::forward)
      .def("gradient", &BoundModel::gradient)
      .def("gradcheck", &BoundModel::gradcheck);
  py::class_<Model>(module, "ModelFile")
      .def(py::init([](const std::string& path) { return Model::load(path); }))
      .def_property_readonly("name", &Model::name)
      .def_property_readonly("doc", &Model::doc)
      .def("input_names", &Model::input_names)
      .def("load_weights", [](Model& model, const std::string& path) { model.load_weights(path); })
      .def("set_weights", &set_weights)
      .def("check",
           [](const Model& model, const Sizes& dims) { model.check(dims, named_as_in_python()); })
      .def("outline", &outline)
      .def("bind", &bind);
  module.def("check_op_gradients", &check_op_gradients);
  module.def("op_types", [] {
    py::list all;
    const Registry registry = Registry::builtin();
    for (const OpType* type : registry.types()) all.append(described_type(*type));
    return all;
  });
}

}  // namespace fovea::python
