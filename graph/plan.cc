#include "fovea/graph/plan.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "fovea/tensor/format.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

using plan::Home;
using plan::kNone;
using plan::Step;
using plan::Value;

namespace {

constexpr std::size_t kLargestChain = 24;  // ops in one elementwise pass

class Builder {
 public:
  Builder(Executable::Plan& plan, std::span<const Expr> inputs, std::span<const Expr> outputs,
          const CompileOptions& options)
      : plan_(plan), options_(options), order_(topological_order(outputs)), outputs_(outputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i) input_index_[&inputs[i].node()] = i;
  }

  void build() {
    count_uses();
    if (options_.fuse_elementwise) group_chains();
    for (const Node* node : order_) add(node);
    choose_outputs();
    find_lifetimes();
    if (options_.overwrite) overwrite();
    place_in_arena(plan_);
    for (const Step& step : plan_.steps) {
      std::size_t bytes = step.loop ? step.loop->scratch_bytes(num_threads()) : 0;
      if (step.op && !step.loop) bytes = step.op->workspace(specs_of(step));
      plan_.scratch_bytes = std::max(plan_.scratch_bytes, bytes);
    }
  }

 private:
  struct Use {
    std::size_t count = 0;
    const Node* user = nullptr;
    bool one_user = true;
    bool is_result = false;
  };

  static bool elementwise(const Node* node) {
    return node->kind() == Node::Kind::op && node->op().type().elementwise;
  }

  void count_uses();
  void group_chains();
  void add(const Node* node);
  void add_op(const Node* node);
  void add_view(const Node* node);
  void add_loop(const Node* node);
  std::size_t new_root(const TensorSpec& spec, Home home, std::size_t index);
  std::size_t value_of(const Expr& x) const {
    return x ? values_.at(&x.node())[static_cast<std::size_t>(x.output())] : kNone;
  }
  std::vector<Op::MaybeSpec> specs_of(const Step& step) const;
  bool fills_root(const Value& value) const;
  void choose_outputs();
  void find_lifetimes();
  void overwrite();

  Executable::Plan& plan_;
  const CompileOptions& options_;
  std::vector<const Node*> order_;
  std::span<const Expr> outputs_;
  std::unordered_map<const Node*, std::size_t> input_index_;
  std::unordered_map<const Node*, std::vector<Use>> uses_;
  std::unordered_map<const Node*, const Node*> chain_;  // node → last node of its chain
  std::unordered_map<const Node*, std::vector<const Node*>> members_;
  std::unordered_map<const Node*, std::vector<std::size_t>> values_;
};

void Builder::count_uses() {
  for (const Node* node : order_) uses_[node].resize(node->outputs().size());
  for (const Node* node : order_) {
    for (const Expr& x : node->inputs()) {
      if (!x) continue;
      Use& use = uses_[&x.node()][static_cast<std::size_t>(x.output())];
      use.one_user = use.count == 0 || (use.one_user && use.user == node);
      use.user = node;
      ++use.count;
    }
  }
  for (const Expr& x : outputs_) {
    uses_[&x.node()][static_cast<std::size_t>(x.output())].is_result = true;
  }
}

// An elementwise node joins the chain of its users when they are all in one chain, of the same
// shape.
void Builder::group_chains() {
  std::unordered_map<const Node*, const Node*> joined;  // the chain that all users so far are in
  std::unordered_map<const Node*, bool> torn;
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
    const Node* node = *it;
    if (elementwise(node)) {
      const Node* root = node;
      if (!uses_[node][0].is_result && !torn[node] && joined.contains(node)) {
        const Node* candidate = joined[node];
        if (candidate != nullptr && candidate->outputs()[0].shape == node->outputs()[0].shape &&
            members_[candidate].size() < kLargestChain) {
          root = candidate;
        }
      }
      chain_[node] = root;
      members_[root].push_back(node);
    }
    const Node* own = elementwise(node) ? chain_[node] : nullptr;
    for (const Expr& x : node->inputs()) {
      if (!x) continue;
      const auto [found, is_new] = joined.try_emplace(&x.node(), own);
      if (!is_new && found->second != own) torn[&x.node()] = true;
    }
  }
  for (auto& [root, members] : members_) std::ranges::reverse(members);  // operands first
}

std::size_t Builder::new_root(const TensorSpec& spec, Home home, std::size_t index) {
  Value value{.spec = spec, .strides = contiguous_strides(spec.shape)};
  value.root = plan_.values.size();
  value.home = home;
  value.index = index;
  plan_.values.push_back(std::move(value));
  return plan_.values.size() - 1;
}

