// What every pool must give, in float64 (long double for double) and in the plainest arithmetic there is. It
// shares nothing with the library: a change of the library cannot change what is right.
//
// A new pool adds one struct with features, forward, bound and backward. Pools that see one plane at a time
// derive from PerPlane and give value, value_bound and add_gradient.
#pragma once

#include "support/data.hpp"

#include <algorithm>
#include <span>
#include <tuple>

namespace poolhead::test {

template <class T>
using Reference = std::conditional_t<std::is_same_v<T, double>, long double, double>;

/// N x C planes of S positions, in that order.
template <class Real>
struct Planes {
  Extents extents;
  std::vector<Real> values;

  explicit Planes(const Extents& e) : extents(e), values(static_cast<std::size_t>(e.size())) {}

  std::span<const Real> plane(Index n, Index c) const {
    return std::span(values).subspan(begin(n, c), static_cast<std::size_t>(extents.positions()));
  }
  std::span<Real> plane(Index n, Index c) {
    return std::span(values).subspan(begin(n, c), static_cast<std::size_t>(extents.positions()));
  }

 private:
  std::size_t begin(Index n, Index c) const {
    return static_cast<std::size_t>((n * extents.c + c) * extents.positions());
  }
};

/// (N, features).
template <class Real>
struct Table {
  Index n, features;
  std::vector<Real> values;

  Table(Index rows, Index columns)
      : n(rows), features(columns), values(static_cast<std::size_t>(rows * columns)) {}

  Real& operator()(Index i, Index j) { return values[static_cast<std::size_t>(i * features + j)]; }
  const Real& operator()(Index i, Index j) const { return values[static_cast<std::size_t>(i * features + j)]; }
};

/// A map as the oracle reads it.
template <class Type, class Real = Reference<typename Type::Scalar>>
Planes<Real> planes_of(const typename Type::Scalar* data, const Extents& e) {
  Planes<Real> planes(e);
  for (Index n = 0; n < e.n; ++n)
    for (Index c = 0; c < e.c; ++c)
      for (Index s = 0; s < e.positions(); ++s)
        planes.plane(n, c)[static_cast<std::size_t>(s)] = widen<Real>(data[Type::offset(e, n, c, s)]);
  return planes;
}
template <class Type>
auto planes_of(const Map<Type>& map) {
  return planes_of<Type>(map.values.data(), map.extents);
}

template <class T>
Table<Reference<T>> table_of(const RowTensor<T>& rows) {
  Table<Reference<T>> table(rows.dimension(0), rows.dimension(1));
  for (Index i = 0; i < table.n; ++i)
    for (Index j = 0; j < table.features; ++j) table(i, j) = widen<Reference<T>>(rows(i, j));
  return table;
}

/// Pairwise, so that a million terms lose nothing that a test could see.
template <class Real>
Real sum(std::span<const Real> values) {
  if (values.size() == 1) return values[0];
  const std::size_t half = values.size() / 2;
  return values.empty() ? Real(0) : sum(values.first(half)) + sum(values.subspan(half));
}

/// The position of the maximum: the first NaN if there is one, else the first of the largest values.
template <class Real>
Index argmax(std::span<const Real> plane) {
  std::size_t best = 0;
  for (std::size_t s = 0; s < plane.size(); ++s) {
    if (std::isnan(plane[s])) return static_cast<Index>(s);
    if (plane[s] > plane[best]) best = s;
  }
  return static_cast<Index>(best);
}

/// A pool whose feature c depends on plane c alone.
template <class Pool>
struct PerPlane {
  static Index features(Index channels) { return channels; }

  template <class Real>
  Table<Real> forward(const Planes<Real>& x) const {
    return per_plane(x, [&](auto plane) { return self().value(plane); });
  }

  /// The error that the answer may have before it is rounded to T; no more than rounding where this is 0.
  template <class T, class Real>
  Table<Real> bound(const Planes<Real>& x) const {
    return per_plane(x, [&](auto plane) { return self().template value_bound<T>(plane); });
  }

