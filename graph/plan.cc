#include "fovea/graph/plan.h"

#include <algorithm>

#include "fovea/graph/packed.h"
#include "fovea/ops/matmul.h"
#include "fovea/ops/node_map.h"
#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

using plan::Home;
using plan::kNone;
using plan::Step;
using plan::Value;

namespace {

constexpr std::size_t kLargestChain = 24;  // ops in one elementwise pass

// Nodes are numbered in topological order, and so are all their outputs; what is known of them
// stands in vectors.
class Builder {
 public:
  Builder(Executable::Plan& plan, std::span<const Expr> inputs, std::span<const Expr> outputs,
          const CompileOptions& options);

  void build() {
    count_uses();
    if (options_.fuse_elementwise) group_chains();
    if (options_.fuse_epilogues) find_epilogues();
    for (std::size_t n = 0; n < order_.size(); ++n) add(n);
    choose_outputs();
    find_lifetimes();
    if (options_.overwrite) overwrite();
    place_in_arena(plan_);
    for (Step& step : plan_.steps) {
      if (options_.pack_frozen) pack(step);
      std::size_t bytes = step.loop ? step.loop->scratch_bytes(num_threads()) : 0;
      if (step.op) bytes = step.op->workspace(specs_of(step));
      plan_.scratch_bytes = std::max(plan_.scratch_bytes, bytes);
    }
  }

 private:
  struct Use {
    std::size_t count = 0;
    bool is_result = false;
  };

  bool elementwise(std::size_t n) const {
    const Node& node = *order_[n];
    return node.kind() == Node::Kind::op && node.op().type().elementwise;
  }
  // Calls f(node) for each node of the chain that ends with `last`, or for `last` alone.
  template <class F>
  void for_each_member(std::size_t last, const F& f) const {
    if (chain_[last] == kNone) return f(last);
    for (std::size_t n = first_member_[last]; n != kNone; n = next_member_[n]) f(n);
  }
  // The outputs that are a node's operands, kNone for one that is left out.
  std::span<const std::size_t> operands(std::size_t n) const {
    return std::span(operands_).subspan(first_operand_[n],
                                        first_operand_[n + 1] - first_operand_[n]);
  }
  std::size_t output_of(const Expr& x) const {
    return first_output_[*number_.find(&x.node())] + static_cast<std::size_t>(x.output());
  }
  std::size_t value_of(std::size_t output) const {
    return output == kNone ? kNone : values_[output];
  }

  void count_uses();
  void group_chains();
  std::size_t product_in(std::size_t last) const;
  void find_epilogues();
  void pack(Step& step);
  void add(std::size_t n);
  void add_op(std::size_t n);
  void add_view(std::size_t n);
  void add_loop(std::size_t last);
  TileLoop make_loop(std::size_t last, std::vector<std::size_t>& in) const;
  std::size_t new_root(const TensorSpec& spec, Home home, std::size_t index);
  std::vector<Op::MaybeSpec> specs_of(const Step& step) const;
  bool fills_root(const Value& value) const;
  void choose_outputs();
  void find_lifetimes();
  void overwrite();