void Builder::add(const Node* node) {
  switch (node->kind()) {
    case Node::Kind::input: {
      const auto found = input_index_.find(node);
      if (found == input_index_.end()) {
        throw Error("compile",
                    format("input {} is needed but not among the inputs", quoted(node->name())))
            .at(node->location().text());
      }
      values_[node] = {new_root(node->outputs()[0], Home::input, found->second)};
      return;
    }
    case Node::Kind::constant:
      values_[node] = {new_root(node->outputs()[0], Home::constant, plan_.constants.size())};
      plan_.constants.push_back(node->value().contiguous());
      return;
    case Node::Kind::op:
      break;
  }
  if (chain_.contains(node) && chain_[node] != node) return;  // done by the chain's last node
  if (node->op().type().has_view) return add_view(node);
  if (elementwise(node)) return add_loop(node);
  add_op(node);
}

void Builder::add_op(const Node* node) {
  Step step{
      .op = node->op_pointer(), .location = node->location(), .names = {node->op().type().name}};
  for (const Expr& x : node->inputs()) step.in.push_back(value_of(x));
  std::vector<std::size_t>& values = values_[node];
  for (std::size_t o = 0; o < node->outputs().size(); ++o) {
    const Use& use = uses_[node][o];
    const bool wanted = use.count > 0 || use.is_result;
    values.push_back(wanted ? new_root(node->outputs()[o], Home::arena, 0) : kNone);
    step.out.push_back(values.back());
  }
  plan_.steps.push_back(std::move(step));
}

// Views are made once, on a tensor of the operand's layout whose elements nobody reads.
void Builder::add_view(const Node* node) {
  alignas(64) static constexpr std::byte kNowhere[64] = {};
  std::size_t operand = value_of(node->inputs()[0]);
  const Value& x = plan_.values[operand];
  const Tensor phantom =
      Tensor::borrow(static_cast<const void*>(kNowhere), x.spec.dtype, x.spec.shape, x.strides);
  Tensor seen = node->op().view(phantom);
  if (!seen) {
    // Made row-major first, by a step of its own.
    const TensorSpec spec = x.spec;
    Step copy{.in = {operand}, .location = node->location(), .names = {node->op().type().name}};
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
  values_[node] = {plan_.values.size()};
  plan_.values.push_back(std::move(value));
}

void Builder::add_loop(const Node* root) {
  Step step{.location = root->location()};
  const std::vector<const Node*> alone{root};
  const std::vector<const Node*>& members = members_.contains(root) ? members_[root] : alone;
  TileProgram program;
  std::vector<TileLoop::Layout> layouts;
  std::unordered_map<std::size_t, std::size_t> operand_of;  // value → operand
  for (const Node* node : members) {
    for (const Expr& x : node->inputs()) {
      if (chain_.contains(&x.node()) && chain_[&x.node()] == root) continue;
      const std::size_t value = value_of(x);
      if (!operand_of.try_emplace(value, step.in.size()).second) continue;
      step.in.push_back(value);
      program.inputs.push_back(x.dtype());
      layouts.push_back({plan_.values[value].spec.shape, plan_.values[value].strides});
    }
  }
  std::unordered_map<const Node*, std::size_t> made;
  for (const Node* node : members) {
    TileProgram::Step part{
        .op = node->op_pointer(), .kernel = {}, .operands = {}, .dtype = node->outputs()[0].dtype};
    std::vector<DType> dtypes;
    for (const Expr& x : node->inputs()) {
      dtypes.push_back(x.dtype());
      part.operands.push_back(made.contains(&x.node()) ? made[&x.node()]
                                                       : operand_of.at(value_of(x)));
    }
    part.kernel = node->op().tile_kernel(dtypes);
    made[node] = program.inputs.size() + program.steps.size();
    program.steps.push_back(std::move(part));
    step.names.push_back(node->op().type().name);
  }
  step.loop.emplace(std::move(program), layouts, root->outputs()[0].shape);
  step.out = {new_root(root->outputs()[0], Home::arena, 0)};
  values_[root] = step.out;
  plan_.steps.push_back(std::move(step));
}

std::vector<Op::MaybeSpec> Builder::specs_of(const Step& step) const {
  std::vector<Op::MaybeSpec> specs;
  for (const std::size_t value : step.in) {
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
    const std::size_t result = value_of(outputs_[o]);
    Value& root = plan_.values[plan_.values[result].root];
    if (root.home == Home::arena && fills_root(plan_.values[result])) {
      root.home = Home::output;
      root.index = o;
      plan_.results.push_back(result);
      continue;
    }
    Step copy{.in = {result}, .names = {"copy"}};
    copy.out = {new_root(outputs_[o].spec(), Home::output, o)};
    plan_.results.push_back(copy.out[0]);
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
  std::vector<std::vector<std::size_t>> family(plan_.values.size());  // root → it and its views
  for (std::size_t v = 0; v < plan_.values.size(); ++v) family[plan_.values[v].root].push_back(v);
  for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
    Step& step = plan_.steps[s];
    const bool may = step.loop || (step.op && step.op->type().overwrites);
    if (!may || step.out[0] == kNone) continue;
    Value& out = plan_.values[step.out[0]];
    for (const std::size_t operand : step.in) {
      if (operand == kNone) continue;
      const Value& x = plan_.values[operand];
      const std::size_t old_root = x.root;
      const Value& root = plan_.values[old_root];
      const bool only_reader = std::ranges::count_if(step.in, [&](std::size_t other) {
                                 return other != kNone && plan_.values[other].root == old_root;
                               }) == 1;
      if (root.home != Home::arena || root.last != s || !only_reader || x.spec != out.spec ||
          !fills_root(x)) {
        continue;
      }
      // The operand's root becomes the result's: its memory, and all its views, move there.
      const std::size_t new_root = step.out[0];
      out.first = root.first;
      for (const std::size_t v : family[old_root]) plan_.values[v].root = new_root;
      family[new_root].insert(family[new_root].end(), family[old_root].begin(),
                              family[old_root].end());
      family[old_root].clear();
      step.in_place = true;
      break;
    }
  }
}

}  // namespace