  template <class Real>
  Planes<Real> backward(const Planes<Real>& x, const Table<Real>& dy) const {
    Planes<Real> dx(x.extents);
    for (Index n = 0; n < x.extents.n; ++n)
      for (Index c = 0; c < x.extents.c; ++c) self().add_gradient(x.plane(n, c), dy(n, c), dx.plane(n, c));
    return dx;
  }

 private:
  const Pool& self() const { return static_cast<const Pool&>(*this); }

  template <class Real, class Function>
  static Table<Real> per_plane(const Planes<Real>& x, Function function) {
    Table<Real> y(x.extents.n, x.extents.c);
    for (Index n = 0; n < y.n; ++n)
      for (Index c = 0; c < y.features; ++c) y(n, c) = function(x.plane(n, c));
    return y;
  }
};

struct AverageOracle : PerPlane<AverageOracle> {
  template <class Real>
  static Real value(std::span<const Real> plane) {
    return sum(plane) / static_cast<Real>(plane.size());
  }
  /// 4 ulp of mean |x| below 1,024 positions, 1 ulp from there on, in the type that sums are kept in.
  template <class T, class Real>
  static Real value_bound(std::span<const Real> plane) {
    std::vector<Real> magnitudes(plane.size());
    std::transform(plane.begin(), plane.end(), magnitudes.begin(), [](Real v) { return std::abs(v); });
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    return static_cast<Real>(plane.size() < 1024 ? 4 : 1) * ulp<Sum>(value(std::span<const Real>(magnitudes)));
  }
  template <class Real>
  static void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) {
    for (Real& d : dx) d += g / static_cast<Real>(plane.size());
  }
};

struct MaxOracle : PerPlane<MaxOracle> {
  template <class Real>
  static Real value(std::span<const Real> plane) {
    return plane[static_cast<std::size_t>(argmax(plane))];
  }
  template <class T, class Real>
  static Real value_bound(std::span<const Real>) {
    return 0;
  }
  template <class Real>
  static void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) {
    dx[static_cast<std::size_t>(argmax(plane))] += g;
  }
};

/// Columns in the order given, gradients summed.
template <class... Heads>
struct ConcatOracle {
  std::tuple<Heads...> heads;

  explicit ConcatOracle(Heads... all) : heads(all...) {}

  Index features(Index channels) const {
    return std::apply([&](const auto&... head) { return (head.features(channels) + ...); }, heads);
  }

  template <class Real>
  Table<Real> forward(const Planes<Real>& x) const {
    return join(x, [&](const auto& head) { return head.forward(x); });
  }

  template <class T, class Real>
  Table<Real> bound(const Planes<Real>& x) const {
    return join(x, [&](const auto& head) { return head.template bound<T>(x); });
  }

  template <class Real>
  Planes<Real> backward(const Planes<Real>& x, const Table<Real>& dy) const {
    Planes<Real> dx(x.extents);
    Index first = 0;
    const auto add = [&](const auto& head) {
      Table<Real> part(dy.n, head.features(x.extents.c));
      for (Index i = 0; i < part.n; ++i)
        for (Index j = 0; j < part.features; ++j) part(i, j) = dy(i, first + j);
      const Planes<Real> dx_part = head.backward(x, part);
      for (std::size_t i = 0; i < dx.values.size(); ++i) dx.values[i] += dx_part.values[i];
      first += part.features;
    };
    std::apply([&](const auto&... head) { (add(head), ...); }, heads);
    return dx;
  }

 private:
  template <class Real, class Function>
  Table<Real> join(const Planes<Real>& x, Function function) const {
    Table<Real> y(x.extents.n, features(x.extents.c));
    Index first = 0;
    const auto put = [&](const Table<Real>& part) {
      for (Index i = 0; i < part.n; ++i)
        for (Index j = 0; j < part.features; ++j) y(i, first + j) = part(i, j);
      first += part.features;
    };
    std::apply([&](const auto&... head) { (put(function(head)), ...); }, heads);
    return y;
  }
};

}  // namespace poolhead::test
