// Deterministic test data, filled in either layout from logical (n, c, s) values, and units of precision.
#pragma once

#include "support/layout.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace poolhead::test {

/// A scalar as the wider type that tests compute in, and back (16-bit types by way of float).
template <class Real, class T>
Real widen(T value) {
  if constexpr (sizeof(T) == 2)
    return static_cast<Real>(static_cast<float>(value));
  else
    return static_cast<Real>(value);
}
template <class T, class Real>
T narrow(Real value) {
  if constexpr (sizeof(T) == 2)
    return T(static_cast<float>(value));
  else
    return static_cast<T>(value);
}

template <class T>
inline constexpr int smallest_exponent = std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits;

/// The distance between neighbouring numbers of type T at this magnitude; the smallest T where that is 0 or no
/// finite number.
template <class T, class Real>
Real ulp(Real magnitude) {
  constexpr int digits = std::numeric_limits<T>::digits;
  if (!(magnitude > 0) || std::isinf(magnitude)) return std::ldexp(Real(1), smallest_exponent<T>);
  return std::ldexp(Real(1), std::max(std::ilogb(magnitude) + 1 - digits, smallest_exponent<T>));
}

/// splitmix64: the same number for the same arguments on every machine.
constexpr std::uint64_t hash(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed * 0xd1342543de82ef95u + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
inline std::uint64_t hash(std::uint64_t seed, Index n, Index c, Index s) {
  return hash(hash(hash(seed, static_cast<std::uint64_t>(n)), static_cast<std::uint64_t>(c)),
              static_cast<std::uint64_t>(s));
}

// Generators: what a map holds at (n, c, s).

/// offset + scale * U[-1, 1).
inline auto noise(std::uint64_t seed, double offset = 0, double scale = 1) {
  return [=](Index n, Index c, Index s) {
    return offset + scale * (std::ldexp(static_cast<double>(hash(seed, n, c, s) >> 11), -52) - 1);
  };
}

/// Whole numbers from 0 to levels - 1: full of ties.
inline auto ties(std::uint64_t seed, int levels) {
  return [=](Index n, Index c, Index s) {
    return static_cast<double>(hash(seed, n, c, s) % static_cast<std::uint64_t>(levels));
  };
}

/// +0 and -0, which tie.
inline auto signed_zeros(std::uint64_t seed) {
  return [=](Index n, Index c, Index s) { return hash(seed, n, c, s) % 2 == 0 ? 0.0 : -0.0; };
}

inline auto constant(double value) {
  return [=](Index, Index, Index) { return value; };
}

/// generator with NaN at the positions s for which is_nan(c, s) holds.
template <class Generator, class Predicate>
auto with_nan(Generator generator, Predicate is_nan) {
  return [=](Index n, Index c, Index s) {
    return is_nan(c, s) ? std::numeric_limits<double>::quiet_NaN() : generator(n, c, s);
  };
}

/// Numbers of both signs below the smallest normal T.
template <class T>
auto denormals(std::uint64_t seed) {
  return noise(seed, 0, std::ldexp(1.0, std::numeric_limits<T>::min_exponent - 1));
}

/// Writes generator(n, c, s) to the elements at data, in the layout of Type.
template <class Type, class Generator>
void fill(typename Type::Scalar* data, const Extents& e, Generator generator) {
  for (Index n = 0; n < e.n; ++n)
    for (Index c = 0; c < e.c; ++c)
      for (Index s = 0; s < e.positions(); ++s)
        data[Type::offset(e, n, c, s)] = narrow<typename Type::Scalar>(generator(n, c, s));
}

/// A feature map that owns its elements.
template <class Type>
struct Map {
  using Scalar = typename Type::Scalar;

  Extents extents;
  std::vector<Scalar> values;

  /// Full of NaN, so that what nobody writes is seen.
  explicit Map(const Extents& e)
      : extents(e), values(static_cast<std::size_t>(e.size()), std::numeric_limits<Scalar>::quiet_NaN()) {}
  template <class Generator>
  Map(const Extents& e, Generator generator) : Map(e) {
    fill<Type>(values.data(), e, generator);
  }

  auto view() { return Type::view(values.data(), extents); }
  auto view() const { return Type::view(values.data(), extents); }
  Scalar& operator()(Index n, Index c, Index s) { return values.data()[Type::offset(extents, n, c, s)]; }
  const Scalar& operator()(Index n, Index c, Index s) const {
    return values.data()[Type::offset(extents, n, c, s)];
  }
};

/// The rows that pools write to and read from in most tests.
template <class T>
using RowTensor = Eigen::Tensor<T, 2, Eigen::RowMajor>;

/// Rows of generator(n, 0, feature).
template <class T, class Generator>
RowTensor<T> make_rows(Index n, Index features, Generator generator) {
  RowTensor<T> rows(n, features);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < features; ++j) rows(i, j) = narrow<T>(generator(i, Index(0), j));
  return rows;
}

}  // namespace poolhead::test
