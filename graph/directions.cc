#include "fovea/graph/directions.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fovea/tensor/format.h"
#include "fovea/tensor/random.h"

namespace fovea {

namespace {

constexpr std::int64_t kLargest = 3;  // largest elements of the gradient that are compared
constexpr std::int64_t kBeyondVectors[] = {8, 16, 17};  // f64 and f32 lanes, and one more

Key key(const InputView& x, std::int64_t number) {
  const Key base = key_for(x.seed, "directions");
  return {base.seed, base.stream + 4096 * x.k + static_cast<std::uint64_t>(number)};
}

std::vector<double> normal_numbers(const InputView& x, std::int64_t number) {
  std::vector<double> d =
      random_normal(f64, {x.value.numel()}, 0, 1, key(x, number)).to_vector<double>();
  for (std::size_t i = 0; i < d.size(); ++i) {
    if (!x.movable(static_cast<std::int64_t>(i))) d[i] = 0;
  }
  return d;
}

// `d` where the position on `axis` is `index`, 0 elsewhere.
std::vector<double> slice_of(const std::vector<double>& d, const Shape& shape, std::int64_t axis,
                             std::int64_t index) {
  std::int64_t inner = 1;
  for (std::int64_t a = axis + 1; a < shape.rank(); ++a) inner *= shape[a];
  std::vector<double> part(d.size(), 0.0);
  for (std::size_t i = 0; i < d.size(); ++i) {
    if (static_cast<std::int64_t>(i) / inner % shape[axis] == index) part[i] = d[i];
  }
  return part;
}

}  // namespace

bool InputView::movable(std::int64_t i) const { return std::isfinite(value.data<double>()[i]); }

Direction normal_direction(const InputView& x, std::int64_t number) {
  return Direction::through_all(format("direction {}", number + 1), normal_numbers(x, number + 1));
}

std::vector<Direction> structured_directions(const InputView& x) {
  std::vector<Direction> directions;
  const Shape& shape = x.value.shape();
  const std::vector<double> d = normal_numbers(x, 2048);
  for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] < 2) continue;
    for (const std::int64_t index : {std::int64_t{0}, shape[axis] - 1}) {
      directions.push_back(Direction::through_all(format("slice {} of axis {}", index, axis),
                                                  slice_of(d, shape, axis, index)));
    }
  }
  const std::int64_t length = shape.rank() == 0 ? 1 : shape[shape.rank() - 1].value();
  const std::int64_t rows = x.value.numel() / std::max<std::int64_t>(length, 1);
  for (const std::int64_t row : {rows / 3, rows - 1}) {
    if (rows < 4) break;
    std::vector<double> part(d.size(), 0.0);
    std::copy_n(d.begin() + row * length, length, part.begin() + row * length);
    directions.push_back(Direction::through_all(format("row {}", row), std::move(part)));
  }
  std::vector<double> along = x.gradient.to_vector<double>();
  const double most = largest(x.gradient);
  for (std::size_t i = 0; i < along.size(); ++i) {
    const bool usable = x.movable(static_cast<std::int64_t>(i)) && std::isfinite(along[i]);
    along[i] = usable && most > 0 ? along[i] / most : 0;
  }
  if (most > 0) directions.push_back(Direction::through_all("gradient", std::move(along)));
  return directions;
}

Direction part_of(const InputView& x, std::int64_t begin, std::int64_t end) {
  std::vector<double> d = normal_numbers(x, 2049), part(d.size(), 0.0);
  for (std::int64_t i = begin; i < end; ++i) {
    // No element is left out by chance.
    double& v = d[static_cast<std::size_t>(i)];
    if (v != 0) part[static_cast<std::size_t>(i)] = std::copysign(0.5, v) + v;
  }
  return Direction::through_all(format("elements {} to {}", begin, end - 1), std::move(part));
}

std::vector<std::int64_t> chosen_elements(const InputView& x, std::int64_t full_up_to,
                                          std::int64_t sampled) {
  const std::int64_t n = x.value.numel();
  std::vector<std::int64_t> elements;
  if (n <= full_up_to) {
    // Bit-reversed order: the first m are spread over all.
    const int bits = n > 1 ? static_cast<int>(std::ceil(std::log2(static_cast<double>(n)))) : 0;
    for (std::int64_t i = 0; i < std::int64_t{1} << bits; ++i) {
      std::int64_t reversed = 0;
      for (int b = 0; b < bits; ++b) reversed |= (i >> b & 1) << (bits - 1 - b);
      if (reversed < n) elements.push_back(reversed);
    }
  } else if (sampled > 0) {
    // The largest elements, where an error shows first; the last one; those beyond a vector.
    const std::vector<double> g = x.gradient.to_vector<double>();
    std::vector<std::int64_t> order(g.size());
    std::iota(order.begin(), order.end(), 0);
    const auto larger = [&](std::int64_t a, std::int64_t b) {
      return std::abs(g[static_cast<std::size_t>(a)]) > std::abs(g[static_cast<std::size_t>(b)]);
    };
    const std::int64_t most = std::min(kLargest, n);
    std::partial_sort(order.begin(), order.begin() + most, order.end(), larger);
    elements.assign(order.begin(), order.begin() + most);
    elements.push_back(n - 1);
    for (std::int64_t i : kBeyondVectors) elements.push_back(std::min(i, n - 1));
    for (std::int64_t i : random_integers({sampled}, 0, n, key(x, 0)).to_vector<std::int64_t>()) {
      elements.push_back(i);
    }
    elements.resize(static_cast<std::size_t>(std::min(sampled, std::ssize(elements))));
    std::vector<std::int64_t> unique;
    for (std::int64_t i : elements) {
      if (std::ranges::count(unique, i) == 0) unique.push_back(i);
    }
    elements = std::move(unique);
  }
  std::erase_if(elements, [&](std::int64_t i) { return !x.movable(i); });
  return elements;
}

}  // namespace fovea
