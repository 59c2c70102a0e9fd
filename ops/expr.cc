#include "fovea/ops/expr.h"

#include "fovea/ops/elementwise.h"
#include "fovea/ops/node_map.h"
#include "fovea/ops/op.h"
#include "fovea/tensor/format.h"

namespace fovea {

Location::Location(std::string place)
    : place_(std::make_shared<const std::string>(std::move(place))) {}

std::string Location::text() const {
  if (place_) return *place_;
  if (source_.line() == 0) return {};
  std::string_view file = source_.file_name();
  if (const std::size_t slash = file.rfind('/'); slash != file.npos) file.remove_prefix(slash + 1);
  return format("{}:{}", file, source_.line());
}

namespace {
thread_local const Location* innermost_scope = nullptr;
}

LocationScope::LocationScope(Location location)
    : location_(std::move(location)), outer_(innermost_scope) {
  innermost_scope = &location_;
}

LocationScope::~LocationScope() { innermost_scope = outer_; }

Location LocationScope::resolve(const Location& fallback) {
  return innermost_scope ? *innermost_scope : fallback;
}

const TensorSpec& Expr::spec() const {
  if (!node_) fail("expression", "a null expression has no shape; assign one first");
  return node_->outputs()[static_cast<std::size_t>(output_)];
}

Node::Node(std::string name, TensorSpec spec, Location location)
    : kind_(Kind::input),
      name_(std::move(name)),
      outputs_{std::move(spec)},
      location_(std::move(location)) {}

Node::Node(Tensor value, Location location)
    : kind_(Kind::constant),
      value_(std::move(value)),
      outputs_{spec_of(value_)},
      location_(std::move(location)) {}

Node::Node(std::shared_ptr<const Op> op, std::vector<Expr> inputs, std::vector<TensorSpec> outputs,
           Location location)
    : kind_(Kind::op),
      op_(std::move(op)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      location_(std::move(location)) {}

// A chain of a million nodes must not recurse a million times: nodes that nobody else holds are
// taken apart here.
Node::~Node() {
  std::vector<Expr> pending = std::move(inputs_);
  while (!pending.empty()) {
    const Expr last = std::move(pending.back());
    pending.pop_back();
    if (!last || last.node_pointer().use_count() != 1) continue;
    auto& inputs = const_cast<Node&>(last.node()).inputs_;
    std::move(inputs.begin(), inputs.end(), std::back_inserter(pending));
    inputs.clear();
  }
}

Expr input(std::string name, DType dtype, const Shape& shape, std::source_location at) {
  return std::make_shared<const Node>(std::move(name), TensorSpec{dtype, shape},
                                      LocationScope::resolve(at));
}

Expr constant(Tensor value, std::source_location at) {
  if (!value) fail("constant", "a null tensor; a value is required");
  return std::make_shared<const Node>(value.read_only(), LocationScope::resolve(at));
}

Expr constant(DType dtype, double value, std::source_location at) {
  return constant(Tensor::scalar(dtype, value), at);
}

std::vector<Expr> apply(std::shared_ptr<const Op> op, std::vector<Expr> inputs,
                        const Location& at) {
  Location location = LocationScope::resolve(at);
  std::vector<Op::MaybeSpec> specs;
  specs.reserve(inputs.size());
  for (const Expr& x : inputs) specs.push_back(x ? Op::MaybeSpec(x.spec()) : std::nullopt);
  std::vector<TensorSpec> outputs;
  try {
    outputs = op->infer(specs);
  } catch (const Error& error) {
    throw error.at(location.text());
  }
  const std::size_t count = outputs.size();
  auto node = std::make_shared<const Node>(std::move(op), std::move(inputs), std::move(outputs),
                                           std::move(location));
  std::vector<Expr> results;
  for (std::size_t i = 0; i < count; ++i) results.emplace_back(node, static_cast<std::int64_t>(i));
  return results;
}

std::vector<const Node*> topological_order(std::span<const Expr> outputs) {
  std::vector<const Node*> order;
  NodeMap<char> seen;
  struct Visit {
    const Node* node;
    std::size_t next;
  };
  std::vector<Visit> stack;
  const auto push = [&](const Expr& x) {
    if (x && seen.insert(&x.node()).second) stack.push_back({&x.node(), 0});
  };
  for (const Expr& output : outputs) {
    push(output);
    while (!stack.empty()) {
      Visit& top = stack.back();
      if (top.next == top.node->inputs().size()) {
        order.push_back(top.node);
        stack.pop_back();
      } else {
        push(top.node->inputs()[top.next++]);
      }
    }
  }
  return order;
}

Operand::Operand(const Expr& expr, std::source_location at) : expr_(expr), location_(at) {
  if (expr) return;
  throw Error("operator",
              "an operand is a null expression; one that stands for a value is required")
      .at(location_.text());
}

Expr Operand::beside(const Operand& other) const {
  if (expr_) return expr_;
  if (!other.expr_) {
    throw Error("operator", "no operand is an expression; one is required").at(location_.text());
  }
  const LocationScope scope(LocationScope::resolve(location_));
  return constant(other.expr_.dtype(), value_);
}

namespace {

template <class A>
Expr binary(const Operand& a, const Operand& b) {
  return apply(A{}, {a.beside(b), b.beside(a)}, a.location()).y;
}

}  // namespace

Expr operator+(const Operand& a, const Operand& b) { return binary<Add>(a, b); }
Expr operator-(const Operand& a, const Operand& b) { return binary<Sub>(a, b); }
Expr operator*(const Operand& a, const Operand& b) { return binary<Mul>(a, b); }
Expr operator/(const Operand& a, const Operand& b) { return binary<Div>(a, b); }
Expr operator-(const Operand& a) { return apply(Neg{}, {a.beside(a)}, a.location()).y; }

}  // namespace fovea
