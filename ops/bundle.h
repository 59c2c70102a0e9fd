// Bundles: the named inputs or outputs of an op, whatever they carry.
//
// A bundle is an aggregate over what it carries: a TensorSpec (shape rule), a Tensor (forward), an
// Expr (user, gradient rule, decomposition), an Arg (samples). The type of a member is its arity,
// written once: `T` is required, `std::optional<T>` may be left out, `std::vector<T>` takes any
// number and stands last. Beside `names`, in the same order, `docs` may say what each one is: its
// shape, its dtype where that is not the op's, what it means.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace fovea {

// The bundles that many ops share.
template <class T>
struct None {
  static constexpr std::array<std::string_view, 0> names{};
};

template <class T>
struct X {
  T x;
  static constexpr std::array<std::string_view, 1> names{"x"};
};

template <class T>
struct AB {
  T a, b;
  static constexpr std::array<std::string_view, 2> names{"a", "b"};
};

template <class T>
struct Xs {
  std::vector<T> xs;
  static constexpr std::array<std::string_view, 1> names{"xs"};
};

template <class T>
struct Y {
  T y;
  static constexpr std::array<std::string_view, 1> names{"y"};
};

template <class T>
struct Ys {
  std::vector<T> ys;
  static constexpr std::array<std::string_view, 1> names{"ys"};
};

enum class Arity { required, optional, variadic };

namespace detail {

template <class M>
inline constexpr Arity arity_of = Arity::required;
template <class M>
inline constexpr Arity arity_of<std::optional<M>> = Arity::optional;
template <class M>
inline constexpr Arity arity_of<std::vector<M>> = Arity::variadic;

// References to the members of a bundle, in order.
template <class Bundle>
constexpr auto members(Bundle& b) {
  constexpr std::size_t n = std::remove_const_t<Bundle>::names.size();
  static_assert(n <= 12, "a bundle has at most 12 members");
  if constexpr (n == 0) {
    return std::tuple<>();
  } else if constexpr (n == 1) {
    auto& [m0] = b;
    return std::tie(m0);
  } else if constexpr (n == 2) {
    auto& [m0, m1] = b;
    return std::tie(m0, m1);
  } else if constexpr (n == 3) {
    auto& [m0, m1, m2] = b;
    return std::tie(m0, m1, m2);
  } else if constexpr (n == 4) {
    auto& [m0, m1, m2, m3] = b;
    return std::tie(m0, m1, m2, m3);
  } else if constexpr (n == 5) {
    auto& [m0, m1, m2, m3, m4] = b;
    return std::tie(m0, m1, m2, m3, m4);
  } else if constexpr (n == 6) {
    auto& [m0, m1, m2, m3, m4, m5] = b;
    return std::tie(m0, m1, m2, m3, m4, m5);
  } else if constexpr (n == 7) {
    auto& [m0, m1, m2, m3, m4, m5, m6] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6);
  } else if constexpr (n == 8) {
    auto& [m0, m1, m2, m3, m4, m5, m6, m7] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6, m7);
  } else if constexpr (n == 9) {
    auto& [m0, m1, m2, m3, m4, m5, m6, m7, m8] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6, m7, m8);
  } else if constexpr (n == 10) {
    auto& [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9);
  } else if constexpr (n == 11) {
    auto& [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10);
  } else {
    auto& [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = b;
    return std::tie(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11);
  }
}

// Calls f(member) for each member, in order.
template <class Bundle, class F>
constexpr void for_each_member(Bundle& b, F&& f) {
  std::apply([&](auto&... member) { (f(member), ...); }, members(b));
}

}  // namespace detail

/// The members as one list: a required or optional member is one entry (`T{}` when left out), a
/// variadic one its elements.
template <template <class> class Bundle, class T>
std::vector<T> flatten(const Bundle<T>& bundle) {
  std::vector<T> flat;
  detail::for_each_member(bundle, [&]<class M>(const M& member) {
    constexpr Arity arity = detail::arity_of<M>;
    if constexpr (arity == Arity::required) {
      flat.push_back(member);
    } else if constexpr (arity == Arity::optional) {
      flat.push_back(member ? *member : T{});
    } else {
      flat.insert(flat.end(), member.begin(), member.end());
    }
  });
  return flat;
}

/// The inverse of `flatten`; an entry that converts to false leaves its optional member empty.
template <template <class> class Bundle, class Flat>
auto unflatten(const Flat& flat) {
  using T = std::remove_cvref_t<decltype(flat[0])>;
  Bundle<T> bundle{};
  std::size_t next = 0;
  detail::for_each_member(bundle, [&]<class M>(M& member) {
    constexpr Arity arity = detail::arity_of<M>;
    if constexpr (arity == Arity::required) {
      member = flat[next++];
    } else if constexpr (arity == Arity::optional) {
      if (const T& entry = flat[next++]; static_cast<bool>(entry)) member = entry;
    } else {
      for (; next < flat.size(); ++next) member.push_back(flat[next]);
    }
  });
  return bundle;
}

}  // namespace fovea
