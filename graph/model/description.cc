#include "fovea/graph/model/description.h"

#include <algorithm>
#include <charconv>

#include "fovea/graph/model/reader.h"
#include "fovea/tensor/format.h"

namespace fovea::model {

namespace {

// `first.rest` in two; without a dot, rest is empty.
std::pair<std::string_view, std::string_view> split(std::string_view name) {
  const std::size_t dot = name.find('.');
  if (dot == name.npos) return {name, {}};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

// Cycle through things that a topological order has left out: each needs another of them.
std::vector<std::uint32_t> cycle_among(const std::vector<bool>& done,
                                       const std::vector<std::vector<std::uint32_t>>& needs) {
  const auto first = std::ranges::find(done, false) - done.begin();
  std::vector<std::uint32_t> path;
  std::vector<std::int64_t> visited(done.size(), -1);
  auto at = static_cast<std::uint32_t>(first);
  while (visited[at] < 0) {
    visited[at] = static_cast<std::int64_t>(path.size());
    path.push_back(at);
    at = *std::ranges::find_if(needs[at], [&](std::uint32_t need) { return !done[need]; });
  }
  path.erase(path.begin(), path.begin() + visited[at]);
  return path;
}

}  // namespace

Reference Body::find(std::string_view name) const {
  const auto [first, rest] = split(name);
  const auto at = names.find(std::string(first));
  return {{}, at == names.end() ? Symbol{} : at->second, rest};
}

std::optional<std::size_t> output_named(const OpType& op, std::string_view member) {
  if (member.empty()) return 0;
  if (op.variadic_outputs()) {
    std::size_t index = 0;
    const auto read = std::from_chars(member.data(), member.data() + member.size(), index);
    if (read.ec == std::errc() && read.ptr == member.data() + member.size()) return index;
    return {};
  }
  const auto at = std::ranges::find(op.outputs, member, &Slot::name);
  if (at == op.outputs.end()) return {};
  return static_cast<std::size_t>(at - op.outputs.begin());
}

bool is_member(const Node& node, std::string_view member) {
  const Node* at = &node;
  for (bool repetition = false;;) {
    const auto [first, rest] = split(member);
    if (at->op != nullptr) return output_named(*at->op, member).has_value();
    if (at->block == nullptr) return true;  // reported already
    const Body& body = at->block->body;
    if (!repetition) {
      if (member.empty()) return true;
      const bool result =
          std::ranges::find(body.results, member, &Result::name) != body.results.end();
      if (result) return true;
    }
    if (at->repeat && !repetition) {
      std::uint32_t index = 0;
      const auto read = std::from_chars(first.data(), first.data() + first.size(), index);
      const bool number = read.ec == std::errc() && read.ptr == first.data() + first.size();
      if (!number) {
        // Shared parameters have no index.
        const Symbol symbol = body.find(member).symbol;
        return at->share && symbol.source == Source::param && rest.empty();
      }
      if (rest.empty()) return false;
      member = rest;
      repetition = true;
      continue;
    }
    const Symbol symbol = body.find(member).symbol;
    if (symbol.source == Source::none) return false;
    if (symbol.source != Source::node) return rest.empty();
    at = &body.nodes[symbol.index];
    member = rest;
    repetition = false;
  }
}

Ordering ordered(std::size_t count, const std::vector<std::vector<std::uint32_t>>& needs) {
  std::vector<std::vector<std::uint32_t>> users(count);
  std::vector<std::size_t> missing(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    missing[i] = needs[i].size();
    for (std::uint32_t need : needs[i]) users[need].push_back(i);
  }
  Ordering result;
  std::vector<bool> done(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (missing[i] == 0) result.order.push_back(i);
  }
  for (std::size_t next = 0; next < result.order.size(); ++next) {
    done[result.order[next]] = true;
    for (std::uint32_t user : users[result.order[next]]) {
      if (--missing[user] == 0) result.order.push_back(user);
    }
  }
  if (result.order.size() < count) result.cycle = cycle_among(done, needs);
  return result;
}

std::string cycle_text(const std::vector<std::uint32_t>& cycle,
                       const std::function<std::string_view(std::uint32_t)>& name_of) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(cycle.size(), 8); ++i) {
    text += std::string(name_of(cycle[i])) + " -> ";
  }
  if (cycle.size() > 8) text += "… -> ";
  return text + std::string(name_of(cycle.front()));
}

void Reader::order_nodes(Body& body) {
  std::vector<std::vector<std::uint32_t>> needs(body.nodes.size());
  for (std::size_t i = 0; i < needs.size(); ++i) {
    for (const Operand& operand : body.nodes[i].inputs) {
      const Symbol& symbol = operand.value.symbol;
      if (symbol.source == Source::node) needs[i].push_back(symbol.index);
    }
  }
  Ordering ordering = ordered(needs.size(), needs);
  body.order = std::move(ordering.order);
  if (ordering.cycle.empty()) return;
  const auto& cycle = ordering.cycle;
  mistakes_.add(body.nodes[cycle.front()].at,
                format("the nodes {} are a cycle; a node may not depend on itself",
                       cycle_text(cycle, [&](std::uint32_t i) { return body.nodes[i].name; })));
}

std::vector<Block*> Reader::order_blocks() {
  std::vector<Block*> blocks;
  for (auto& [name, block] : d_.blocks) {
    block->broken = true;  // until it has its place in the order
    blocks.push_back(block.get());
  }
  std::ranges::sort(blocks, {}, [](const Block* block) { return block->at.order(); });
  std::unordered_map<const Block*, std::uint32_t> index;
  for (const Block* block : blocks) index.emplace(block, static_cast<std::uint32_t>(index.size()));
  std::vector<std::vector<std::uint32_t>> needs(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (const Node& node : blocks[i]->body.nodes) {
      if (node.block != nullptr) needs[i].push_back(index.at(node.block));
    }
  }
  const Ordering ordering = ordered(blocks.size(), needs);
  std::vector<Block*> order;
  std::vector<std::size_t> depth(blocks.size(), 1);
  for (std::uint32_t i : ordering.order) {
    for (std::uint32_t need : needs[i]) depth[i] = std::max(depth[i], depth[need] + 1);
    blocks[i]->broken = depth[i] > JsonDocument::kMaxNesting;
    if (depth[i] == JsonDocument::kMaxNesting + 1) {
      mistakes_.add(blocks[i]->at, format("blocks use blocks deeper than {}; that is the limit",
                                          JsonDocument::kMaxNesting));
    }
    order.push_back(blocks[i]);
  }
  if (!ordering.cycle.empty()) {
    mistakes_.add(
        blocks[ordering.cycle.front()]->at,
        format("the blocks {} are a cycle; a block may not use itself",
               cycle_text(ordering.cycle, [&](std::uint32_t i) { return blocks[i]->name; })));
  }
  return order;
}

}  // namespace fovea::model
