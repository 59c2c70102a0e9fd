// Dual numbers: a value and its derivative in one direction. Forward mode evaluates elementwise
// formulas on them.
#pragma once

#include <cmath>
#include <concepts>
#include <numbers>

namespace fovea {

template <class T>
struct Dual {
  T value;
  T tangent;

  Dual(T v = T(0), T t = T(0)) : value(v), tangent(t) {}
  /// An attribute, which is a double, as a constant.
  template <std::same_as<double> D>
  requires(!std::same_as<T, double>) explicit Dual(D v) : Dual(static_cast<T>(v)) {}

  friend Dual operator-(Dual a) { return {-a.value, -a.tangent}; }
  friend Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.tangent + b.tangent}; }
  friend Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.tangent - b.tangent}; }
  friend Dual operator*(Dual a, Dual b) {
    return {a.value * b.value, a.tangent * b.value + a.value * b.tangent};
  }
  friend Dual operator/(Dual a, Dual b) {
    const T quotient = a.value / b.value;
    return {quotient, (a.tangent - quotient * b.tangent) / b.value};
  }
  // Order is that of the values.
  friend bool operator<(Dual a, Dual b) { return a.value < b.value; }
  friend bool operator>(Dual a, Dual b) { return a.value > b.value; }
  friend bool operator<=(Dual a, Dual b) { return a.value <= b.value; }
  friend bool operator>=(Dual a, Dual b) { return a.value >= b.value; }
  friend bool operator==(Dual a, Dual b) { return a.value == b.value; }
};

// The functions that formulas use, on numbers and on dual numbers.
namespace math {

using std::cos, std::erf, std::exp, std::log, std::pow, std::sin, std::sqrt, std::tanh;

// The value of two operands that are equal, where a function takes the one or the other; the
// tangent is halfway between theirs.
template <class T>
T tie(T a, T) {
  return a;
}
template <class T>
Dual<T> tie(Dual<T> a, Dual<T> b) {
  return {a.value, T(0.5) * a.tangent + T(0.5) * b.tangent};
}

// f(u) with the derivative of f at u.
template <class T>
Dual<T> chain(T value, T derivative, Dual<T> u) {
  return {value, derivative * u.tangent};
}

template <class T>
Dual<T> exp(Dual<T> u) {
  const T y = std::exp(u.value);
  return chain(y, y, u);
}
template <class T>
Dual<T> log(Dual<T> u) {
  return chain(std::log(u.value), T(1) / u.value, u);
}
template <class T>
Dual<T> sqrt(Dual<T> u) {
  const T y = std::sqrt(u.value);
  return chain(y, T(0.5) / y, u);
}
template <class T>
Dual<T> sin(Dual<T> u) {
  return chain(std::sin(u.value), std::cos(u.value), u);
}
template <class T>
Dual<T> cos(Dual<T> u) {
  return chain(std::cos(u.value), -std::sin(u.value), u);
}
template <class T>
Dual<T> tanh(Dual<T> u) {
  const T y = std::tanh(u.value);
  return chain(y, (T(1) - y) * (T(1) + y), u);
}
template <class T>
Dual<T> erf(Dual<T> u) {
  return chain(std::erf(u.value),
               T(2) * std::numbers::inv_sqrtpi_v<T> * std::exp(-u.value * u.value), u);
}
// d(a^b) = b a^(b-1) da + a^b log(a) db. In b a base of 0 is flat where a^b is finite, and a
// negative one has no derivative; it needs none when db is 0.
template <class T>
Dual<T> pow(Dual<T> a, Dual<T> b) {
  const T y = std::pow(a.value, b.value);
  T tangent = a.tangent == T(0) || b.value == T(0)
                  ? T(0)
                  : b.value * std::pow(a.value, b.value - T(1)) * a.tangent;
  const bool flat = b.tangent == T(0) || (a.value == T(0) && b.value >= T(0));
  if (!flat) tangent += y * std::log(a.value) * b.tangent;
  return {y, tangent};
}

}  // namespace math

}  // namespace fovea
