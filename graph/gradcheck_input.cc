#include "fovea/graph/gradcheck_input.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "fovea/graph/directions.h"
#include "fovea/tensor/format.h"

namespace fovea {

namespace {

constexpr double kDecide = 1e-6;          // of M: errors of this size must be seen
constexpr double kDecideSampled = 1e-4;   // of M: the same where elements are sampled
constexpr double kSafety = 2;             // of the numeric error bar
constexpr double kZero = 0x1p-31;         // of the loss's terms: a derivative of less is none
constexpr double kNothing = 1e-290;       // underflow alone
constexpr double kMissed = 1e-6;          // probability of an error beyond the bound that is stated
constexpr std::int64_t kForwardOnly = 4;  // normal directions of inputs that are checked fully
constexpr std::int64_t kMapped = 4096;    // elements of which an error map is made

// One number by every oracle that was asked.
struct Comparison {
  Direction direction;
  bool normal = false;  // a normal direction through all elements
  double norm2 = 1;
  double analytic = 0, bar = 0;
  std::optional<Derivative> numeric = {};
  std::optional<Measured> forward = {}, decomposition = {};

  bool at_kink() const {
    if (!numeric) return false;
    // Neither has a value: there is no derivative here.
    if (!std::isfinite(analytic)) return !numeric->found && !forward;
    const auto [low, high] = std::minmax(numeric->left, numeric->right);
    const double slack = (high - low) / 8;
    return numeric->kink && analytic >= low - slack && analytic <= high + slack;
  }

  std::vector<OracleFinding> findings() const {
    std::vector<OracleFinding> all;
    const auto add = [&](Oracle oracle, double value, double oracle_bar) {
      const bool agrees = std::abs(analytic - value) <= bar + oracle_bar;
      all.push_back({oracle, value, oracle_bar, agrees});
    };
    if (numeric && numeric->found) {
      add(Oracle::numeric, numeric->value, kSafety * numeric->error);
    }
    if (forward) add(Oracle::forward, forward->value, forward->bar);
    if (decomposition) add(Oracle::decomposition, decomposition->value, decomposition->bar);
    return all;
  }

  // To the oracle that contradicts most; else to the most exact one.
  double difference() const {
    if (!std::isfinite(analytic)) return std::numeric_limits<double>::infinity();
    double contradicting = 0, agreeing = 0;
    double best = std::numeric_limits<double>::infinity();
    for (const OracleFinding& f : findings()) {
      const double apart = std::abs(analytic - f.value);
      if (!f.agrees) contradicting = std::max(contradicting, apart);
      if (f.bar < best) {
        best = f.bar;
        agreeing = apart;
      }
    }
    return contradicting > 0 ? contradicting : agreeing;
  }
};

enum class State { kink, agrees, undecided, differs };  // from the best to the worst

class InputCheck {
 public:
  InputCheck(Oracles& oracles, std::size_t k, const Bounded& gradient,
             const GradcheckOptions& options, const Deadline& deadline)
      : oracles_(oracles),
        k_(k),
        gradient_(gradient),
        options_(options),
        deadline_(deadline),
        view_{k, oracles.problem().bindings[k].second.contiguous(), gradient.value, options.seed} {
    scale_ = largest(gradient.value);
  }

  GradientRow run();

 private:
  bool full() const { return view_.value.numel() <= options_.full_up_to; }
  // `normal`: a normal direction through all elements; `all`: every oracle is asked.
  void compare(const Direction& d, bool numerically, bool normal = false, bool all = false);
  void compare_directions();
  void compare_elements();
  void compare_decomposition();
  void search();
  void search_forward(std::int64_t begin, std::int64_t end);
  bool part_differs(std::int64_t begin, std::int64_t end);
  State judge(const Comparison& c) const;
  bool is_zero() const;
  void conclude();
  void fill_worst(const Comparison& c);
  double missed() const;
  void make_map();

