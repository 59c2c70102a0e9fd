// Checks a model whose dims are not all known: what is wrong for whatever sizes they will have?
//
// The model is built several times, with different stand-ins for the open dims. An op that refuses
// its inputs every time is at fault only if it still does when those extents that change with the
// stand-ins are replaced by the other extents that it meets: `(length, 64)` times `(32, 8)` is
// wrong for every length, `(4, length)` times `(64, 8)` may be meant for length 64.

#include <algorithm>
#include <deque>
#include <set>
#include <string>

#include "fovea/graph/model/instance.h"
#include "fovea/graph/model/open_sizes.h"

namespace fovea::model {

namespace {

/// An extent of an input, or an integer in an attribute, and what it is in each run.
using Column = std::vector<std::int64_t>;

void collect_integers(const AttributeValue& value, std::vector<std::int64_t>& out) {
  if (const Extent* extent = std::get_if<Extent>(&value.value)) out.push_back(extent->value());
  if (const auto* list = std::get_if<AttributeValue::List>(&value.value)) {
    for (const AttributeValue& entry : *list) collect_integers(entry, out);
  }
}

void replace_integers(AttributeValue& value, std::span<const std::int64_t>& in) {
  if (Extent* extent = std::get_if<Extent>(&value.value)) {
    *extent = in.front();
    in = in.subspan(1);
  }
  if (auto* list = std::get_if<AttributeValue::List>(&value.value)) {
    for (AttributeValue& entry : *list) replace_integers(entry, in);
  }
}

/// Extents of the inputs, then integers of the attributes.
std::vector<std::int64_t> integers_of(const Refusal& refusal) {
  std::vector<std::int64_t> all;
  for (const Op::MaybeSpec& spec : refusal.inputs) {
    if (spec) all.insert(all.end(), spec->shape.begin(), spec->shape.end());
  }
  for (const auto& [name, value] : refusal.op->attributes()) collect_integers(value, all);
  return all;
}

bool accepts(const Refusal& refusal, std::span<const std::int64_t> integers) {
  try {
    std::vector<Op::MaybeSpec> inputs = refusal.inputs;
    for (Op::MaybeSpec& spec : inputs) {
      if (!spec) continue;
      const auto rank = static_cast<std::size_t>(spec->shape.rank());
      spec->shape = Shape(integers.first(rank));
      integers = integers.subspan(rank);
    }
    AttributeMap attributes = refusal.op->attributes();
    for (auto& [name, value] : attributes) replace_integers(value, integers);
    refusal.op->type().make(attributes)->infer(inputs);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Whether some sizes for the extents that change between the runs make the op accept.
class Search {
 public:
  explicit Search(const std::vector<const Refusal*>& runs) : refusal_(*runs.front()) {
    std::vector<std::vector<std::int64_t>> rows;
    for (const Refusal* run : runs) rows.push_back(integers_of(*run));
    base_ = rows.front();
    const bool comparable = runs.size() > 1 && std::ranges::all_of(rows, [&](const auto& row) {
                              return row.size() == base_.size();
                            });
    for (std::size_t i = 0; i < base_.size(); ++i) {
      Column column;
      if (comparable) {
        for (const auto& row : rows) column.push_back(row[i]);
      } else {
        column = {base_[i], static_cast<std::int64_t>(i), 0};
      }
      const bool fixed = comparable && std::ranges::all_of(column, [&](std::int64_t value) {
                           return value == column.front();
                         });
      if (fixed) {
        candidates_.insert(base_[i]);
      } else {
        groups_[column].push_back(i);
      }
    }
    candidates_.insert({1, 2});
    for (const auto& [column, members] : groups_) candidates_.insert(column.front());
  }

  /// Cautious: true as well when there are too many ways to try.
  bool finds() {
    constexpr double kMostTries = 20000;
    double tries = 1;
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      tries *= static_cast<double>(candidates_.size());
    }
    if (tries > kMostTries) return true;
    return search(groups_.begin(), base_);
  }

  const std::set<std::int64_t>& candidates() const { return candidates_; }

 private:
  using Groups = std::map<Column, std::vector<std::size_t>>;

  // At most log(kMostTries) deep.
  bool search(Groups::const_iterator group, std::vector<std::int64_t>& integers) {
    if (group == groups_.end()) return accepts(refusal_, integers);
    for (std::int64_t candidate : candidates_) {
      for (std::size_t i : group->second) integers[i] = candidate;
      if (search(std::next(group), integers)) return true;
    }
    return false;
  }

  const Refusal& refusal_;
  std::vector<std::int64_t> base_;
  std::set<std::int64_t> candidates_;
  Groups groups_;  // extents that are equal in every run are one unknown
};

/// Builds with stand-ins, and what comes of it.
class OpenCheck {
 public:
  OpenCheck(const Description& description, const OpenSizes& sizes, const DimValues& dims,
            const std::optional<DType>& dtype, bool keep, Mistakes& mistakes)
      : d_(description),
        sizes_(sizes),
        dims_(dims),
        dtype_(dtype),
        keep_(keep),
        mistakes_(mistakes),
        count_(dims.unbound().size()) {}

  OpenInstances run() {
    for (std::size_t i = 0; i < 2; ++i) build_with(sizes_.choice(i));
    build_with(dims_.with(std::vector<std::int64_t>(count_, 720)));
    build_with(dims_.with(std::vector<std::int64_t>(count_, 1)));
    try_likely_sizes();
    for (const auto& [node, refusals] : refusals_) {
      if (accepted_.contains(node) || Search(refusals).finds()) continue;
      const std::vector<const Refusal*>& first = first_[node];
      report(refusals.front()->mistakes, (first.empty() ? refusals : first).back()->mistakes);
    }
    compare_mismatches();
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      report(runs_[i].mistakes, runs_[i == 0 ? 1 : i == 1 ? 0 : i].mistakes);
    }
    return {std::move(runs_[0].instance), std::move(runs_[1].instance)};
  }

 private:
  static constexpr std::size_t kMostLikely = 16;

  struct Run {
    std::unique_ptr<Instance> instance;
    Mistakes mistakes;
  };

  void build_with(const DimValues& dims) {
    Run& run = runs_.emplace_back();
    run.instance = std::make_unique<Instance>(build(d_, dims, dtype_, run.mistakes));
    accepted_.insert(run.instance->accepted.begin(), run.instance->accepted.end());
    std::set<const Node*> seen;
    for (const Refusal& refusal : run.instance->refusals) {
      refusals_[refusal.node].push_back(&refusal);
      if (seen.insert(refusal.node).second && runs_.size() <= 2) {
        first_[refusal.node].push_back(&refusal);
      }
    }
    if (runs_.size() > 2 || !keep_) {  // large, and not looked at
      run.instance->scope = {};
      run.instance->outputs.clear();
    }
  }

  // An extent that a block refuses for both choices, and that is the same in both, does not depend
  // on them.
  void compare_mismatches() {
    const std::vector<Mismatch>& others = runs_[1].instance->mismatches;
    Mistakes first, second;
    for (const Mismatch& one : runs_[0].instance->mismatches) {
      const auto other = std::ranges::find_if(others, [&](const Mismatch& found) {
        return found.node == one.node && found.input == one.input;
      });
      if (other == others.end()) continue;
      for (std::int64_t axis = 0; axis < one.given.shape.rank(); ++axis) {
        const std::int64_t given = one.given.shape[axis], wanted = one.wanted.shape[axis];
        if (given == wanted || given != other->given.shape[axis] ||
            wanted != other->wanted.shape[axis]) {
          continue;
        }
        first.add(one.node->at, one.text);
        second.add(one.node->at, other->text);
        break;
      }
    }
    report(first, second);
  }

  // Mistakes that were found with one choice of stand-ins, in the words of both: the reader has
  // never said 5040. What differs in numbers only is one mistake.
  void report(const Mistakes& mistakes, const Mistakes& others) {
    for (const Mistakes::Found& one : mistakes.found()) {
      const std::string skeleton = without_numbers(one.diagnostic.text);
      if (!reported_.emplace(one.order, skeleton).second) continue;
      const auto other = std::ranges::find_if(others.found(), [&](const Mistakes::Found& found) {
        return found.order == one.order && without_numbers(found.diagnostic.text) == skeleton;
      });
      const std::string& text = one.diagnostic.text;
      Mistakes::Found named = one;
      named.diagnostic.text =
          sizes_.text(text, other == others.found().end() ? text : other->diagnostic.text);
      mistakes_.add(named);
    }
  }

  // Sizes that refused ops have met elsewhere: behind an op that wants `length` to be 64, the rest
  // of the model is seen only when it is.
  void try_likely_sizes() {
    std::set<std::int64_t> likely;
    for (const auto& [node, refusals] : refusals_) {
      if (accepted_.contains(node)) continue;
      const Search search(refusals);
      likely.insert(search.candidates().begin(), search.candidates().end());
    }
    std::size_t tries = 0;
    for (std::size_t dim = 0; dim < count_; ++dim) {
      for (std::int64_t size : likely) {
        if (++tries > kMostLikely) return;
        std::vector<std::int64_t> sizes(count_, 720);
        sizes[dim] = size;
        build_with(dims_.with(sizes));
      }
    }
  }

  const Description& d_;
  const OpenSizes& sizes_;
  const DimValues& dims_;
  const std::optional<DType>& dtype_;
  bool keep_;
  Mistakes& mistakes_;
  std::size_t count_;
  std::deque<Run> runs_;
  std::set<const Node*> accepted_;
  std::map<const Node*, std::vector<const Refusal*>> refusals_;
  std::map<const Node*, std::vector<const Refusal*>> first_;  // of each of the two choices
  std::set<std::pair<std::size_t, std::string>> reported_;
};

}  // namespace

OpenInstances check_open(const Description& description, const OpenSizes& sizes,
                         const DimValues& dims, const std::optional<DType>& dtype, bool keep,
                         Mistakes& mistakes) {
  return OpenCheck(description, sizes, dims, dtype, keep, mistakes).run();
}

}  // namespace fovea::model