  Executable::Plan& plan_;
  const CompileOptions& options_;
  std::span<const Expr> outputs_;
  std::vector<const Node*> order_;
  NodeMap<std::size_t> input_index_, number_;
  // By node; of those with an end, one more.
  std::vector<std::size_t> first_operand_, first_output_;
  std::vector<std::size_t> product_;  // of the last node of a chain: the matmul that it finishes
  std::vector<char> finished_;        // of a matmul: some chain finishes it
  std::vector<std::size_t> chain_;    // its last node; kNone: in none
  std::vector<std::size_t> first_member_,
      next_member_;  // of chains; first_member_ of the last node
  // By operand of all nodes: the output that it is.
  std::vector<std::size_t> operands_;
  // By output of all nodes:
  std::vector<std::size_t> node_of_, values_;
  std::vector<Use> uses_;
  std::size_t packed_bytes_ = 0;
};

Builder::Builder(Executable::Plan& plan, std::span<const Expr> inputs,
                 std::span<const Expr> outputs, const CompileOptions& options)
    : plan_(plan), options_(options), outputs_(outputs), order_(topological_order(outputs)) {
  for (std::size_t i = 0; i < inputs.size(); ++i) input_index_[&inputs[i].node()] = i;
  number_.reserve(order_.size());
  for (std::size_t n = 0; n < order_.size(); ++n) {
    const Node* node = order_[n];
    number_[node] = n;
    first_operand_.push_back(operands_.size());
    first_output_.push_back(node_of_.size());
    for (const Expr& x : node->inputs()) operands_.push_back(x ? output_of(x) : kNone);
    node_of_.insert(node_of_.end(), node->outputs().size(), n);
  }
  first_operand_.push_back(operands_.size());
  uses_.resize(node_of_.size());
  values_.assign(node_of_.size(), kNone);
  chain_.assign(order_.size(), kNone);
  product_.assign(order_.size(), kNone);
  finished_.assign(order_.size(), 0);
}

void Builder::count_uses() {
  for (const std::size_t output : operands_) {
    if (output != kNone) ++uses_[output].count;
  }
  for (const Expr& x : outputs_) uses_[output_of(x)].is_result = true;
}

// An elementwise node joins the chain of its users when they are all in one chain, of the same
// shape.
void Builder::group_chains() {
  constexpr std::size_t kTorn = kNone - 1;
  std::vector<std::size_t> joined(order_.size(), kNone);  // the chain that all users so far are in
  std::vector<std::size_t> size(order_.size(), 0);
  first_member_.assign(order_.size(), kNone);
  next_member_.assign(order_.size(), kNone);
  for (std::size_t n = order_.size(); n-- > 0;) {
    std::size_t own = kTorn;
    if (elementwise(n)) {
      const std::size_t candidate = joined[n];
      const bool joins = candidate < kTorn && !uses_[first_output_[n]].is_result &&
                         size[candidate] < kLargestChain &&
                         order_[candidate]->outputs()[0].shape == order_[n]->outputs()[0].shape;
      chain_[n] = own = joins ? candidate : n;
      next_member_[n] = std::exchange(first_member_[own], n);
      ++size[own];
    }
    for (const std::size_t output : operands(n)) {
      if (output == kNone) continue;
      std::size_t& chain = joined[node_of_[output]];
      chain = chain == kNone || chain == own ? own : kTorn;
    }
  }
}

// The last matmul whose result only this chain reads, elementwise and in its own shape.
std::size_t Builder::product_in(std::size_t last) const {
  const TensorSpec& spec = order_[last]->outputs()[0];
  std::size_t found = kNone;
  for_each_member(last, [&](std::size_t n) {
    for (const std::size_t output : operands(n)) {
      const std::size_t p = node_of_[output];
      const Node& node = *order_[p];
      if (node.kind() == Node::Kind::op && &node.op().type() == &op_type<Matmul>() &&
          node.outputs()[0] == spec && !finished_[p] && !uses_[output].is_result &&
          (found == kNone || p > found)) {
        found = p;
      }
    }
  });
  if (found == kNone) return kNone;
  std::size_t uses = 0;
  for_each_member(last, [&](std::size_t n) {
    uses += static_cast<std::size_t>(std::ranges::count(operands(n), first_output_[found]));
  });
  return uses == uses_[first_output_[found]].count ? found : kNone;
}

void Builder::find_epilogues() {
  for (std::size_t n = 0; n < order_.size(); ++n) {
    if (!elementwise(n) || (chain_[n] != kNone && chain_[n] != n)) continue;
    product_[n] = product_in(n);
    if (product_[n] != kNone) finished_[product_[n]] = 1;
  }
}

// A frozen right operand that is one matrix for all rows.
void Builder::pack(Step& step) {
  if (!step.op || &step.op->type() != &op_type<Matmul>()) return;
  const Value& b = plan_.values[step.in[1]];
  const Value& root = plan_.values[b.root];
  if (root.home != Home::constant || b.spec.shape.rank() != 2 || b.spec.shape.numel() == 0) return;
  const Tensor matrix = plan_.constants[root.index].as_strided(b.spec.shape, b.strides, b.offset);
  const bool transposed = decode_attributes<Matmul>(step.op->attributes()).transpose_b;
  const std::size_t bytes = PackedWeights::State::bytes_for(matrix, transposed);
  if (bytes > options_.most_packed - packed_bytes_) return;
  packed_bytes_ += bytes;
  step.packed = options_.packed.state().get(matrix, transposed);
}

std::size_t Builder::new_root(const TensorSpec& spec, Home home, std::size_t index) {
  Value value{.spec = spec, .strides = contiguous_strides(spec.shape)};
  value.root = plan_.values.size();
  value.home = home;
  value.index = index;
  plan_.values.push_back(std::move(value));
  return plan_.values.size() - 1;
}

void Builder::add(std::size_t n) {
  const Node* node = order_[n];
  const std::size_t output = first_output_[n];
  switch (node->kind()) {
    case Node::Kind::input: {
      const std::size_t* index = input_index_.find(node);
      if (index == nullptr) {
        throw Error("compile",
                    format("input {} is needed but not among the inputs", quoted(node->name())))
            .at(node->location().text());
      }
      values_[output] = new_root(node->outputs()[0], Home::input, *index);
      return;
    }
    case Node::Kind::constant:
      // In its own layout, so that a frozen weight that is transposed stays one matrix for all.
      values_[output] = new_root(node->outputs()[0], Home::constant, plan_.constants.size());
      if (!node->value().is_contiguous()) {
        plan_.values[values_[output]].strides = node->value().strides();
      }
      plan_.constants.push_back(node->value());
      return;
    case Node::Kind::op:
      break;
  }
  if (chain_[n] != kNone && chain_[n] != n) return;  // done by the chain's last node
  if (finished_[n]) return;                          // done with what finishes it
  if (node->op().type().has_view) return add_view(n);
  if (elementwise(n)) return add_loop(n);
  add_op(n);
}

void Builder::add_op(std::size_t n) {
  const Node* node = order_[n];
  Step step{.op = node->op_pointer(), .location = node->location()};
  step.in.reserve(node->inputs().size());
  step.out.reserve(node->outputs().size());
  for (const std::size_t output : operands(n)) step.in.push_back(value_of(output));
  for (std::size_t o = 0; o < node->outputs().size(); ++o) {
    const std::size_t output = first_output_[n] + o;
    const bool wanted = uses_[output].count > 0 || uses_[output].is_result;
    if (wanted && values_[output] == kNone) {
      values_[output] = new_root(node->outputs()[o], Home::arena, 0);
    }
    step.out.push_back(values_[output]);
  }
  plan_.steps.push_back(std::move(step));
}

// Views are made once, on a tensor of the operand's layout whose elements nobody reads.
void Builder::add_view(std::size_t n) {
  alignas(64) static constexpr std::byte kNowhere[64] = {};
  const Node* node = order_[n];
  std::size_t operand = value_of(operands(n)[0]);
  const Value& x = plan_.values[operand];
  const Tensor phantom =
      Tensor::borrow(static_cast<const void*>(kNowhere), x.spec.dtype, x.spec.shape, x.strides);
  Tensor seen = node->op().view(phantom);
  if (!seen) {
    // Made row-major first, by a step of its own.
    const TensorSpec spec = x.spec;
    Step copy{.in = {operand}, .location = node->location()};
    operand = new_root(spec, Home::arena, 0);
    copy.out = {operand};
    plan_.steps.push_back(std::move(copy));
    seen =
        node->op().view(Tensor::borrow(static_cast<const void*>(kNowhere), spec.dtype, spec.shape));
  }
  const Value& source = plan_.values[operand];
  const auto bytes = reinterpret_cast<std::intptr_t>(seen.raw()) -
                     reinterpret_cast<std::intptr_t>(static_cast<const void*>(kNowhere));
  Value value{.spec = node->outputs()[0], .strides = seen.strides(), .root = source.root};
  value.offset = source.offset + bytes / static_cast<std::int64_t>(size_of(source.spec.dtype));
  values_[first_output_[n]] = plan_.values.size();
  plan_.values.push_back(std::move(value));
}

// The loop of a chain; `in` receives its operands, each once.
TileLoop Builder::make_loop(std::size_t last, std::vector<std::size_t>& in) const {
  const auto inside = [&](std::size_t output) {
    return chain_[last] != kNone && chain_[node_of_[output]] == last;
  };
  TileProgram program;
  std::vector<TileLoop::Layout> layouts;
  for_each_member(last, [&](std::size_t n) {
    for (std::size_t i = 0; i < operands(n).size(); ++i) {
      const std::size_t output = operands(n)[i];
      if (inside(output) || std::ranges::find(in, values_[output]) != in.end()) continue;
      in.push_back(values_[output]);
      program.inputs.push_back(order_[n]->inputs()[i].dtype());
      const Value& value = plan_.values[values_[output]];
      layouts.push_back({value.spec.shape, value.strides});
    }
  });
  std::vector<std::pair<std::size_t, std::size_t>> made;  // output → value of the program
  for_each_member(last, [&](std::size_t n) {
    const Node* node = order_[n];
    TileProgram::Step part{
        .op = node->op_pointer(), .kernel = {}, .operands = {}, .dtype = node->outputs()[0].dtype};
    std::vector<DType> dtypes;
    for (const Expr& x : node->inputs()) dtypes.push_back(x.dtype());
    for (const std::size_t output : operands(n)) {
      if (inside(output)) {
        part.operands.push_back(
            std::ranges::find(made, output, &decltype(made)::value_type::first)->second);
      } else {
        const auto found = std::ranges::find(in, values_[output]);
        part.operands.push_back(static_cast<std::size_t>(found - in.begin()));
      }
    }
    part.kernel = node->op().tile_kernel(dtypes);
    made.emplace_back(first_output_[n], program.inputs.size() + program.steps.size());
    program.steps.push_back(std::move(part));
  });
  return TileLoop(std::move(program), layouts, order_[last]->outputs()[0].shape);
}

void Builder::add_loop(std::size_t last) {
  const TensorSpec& spec = order_[last]->outputs()[0];
  const std::size_t product = product_[last];
  if (product != kNone) values_[first_output_[product]] = new_root(spec, Home::arena, 0);
  Step step{.location = order_[last]->location()};
  std::vector<std::size_t> in;
  step.loop.emplace(make_loop(last, in));
  if (product != kNone && !step.loop->runs_in_blocks()) add_op(product);
  const std::size_t result = values_[first_output_[last]] = new_root(spec, Home::arena, 0);
  if (product != kNone && step.loop->runs_in_blocks()) {
    step.op = order_[product]->op_pointer();
    for (const std::size_t output : operands(product)) step.in.push_back(value_of(output));
    // The product stands in the result's memory until the loop has changed it.
    plan_.values[values_[first_output_[product]]].root = result;
  }
  step.in.insert(step.in.end(), in.begin(), in.end());
  step.out = {result};
  plan_.steps.push_back(std::move(step));
}

std::vector<Op::MaybeSpec> Builder::specs_of(const Step& step) const {
  std::vector<Op::MaybeSpec> specs;
  specs.reserve(step.in.size());
  const std::size_t operands = step.loop ? 2 : step.in.size();  // a loop beside it has the others
  for (const std::size_t value : std::span(step.in).first(operands)) {
    specs.push_back(value == kNone ? Op::MaybeSpec() : Op::MaybeSpec(plan_.values[value].spec));
  }
  return specs;
}

// Whether the value is its root's memory, all of it and in order.
bool Builder::fills_root(const Value& value) const {
  const Value& root = plan_.values[value.root];
  return value.offset == 0 && value.spec.dtype == root.spec.dtype &&
         value.spec.shape.numel() == root.spec.shape.numel() &&
         value.strides == contiguous_strides(value.spec.shape);
}

// An output is computed in its own memory where possible; else (an input, a constant, a view of a
// part, the same value twice) a last step copies it there.
void Builder::choose_outputs() {
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    const std::size_t result = values_[output_of(outputs_[o])];
    Value& root = plan_.values[plan_.values[result].root];
    if (root.home == Home::arena && fills_root(plan_.values[result])) {
      root.home = Home::output;
      root.index = o;
      continue;
    }
    Step copy{.in = {result}};
    copy.out = {new_root(outputs_[o].spec(), Home::output, o)};
    plan_.steps.push_back(std::move(copy));
  }
}