  Oracles& oracles_;
  std::size_t k_;
  const Bounded& gradient_;
  const GradcheckOptions& options_;
  const Deadline& deadline_;
  InputView view_;
  double scale_ = 0;  // M, as far as is known
  std::vector<Comparison> all_;
  GradientRow row_;
};

void InputCheck::compare(const Direction& d, bool numerically, bool normal, bool all) {
  Comparison c{.direction = d, .normal = normal, .norm2 = d.norm2()};
  c.analytic = d.dot(gradient_.value);
  c.bar = d.bar(gradient_.value, gradient_.bars);
  if (const std::vector<Bounded>* other = oracles_.decomposition()) {
    const Bounded& g = (*other)[k_];
    const Measured m{d.dot(g.value), d.bar(g.value, g.bars)};
    if (std::isfinite(m.value)) c.decomposition = m;
  }
  if (numerically) {
    c.numeric = oracles_.numeric(k_, d, scale_ * c.norm2);
    const auto differs = [&] {
      return c.numeric->found &&
             !(std::abs(c.analytic - c.numeric->value) <= c.bar + kSafety * c.numeric->error);
    };
    if (differs() || c.numeric->kink) c.numeric = oracles_.confirmed(k_, d, scale_ * c.norm2);
    if (c.numeric->found) {
      const double sure = std::abs(c.numeric->value) - kSafety * c.numeric->error;
      scale_ = std::max(scale_, sure / c.norm2);
    }
    // Forward mode decides where differences cannot, and joins in where they contradict.
    const bool open =
        !c.numeric->found || differs() || kSafety * c.numeric->error > kDecide * scale_ * c.norm2;
    if (open || normal || all) c.forward = oracles_.forward(k_, d);
  } else {
    c.forward = oracles_.forward(k_, d);
  }
  if (c.forward) {
    scale_ = std::max(scale_, (std::abs(c.forward->value) - c.forward->bar) / c.norm2);
  }
  all_.push_back(std::move(c));
}

void InputCheck::compare_directions() {
  if (view_.value.numel() == 0) return;
  const std::int64_t count = full() ? kForwardOnly : options_.directions;
  for (std::int64_t i = 0; i < count; ++i) {
    if (deadline_.passed()) {
      ++row_.skipped;
      continue;
    }
    const Direction d = normal_direction(view_, i);
    if (d.norm1() == 0) continue;
    compare(d, !full(), true);
  }
  if (full()) return;
  for (const Direction& d : structured_directions(view_)) {
    if (d.norm1() == 0) continue;
    if (deadline_.passed()) {
      ++row_.skipped;
    } else {
      compare(d, true);
    }
  }
}

void InputCheck::compare_elements() {
  for (std::int64_t i : chosen_elements(view_, options_.full_up_to, options_.sampled_elements)) {
    if (deadline_.passed()) {
      ++row_.skipped;
      continue;
    }
    compare(Direction::element(view_.value.shape(), i), true);
    ++row_.checked;
  }
}

// The element at which the decomposition contradicts most.
void InputCheck::compare_decomposition() {
  const std::vector<Bounded>* other = oracles_.decomposition();
  if (other == nullptr) return;
  const Bounded& g = (*other)[k_];
  std::int64_t worst = -1;
  double most = 0;
  for (std::int64_t i = 0; i < g.value.numel(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double a = view_.gradient.data<double>()[i], b = g.value.data<double>()[i];
    const double difference = std::abs(a - b);
    if (difference <= gradient_.bars[at] + g.bars[at] || !std::isfinite(difference)) continue;
    if (difference <= most || !view_.movable(i)) continue;
    most = difference;
    worst = i;
  }
  if (worst < 0) return;
  const Direction d = Direction::element(view_.value.shape(), worst);
  const bool known = std::ranges::any_of(
      all_, [&](const Comparison& c) { return c.direction.label() == d.label(); });
  if (known) return;
  compare(d, true);
  ++row_.checked;
}

bool InputCheck::part_differs(std::int64_t begin, std::int64_t end) {
  const Direction d = part_of(view_, begin, end);
  if (d.norm1() == 0) return false;
  const auto forward = oracles_.forward(k_, d);
  if (!forward) return false;
  return !(std::abs(d.dot(gradient_.value) - forward->value) <=
           forward->bar + d.bar(gradient_.value, gradient_.bars));
}

// Halves a range in which forward mode contradicts, down to an element.
void InputCheck::search_forward(std::int64_t begin, std::int64_t end) {
  while (end - begin > 1) {
    const std::int64_t middle = begin + (end - begin) / 2;
    if (part_differs(begin, middle)) {
      end = middle;
    } else if (part_differs(middle, end)) {
      begin = middle;
    } else {
      return;  // too small to be seen in parts
    }
  }
  const Direction found = Direction::element(view_.value.shape(), begin);
  std::erase_if(all_, [&](const Comparison& c) { return c.direction.label() == found.label(); });
  compare(found, true, false, true);
  row_.checked += full() ? 0 : 1;
}

// A direction contradicts, but no element so far: which one is it?
void InputCheck::search() {
  bool directions = false;
  for (const Comparison& c : all_) {
    const bool differs = judge(c) == State::differs;
    if (differs && c.direction.single()) return;
    directions = directions || differs;
  }
  if (directions && view_.value.numel() > 0) search_forward(0, view_.value.numel());
}

State InputCheck::judge(const Comparison& c) const {
  if (c.at_kink()) return State::kink;
  if (!std::isfinite(c.analytic)) return State::differs;
  State state = State::undecided;
  for (const OracleFinding& f : c.findings()) {
    if (!f.agrees) return State::differs;
    if (c.bar + f.bar <= kDecide * scale_ * c.norm2) state = State::agrees;
  }
  // Directions bound what was missed; elements decide.
  return c.direction.single() ? state : State::agrees;
}

// Whether all that is known says zero, as far as arithmetic can tell.
bool InputCheck::is_zero() const {
  const double none = kZero * oracles_.loss().terms();
  bool sure = false;
  for (const Comparison& c : all_) {
    if (c.at_kink() || !(std::abs(c.analytic) <= std::max(c.bar, none))) return false;
    bool exact = false;
    for (const OracleFinding& f : c.findings()) {
      if (!(std::abs(f.value) <= f.bar)) return false;
      exact = exact || f.bar <= none * c.norm2 + kNothing;
    }
    if (c.numeric && !exact) return false;
    sure = sure || exact;
  }
  return sure;
}

double InputCheck::missed() const {
  double residue = 0;
  double count = 0;
  for (const Comparison& c : all_) {
    if (!c.normal || c.at_kink()) continue;
    double best = std::numeric_limits<double>::infinity();
    for (const OracleFinding& f : c.findings()) {
      if (f.oracle == Oracle::decomposition) continue;  // it shares rules
      best = std::min(best, std::abs(c.analytic - f.value) + c.bar + f.bar);
    }
    residue = std::max(residue, best);
    ++count;
  }
  if (count == 0) return std::numeric_limits<double>::infinity();
  return 0.8 * residue * std::pow(kMissed, -1 / count) / scale_;
}

void InputCheck::fill_worst(const Comparison& c) {
  row_.worst = c.direction.label();
  row_.worst_element = c.direction.index();
  row_.analytic = c.analytic;
  row_.bar = c.bar;
  row_.findings = c.findings();
  // Where differences found nothing, another oracle stands for them.
  if (c.numeric && c.numeric->found) {
    row_.numeric = c.numeric->value;
    row_.uncertainty = kSafety * c.numeric->error;
  } else if (!row_.findings.empty()) {
    row_.numeric = row_.findings.front().value;
    row_.uncertainty = row_.findings.front().bar;
  }
  const double place = std::nextafter(std::abs(row_.numeric), HUGE_VAL) - std::abs(row_.numeric);
  row_.ulps = std::abs(row_.analytic - row_.numeric) / place;
}

void InputCheck::conclude() {
  const bool zero = !all_.empty() && is_zero();
  bool agreed = false;
  State worst = State::kink;
  bool worst_single = false, filled = false;
  double worst_relative = 0;
  for (const Comparison& c : all_) {
    const State state = zero ? State::agrees : judge(c);
    if (state == State::kink) {
      ++row_.kinks;
      if (row_.kinks_at.size() < 8) row_.kinks_at.push_back({c.direction.label(), {}, {}});
      continue;
    }
    const bool single = c.direction.single();
    agreed = agreed || state == State::agrees;
    const double difference = c.difference();
    double relative = zero ? 0 : difference / (scale_ * c.norm2);
    if (std::isnan(relative)) relative = difference == 0 ? 0 : HUGE_VAL;
    const auto rank = std::tuple(state, single, relative);
    if (!filled || rank > std::tuple(worst, worst_single, worst_relative)) {
      worst_single = single;
      worst_relative = relative;
      filled = true;
      fill_worst(c);
    }
    worst = std::max(worst, state);
    row_.absolute = std::max(row_.absolute, difference);
    row_.relative = std::max(row_.relative, relative);
  }
  const bool every = full() && row_.skipped == 0;
  row_.largest = scale_;
  row_.missed = zero || every || !(scale_ > 0) ? 0 : missed();
  const bool open = worst == State::undecided || (row_.kinks > 0 && !agreed) ||
                    (!all_.empty() && !zero && !every && !(row_.missed <= kDecideSampled)) ||
                    (all_.empty() && row_.skipped > 0);
  row_.verdict = worst == State::differs ? Verdict::fail
                 : open                  ? Verdict::inconclusive
                 : zero || !filled       ? Verdict::vacuous
                                         : Verdict::pass;
}

// |error| / M of every element, by an oracle that can be asked for all of them.
void InputCheck::make_map() {
  const std::int64_t n = view_.value.numel();
  if (n > kMapped) return;
  std::vector<double> errors(static_cast<std::size_t>(n), 0.0);
  const std::vector<Bounded>* other = oracles_.decomposition();
  bool useful = false;
  for (std::int64_t i = 0; i < n; ++i) {
    const Direction d = Direction::element(view_.value.shape(), i);
    std::optional<double> right;
    if (const auto f = oracles_.forward_value(k_, d)) {
      right = *f;
    } else if (full() && view_.movable(i) && row_.skipped == 0) {
      const Derivative& numeric = oracles_.numeric(k_, d, scale_);
      if (numeric.found) right = numeric.value;
    } else if (other != nullptr) {
      right = (*other)[k_].value.data<double>()[i];
    }
    if (!right) continue;
    const double error = std::abs(view_.gradient.data<double>()[i] - *right);
    errors[static_cast<std::size_t>(i)] = std::isfinite(error) ? error / scale_ : HUGE_VAL;
    useful = true;
  }
  if (useful) row_.errors = std::move(errors);
}

GradientRow InputCheck::run() {
  row_.shape = view_.value.shape();
  row_.elements = view_.value.numel();
  for (std::int64_t i = 0; i < row_.elements; ++i) row_.fixed += view_.movable(i) ? 0 : 1;
  compare_directions();
  compare_elements();
  compare_decomposition();
  search();
  row_.directions =
      std::ranges::count_if(all_, [](const Comparison& c) { return !c.direction.single(); });
  for (Oracle oracle : {Oracle::numeric, Oracle::forward, Oracle::decomposition}) {
    const bool asked = std::ranges::any_of(all_, [&](const Comparison& c) {
      return std::ranges::count(c.findings(), oracle, &OracleFinding::oracle) > 0;
    });
    if (asked) row_.oracles.push_back(oracle);
  }
  conclude();
  if (row_.verdict == Verdict::fail) make_map();
  return std::move(row_);
}

}  // namespace

Deadline::Deadline(double seconds) {
  using std::chrono::duration, std::chrono::steady_clock;
  constexpr double kLongest = 1e9;
  at_ = steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(
                                  duration<double>(std::clamp(seconds, 0.0, kLongest)));
}

Deadline Deadline::share(std::size_t parts) const {
  const std::chrono::duration<double> left = at_ - std::chrono::steady_clock::now();
  return Deadline(left.count() / static_cast<double>(std::max<std::size_t>(parts, 1)));
}

GradientRow check_input(Oracles& oracles, std::size_t k, const Bounded& gradient,
                        const GradcheckOptions& options, const Deadline& deadline) {
  return InputCheck(oracles, k, gradient, options, deadline).run();
}

}  // namespace fovea