void place_in_arena(Executable::Plan& plan) {
  constexpr std::size_t kAlign = 64;
  std::vector<std::size_t> roots;
  std::map<std::size_t, std::vector<std::size_t>> ends;  // step → roots last read there
  for (std::size_t v = 0; v < plan.values.size(); ++v) {
    if (plan.values[v].root == v && plan.values[v].home == Home::arena) roots.push_back(v);
  }
  std::ranges::stable_sort(roots, {}, [&](std::size_t v) { return plan.values[v].first; });
  std::map<std::size_t, std::size_t> free;  // offset → bytes
  const auto release = [&](std::size_t offset, std::size_t bytes) {
    auto next = free.upper_bound(offset);
    if (next != free.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free.erase(next);
    }
    if (next != free.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    free[offset] = bytes;
  };
  for (const std::size_t v : roots) {
    Value& value = plan.values[v];
    while (!ends.empty() && ends.begin()->first < value.first) {
      for (const std::size_t done : ends.begin()->second) {
        const Value& old = plan.values[done];
        const std::size_t bytes =
            static_cast<std::size_t>(old.spec.shape.numel()) * size_of(old.spec.dtype);
        release(old.arena_offset, std::max((bytes + kAlign - 1) / kAlign * kAlign, kAlign));
      }
      ends.erase(ends.begin());
    }
    std::size_t bytes =
        static_cast<std::size_t>(value.spec.shape.numel()) * size_of(value.spec.dtype);
    bytes = std::max((bytes + kAlign - 1) / kAlign * kAlign, kAlign);
    auto best = free.end();
    for (auto it = free.begin(); it != free.end(); ++it) {
      if (it->second >= bytes && (best == free.end() || it->second < best->second)) best = it;
    }
    if (best != free.end()) {
      value.arena_offset = best->first;
      const std::size_t rest = best->second - bytes;
      free.erase(best);
      if (rest > 0) free[value.arena_offset + bytes] = rest;
    } else {
      // Grow, beginning with the free end if there is one.
      std::size_t begin = plan.arena_bytes;
      if (!free.empty() && std::prev(free.end())->first + std::prev(free.end())->second == begin) {
        begin = std::prev(free.end())->first;
        free.erase(std::prev(free.end()));
      }
      value.arena_offset = begin;
      if (__builtin_add_overflow(begin, bytes, &plan.arena_bytes)) {
        fail("compile",
             "the plan needs more bytes than an address has; smaller shapes are required");
      }
    }
    ends[value.last].push_back(v);
  }
}

void build_plan(Executable::Plan& plan, std::span<const Expr> inputs, std::span<const Expr> outputs,
                const CompileOptions& options) {
  Builder(plan, inputs, outputs, options).build();
}

}  // namespace fovea
