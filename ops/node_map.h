// A map from nodes to values, for passes over graphs. Internal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace fovea {

class Node;

/// Like std::unordered_map<const Node*, T> without erase, for a million nodes: entries lie behind
/// each other in the order of their insertion, and nodes that were made after each other are looked
/// up near each other. Inserting invalidates references to values.
template <class T>
class NodeMap {
 public:
  using Entry = std::pair<const Node*, T>;

  std::size_t size() const { return entries_.size(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

  void reserve(std::size_t nodes) {
    entries_.reserve(nodes);
    if (2 * nodes > table_.size()) rehash(2 * nodes);
  }

  /// Null if there is none.
  T* find(const Node* node) { return const_cast<T*>(std::as_const(*this).find(node)); }
  const T* find(const Node* node) const {
    if (table_.empty()) return nullptr;
    const std::uint32_t place = table_[slot_of(node)];
    return place == kNone ? nullptr : &entries_[place].second;
  }
  bool contains(const Node* node) const { return find(node) != nullptr; }

  /// The value, and whether it is new: T{} then.
  std::pair<T*, bool> insert(const Node* node) {
    if (2 * (entries_.size() + 1) > table_.size()) rehash(4 * (entries_.size() + 1));
    std::uint32_t& place = table_[slot_of(node)];
    const bool is_new = place == kNone;
    if (is_new) {
      place = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back(node, T{});
    }
    return {&entries_[place].second, is_new};
  }
  T& operator[](const Node* node) { return *insert(node).first; }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  // Where the node is, or the free slot where it belongs. Neighbours in memory (16 bytes apart at
  // least, 4096 together) go to neighbouring slots, each page to a place of its own.
  std::size_t slot_of(const Node* node) const {
    const auto address = reinterpret_cast<std::uintptr_t>(node);
    const std::uint64_t page = (address >> 12) * 0x9e3779b97f4a7c15u;
    std::size_t slot = static_cast<std::size_t>((page >> 32) + (address >> 4 & 255)) & mask_;
    while (table_[slot] != kNone && entries_[table_[slot]].first != node) slot = (slot + 1) & mask_;
    return slot;
  }

  void rehash(std::size_t least) {
    std::size_t size = 64;
    while (size < least) size *= 2;
    table_.assign(size, kNone);
    mask_ = size - 1;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      table_[slot_of(entries_[i].first)] = static_cast<std::uint32_t>(i);
    }
  }

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> table_;  // places in entries_
  std::size_t mask_ = 0;
};

}  // namespace fovea