void Builder::find_lifetimes() {
  for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
    for (const std::size_t value : plan_.steps[s].out) {
      if (value != kNone) plan_.values[value].first = plan_.values[value].last = s;
    }
    for (const std::size_t value : plan_.steps[s].in) {
      if (value == kNone) continue;
      Value& root = plan_.values[plan_.values[value].root];
      root.last = std::max(root.last, s);
    }
  }
}

// A result takes the memory of an operand that fills it, that nobody reads later, and that this
// step reads in order only.
void Builder::overwrite() {
  std::vector<std::size_t> moved(plan_.values.size(), kNone);  // root → the root that it became
  const auto root_of = [&](std::size_t v) {
    std::size_t root = plan_.values[v].root;
    while (moved[root] != kNone) root = moved[root];
    return plan_.values[v].root = root;
  };
  for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
    Step& step = plan_.steps[s];
    // (A product is written before the rest of its step is read.)
    const bool may = step.op ? !step.loop && step.op->type().overwrites : step.loop.has_value();
    if (!may || step.out[0] == kNone) continue;
    Value& out = plan_.values[step.out[0]];
    for (const std::size_t operand : step.in) {
      if (operand == kNone) continue;
      const std::size_t old_root = root_of(operand);
      const Value &x = plan_.values[operand], &root = plan_.values[old_root];
      const bool only_reader = std::ranges::count_if(step.in, [&](std::size_t other) {
                                 return other != kNone && root_of(other) == old_root;
                               }) == 1;
      if (root.home != Home::arena || root.last != s || !only_reader || x.spec != out.spec ||
          !fills_root(x)) {
        continue;
      }
      // The operand's root becomes the result's: its memory, and all its views, move there.
      out.first = root.first;
      moved[old_root] = step.out[0];
      step.in_place = true;
      break;
    }
  }
  // From the last value, so that each finds its root in one step.
  for (std::size_t v = plan_.values.size(); v-- > 0;) {
    const std::size_t next = moved[plan_.values[v].root];
    if (next != kNone) plan_.values[v].root = root_of(next);
  }
}

}  // namespace

void build_plan(Executable::Plan& plan, std::span<const Expr> inputs, std::span<const Expr> outputs,
                const CompileOptions& options) {
  Builder(plan, inputs, outputs, options).build();
}

}  // namespace fovea
