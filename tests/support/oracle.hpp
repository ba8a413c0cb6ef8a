// What every pool must give, in float64 (long double for double) and in the plainest arithmetic there is. It
// shares nothing with the library: a change of the library cannot change what is right.
//
// A new pool adds one struct with features, forward, bound, backward, magnitude and parameter_gradient. Pools
// that see one plane at a time derive from PerPlane and give value, value_bound and add_gradient.
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

/// Planes or a table without their signs.
template <class Values>
Values absolute(Values x) {
  for (auto& value : x.values) value = std::abs(value);
  return x;
}

/// The error that the answer y of a smooth pool may have: 16 eps (1 + |y|). 16-bit types may be one unit off,
/// half of which is the rounding.
template <class T, class Real>
Real smooth_bound(Real y) {
  if (!std::isfinite(y)) return 0;
  if constexpr (sizeof(T) == 2) return ulp<T>(std::abs(y)) / 2;
  return 16 * widen<Real>(std::numeric_limits<T>::epsilon()) * (1 + std::abs(y));
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

  /// What the terms of backward come to where nothing cancels: units of precision are of this.
  template <class Real>
  Planes<Real> magnitude(const Planes<Real>& x, Table<Real> dy) const {
    return absolute(backward(x, absolute(std::move(dy))));
  }

  /// The gradient of the parameters, in the order of visit_parameters.
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>&, const Table<Real>&) const {
    return {};
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

/// The mean of the average and the maximum.
struct AverageMaxOracle : PerPlane<AverageMaxOracle> {
  template <class Real>
  static Real value(std::span<const Real> plane) {
    return (AverageOracle::value(plane) + MaxOracle::value(plane)) / 2;
  }
  /// Half of the average's, and the rounding of the sum.
  template <class T, class Real>
  static Real value_bound(std::span<const Real> plane) {
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    return (AverageOracle::value_bound<T>(plane) + ulp<Sum>(std::abs(value(plane)))) / 2;
  }
  template <class Real>
  static void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) {
    AverageOracle::add_gradient(plane, g / 2, dx);
    MaxOracle::add_gradient(plane, g / 2, dx);
  }
};

/// (sum |x|^p)^(1/p), relative to the largest |x| so that nothing overflows here.
struct LpOracle : PerPlane<LpOracle> {
  double p;

  explicit LpOracle(double norm) : p(norm) {}

  template <class Real>
  Real value(std::span<const Real> plane) const {
    Real largest = 0;
    for (Real x : plane) {
      if (std::isnan(x)) return x;
      largest = std::max(largest, std::abs(x));
    }
    if (largest == 0 || std::isinf(largest)) return largest;
    std::vector<Real> powers;
    for (Real x : plane) powers.push_back(std::pow(std::abs(x) / largest, Real(p)));
    return largest * std::pow(sum(std::span<const Real>(powers)), 1 / Real(p));
  }
  template <class T, class Real>
  Real value_bound(std::span<const Real> plane) const {
    return smooth_bound<T>(value(plane));
  }
  template <class Real>
  void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) const {
    const Real y = value(plane);
    for (std::size_t s = 0; s < plane.size(); ++s) {
      if (plane[s] == 0) continue;
      dx[s] += g * (plane[s] < 0 ? -1 : 1) * std::pow(std::abs(plane[s]) / y, Real(p) - 1);
    }
  }
};

/// (mean max(x, eps)^p)^(1/p); p of one element is shared by all channels.
struct GeneralizedMeanOracle {
  std::vector<double> p;
  double eps = static_cast<double>(1e-6f);

  static Index features(Index channels) { return channels; }

  template <class Real>
  Real clamped(Real x) const {
    return x < Real(eps) ? Real(eps) : x;
  }
  /// c^p / largest^p of every element; the largest is the last.
  template <class Real>
  std::vector<Real> powers(std::span<const Real> plane, Real exponent) const {
    Real largest = Real(eps);
    for (Real x : plane) {
      if (std::isnan(x)) return {x};
      largest = std::max(largest, x);
    }
    std::vector<Real> out;
    for (Real x : plane) out.push_back(std::pow(clamped(x) / largest, exponent));
    out.push_back(largest);
    return out;
  }
  template <class Real>
  Real value(std::span<const Real> plane, Real exponent) const {
    std::vector<Real> all = powers(plane, exponent);
    const Real largest = all.back();
    if (!std::isfinite(largest)) return largest;
    all.pop_back();
    return largest * std::pow(sum(std::span<const Real>(all)) / static_cast<Real>(all.size()), 1 / exponent);
  }
  double exponent(Index c) const { return p[p.size() == 1 ? 0 : static_cast<std::size_t>(c)]; }

  template <class Real>
  Table<Real> forward(const Planes<Real>& x) const {
    Table<Real> y(x.extents.n, x.extents.c);
    for (Index n = 0; n < y.n; ++n)
      for (Index c = 0; c < y.features; ++c) y(n, c) = value(x.plane(n, c), Real(exponent(c)));
    return y;
  }
  /// A root multiplies the relative error of the mean by 1/p, which a double cannot hide.
  template <class T, class Real>
  Table<Real> bound(const Planes<Real>& x) const {
    Table<Real> y = forward(x);
    for (Index n = 0; n < y.n; ++n)
      for (Index c = 0; c < y.features; ++c) {
        const Real condition = std::is_same_v<T, double> ? std::max(Real(1), 1 / Real(exponent(c))) : Real(1);
        y(n, c) = condition * smooth_bound<T>(y(n, c));
      }
    return y;
  }
  template <class Real>
  Planes<Real> backward(const Planes<Real>& x, const Table<Real>& dy) const {
    Planes<Real> dx(x.extents);
    for (Index n = 0; n < x.extents.n; ++n)
      for (Index c = 0; c < x.extents.c; ++c) {
        const auto plane = x.plane(n, c);
        const Real y = value(plane, Real(exponent(c)));
        for (std::size_t s = 0; s < plane.size(); ++s)
          if (!(plane[s] < Real(eps)))
            dx.plane(n, c)[s] =
                dy(n, c) / static_cast<Real>(plane.size()) * std::pow(plane[s] / y, Real(exponent(c)) - 1);
      }
    return dx;
  }
  template <class Real>
  Planes<Real> magnitude(const Planes<Real>& x, Table<Real> dy) const {
    return absolute(backward(x, absolute(std::move(dy))));
  }
  /// dp = sum g y / p (sum c^p ln c / sum c^p - ln y)
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>& x, const Table<Real>& dy) const {
    std::vector<Real> dp(p.size());
    for (Index n = 0; n < x.extents.n; ++n)
      for (Index c = 0; c < x.extents.c; ++c) {
        const auto plane = x.plane(n, c);
        const Real y = value(plane, Real(exponent(c)));
        const std::vector<Real> weights = powers(plane, Real(exponent(c)));
        Real total = 0, logs = 0;
        for (std::size_t s = 0; s < plane.size(); ++s) {
          total += weights[s];
          if (weights[s] > 0) logs += weights[s] * std::log(clamped(plane[s]) / y);
        }
        dp[p.size() == 1 ? 0 : static_cast<std::size_t>(c)] += dy(n, c) * y / Real(exponent(c)) * logs / total;
      }
    return dp;
  }
};

/// (1/r) ln mean exp(r x), and the share of each position in it.
struct LogSumExpOracle : PerPlane<LogSumExpOracle> {
  double r;

  explicit LogSumExpOracle(double sharpness) : r(sharpness) {}

  /// y - largest. Where all are near the largest, less 1, so that tiny numbers keep their digits.
  template <class Real>
  Real offset(std::span<const Real> plane, Real largest) const {
    std::vector<Real> terms, less_one;
    for (Real x : plane) {
      terms.push_back(std::exp(Real(r) * (x - largest)));
      less_one.push_back(std::expm1(Real(r) * (x - largest)));
    }
    const auto mean = [](const auto& of) {
      return sum(std::span<const Real>(of)) / static_cast<Real>(of.size());
    };
    return (mean(less_one) > -0.25 ? std::log1p(mean(less_one)) : std::log(mean(terms))) / Real(r);
  }
  template <class Real>
  Real value(std::span<const Real> plane) const {
    const Real largest = MaxOracle::value(plane);
    return std::isfinite(largest) ? largest + offset(plane, largest) : largest;
  }
  /// The logarithm of a mean near 1 is no better than eps, and r divides it.
  template <class T, class Real>
  Real value_bound(std::span<const Real> plane) const {
    const Real bound = smooth_bound<T>(value(plane));
    return std::is_same_v<T, double> ? bound * std::max(Real(1), 1 / Real(r)) : bound;
  }
  template <class Real>
  void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) const {
    const Real largest = MaxOracle::value(plane);
    const Real y = offset(plane, largest);
    for (std::size_t s = 0; s < plane.size(); ++s)
      dx[s] += g * std::exp(Real(r) * ((plane[s] - largest) - y)) / static_cast<Real>(plane.size());
  }
  /// dr = sum dy / r (sum w x - y)
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>& x, const Table<Real>& dy) const {
    Real dr = 0;
    for (Index n = 0; n < x.extents.n; ++n)
      for (Index c = 0; c < x.extents.c; ++c) {
        const auto plane = x.plane(n, c);
        const Real largest = MaxOracle::value(plane);
        const Real y = offset(plane, largest);
        Real mean = 0;
        for (Real value : plane) {
          const Real w = std::exp(Real(r) * ((value - largest) - y)) / static_cast<Real>(plane.size());
          if (w > 0) mean += w * (value - largest);
        }
        dr += dy(n, c) / Real(r) * (mean - y);
      }
    return {dr};
  }
};

/// sum w x, w = softmax(x).
struct SoftOracle : PerPlane<SoftOracle> {
  template <class Real>
  static Real value(std::span<const Real> plane) {
    const Real largest = MaxOracle::value(plane);
    if (std::isnan(largest)) return largest;
    return largest + offset(plane, largest).first;
  }
  template <class T, class Real>
  static Real value_bound(std::span<const Real> plane) {
    return smooth_bound<T>(value(plane));
  }
  template <class Real>
  static void add_gradient(std::span<const Real> plane, Real g, std::span<Real> dx) {
    const Real largest = MaxOracle::value(plane);
    const auto [y, total] = offset(plane, largest);
    for (std::size_t s = 0; s < plane.size(); ++s) {
      const Real w = std::exp(plane[s] - largest) / total;
      if (w > 0) dx[s] += g * w * (1 + (plane[s] - largest) - y);
    }
  }

 private:
  /// y - largest, and the sum of the weights.
  template <class Real>
  static std::pair<Real, Real> offset(std::span<const Real> plane, Real largest) {
    std::vector<Real> weights, terms;
    for (Real x : plane) {
      const Real w = std::exp(x - largest);
      weights.push_back(w);
      terms.push_back(w > 0 ? w * (x - largest) : 0);
    }
    const Real total = sum(std::span<const Real>(weights));
    return {sum(std::span<const Real>(terms)) / total, total};
  }
};

/// Grids of adaptive bins, one after another: of a pyramid {l, l} per level, of an adaptive pool one alone.
struct GridOracle {
  std::vector<std::pair<Index, Index>> grids;
  bool max;

  Index features(Index channels) const {
    Index bins = 0;
    for (const auto& [rows, columns] : grids) bins += rows * columns;
    return channels * bins;
  }

  /// f(feature, positions of its bin in (h, w) order) for the plane of channel c.
  template <class Function>
  void each_bin(const Extents& e, Index c, Function f) const {
    Index first = 0;
    for (const auto& [rows, columns] : grids) {
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) {
          std::vector<Index> positions;
          for (Index h = i * e.h / rows; h < ((i + 1) * e.h + rows - 1) / rows; ++h)
            for (Index w = j * e.w / columns; w < ((j + 1) * e.w + columns - 1) / columns; ++w)
              positions.push_back(h * e.w + w);
          f(first + c * rows * columns + i * columns + j, positions);
        }
      first += e.c * rows * columns;
    }
  }
  /// f(n, feature, positions, elements) for every bin of x.
  template <class Real, class Function>
  void each_feature(const Planes<Real>& x, Function f) const {
    for (Index n = 0; n < x.extents.n; ++n)
      for (Index c = 0; c < x.extents.c; ++c)
        each_bin(x.extents, c, [&](Index feature, const std::vector<Index>& positions) {
          std::vector<Real> bin;
          for (Index s : positions) bin.push_back(x.plane(n, c)[static_cast<std::size_t>(s)]);
          f(n, c, feature, positions, std::span<const Real>(bin));
        });
  }

  template <class Real>
  Table<Real> forward(const Planes<Real>& x) const {
    Table<Real> y(x.extents.n, features(x.extents.c));
    each_feature(x, [&](Index n, Index, Index feature, const auto&, std::span<const Real> bin) {
      y(n, feature) = max ? MaxOracle::value(bin) : AverageOracle::value(bin);
    });
    return y;
  }
  template <class T, class Real>
  Table<Real> bound(const Planes<Real>& x) const {
    Table<Real> y(x.extents.n, features(x.extents.c));
    if (!max)
      each_feature(x, [&](Index n, Index, Index feature, const auto&, std::span<const Real> bin) {
        y(n, feature) = AverageOracle::value_bound<T>(bin);
      });
    return y;
  }
  template <class Real>
  Planes<Real> backward(const Planes<Real>& x, const Table<Real>& dy) const {
    Planes<Real> dx(x.extents);
    each_feature(x, [&](Index n, Index c, Index feature, const auto& positions, std::span<const Real> bin) {
      const auto to = dx.plane(n, c);
      if (max) {
        const Index at = positions[static_cast<std::size_t>(argmax(bin))];
        to[static_cast<std::size_t>(at)] += dy(n, feature);
        return;
      }
      for (Index s : positions)
        to[static_cast<std::size_t>(s)] += dy(n, feature) / static_cast<Real>(positions.size());
    });
    return dx;
  }
  template <class Real>
  Planes<Real> magnitude(const Planes<Real>& x, Table<Real> dy) const {
    return backward(x, absolute(std::move(dy)));
  }
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>&, const Table<Real>&) const {
    return {};
  }
  /// The plane's position of every feature's maximum, (N, features).
  template <class Real>
  std::vector<Index> argmaxes(const Planes<Real>& x) const {
    std::vector<Index> out(static_cast<std::size_t>(x.extents.n * features(x.extents.c)));
    each_feature(x, [&](Index n, Index, Index feature, const auto& positions, std::span<const Real> bin) {
      out[static_cast<std::size_t>(n * features(x.extents.c) + feature)] =
          positions[static_cast<std::size_t>(argmax(bin))];
    });
    return out;
  }
};

inline GridOracle pyramid_oracle(const std::vector<Index>& levels, bool max) {
  GridOracle oracle{{}, max};
  for (Index level : levels) oracle.grids.emplace_back(level, level);
  return oracle;
}

/// Positions weighted by exp(l), l the score or its ln sigmoid; score = w2 . relu(W1 x + b1) + b2.
struct AttentionOracle {
  Index hidden;
  bool softmax;
  std::vector<double> hidden_weight, hidden_bias, score_weight;
  double score_bias;

  template <class Pool>
  explicit AttentionOracle(const Pool& pool)
      : hidden(pool.hidden.bias.size()), softmax(pool.kind == Pool::softmax) {
    const auto copy = [](const auto& tensor) {
      std::vector<double> out;
      for (Index i = 0; i < tensor.size(); ++i) out.push_back(widen<double>(tensor.data()[i]));
      return out;
    };
    hidden_weight = copy(pool.hidden.weight);
    hidden_bias = copy(pool.hidden.bias);
    score_weight = copy(pool.score.weight);
    score_bias = copy(pool.score.bias)[0];
  }

  static Index features(Index channels) { return channels; }

  /// What one sample gives.
  template <class Real>
  struct Sample {
    std::vector<Real> activations;  // (S, hidden)
    std::vector<Real> scores, weights;
    std::vector<Real> y;
  };

  template <class Real>
  Sample<Real> sample(const Planes<Real>& x, Index n) const {
    const auto positions = static_cast<std::size_t>(x.extents.positions());
    const auto channels = static_cast<std::size_t>(x.extents.c);
    const auto units = static_cast<std::size_t>(hidden);
    Sample<Real> out;
    std::vector<Real> logs;
    for (std::size_t s = 0; s < positions; ++s) {
      Real score = Real(score_bias);
      for (std::size_t j = 0; j < units; ++j) {
        Real value = Real(hidden_bias[j]);
        for (std::size_t c = 0; c < channels; ++c)
          value += Real(hidden_weight[j * channels + c]) * x.plane(n, static_cast<Index>(c))[s];
        if (value < 0) value = 0;
        out.activations.push_back(value);
        score += Real(score_weight[j]) * value;
      }
      out.scores.push_back(score);
      const Real log_sigmoid = score < 0 ? score - std::log1p(std::exp(score)) : -std::log1p(std::exp(-score));
      logs.push_back(softmax ? score : log_sigmoid);
    }
    const Real largest = MaxOracle::value(std::span<const Real>(logs));
    for (Real log : logs) out.weights.push_back(std::exp(log - largest));
    const Real total = sum(std::span<const Real>(out.weights));
    for (Real& weight : out.weights) weight /= total;
    for (std::size_t c = 0; c < channels; ++c) {
      std::vector<Real> terms;
      for (std::size_t s = 0; s < positions; ++s)
        terms.push_back(out.weights[s] * x.plane(n, static_cast<Index>(c))[s]);
      out.y.push_back(sum(std::span<const Real>(terms)));
    }
    return out;
  }

  template <class Real>
  Table<Real> forward(const Planes<Real>& x) const {
    Table<Real> y(x.extents.n, x.extents.c);
    for (Index n = 0; n < y.n; ++n) {
      const Sample<Real> one = sample(x, n);
      for (Index c = 0; c < y.features; ++c) y(n, c) = one.y[static_cast<std::size_t>(c)];
    }
    return y;
  }
  template <class T, class Real>
  Table<Real> bound(const Planes<Real>& x) const {
    Table<Real> y = forward(x);
    for (Real& value : y.values) value = smooth_bound<T>(value);
    return y;
  }
  template <class Real>
  Planes<Real> backward(const Planes<Real>& x, const Table<Real>& dy) const {
    return gradients(x, dy).first;
  }
  template <class Real>
  Planes<Real> magnitude(const Planes<Real>& x, const Table<Real>& dy) const {
    return absolute(backward(x, dy));
  }
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>& x, const Table<Real>& dy) const {
    return gradients(x, dy).second;
  }

 private:
  /// For x, and for hidden.weight, hidden.bias, score.weight and score.bias in one row.
  template <class Real>
  std::pair<Planes<Real>, std::vector<Real>> gradients(const Planes<Real>& x, const Table<Real>& dy) const {
    const auto channels = static_cast<std::size_t>(x.extents.c);
    const auto units = static_cast<std::size_t>(hidden);
    Planes<Real> dx(x.extents);
    std::vector<Real> dw(units * channels + 2 * units + 1);
    for (Index n = 0; n < x.extents.n; ++n) {
      const Sample<Real> one = sample(x, n);
      for (std::size_t s = 0; s < one.scores.size(); ++s) {
        Real slope = 0;
        for (std::size_t c = 0; c < channels; ++c) {
          const auto channel = static_cast<Index>(c);
          slope += dy(n, channel) * (x.plane(n, channel)[s] - one.y[c]);
          dx.plane(n, channel)[s] += one.weights[s] * dy(n, channel);
        }
        slope *= one.weights[s];
        if (!softmax) slope *= 1 / (1 + std::exp(one.scores[s]));
        for (std::size_t j = 0; j < units; ++j) {
          const Real activation = one.activations[s * units + j];
          dw[units * channels + units + j] += slope * activation;
          if (activation == 0) continue;
          const Real before = slope * Real(score_weight[j]);
          dw[units * channels + j] += before;
          for (std::size_t c = 0; c < channels; ++c) {
            dw[j * channels + c] += before * x.plane(n, static_cast<Index>(c))[s];
            dx.plane(n, static_cast<Index>(c))[s] += before * Real(hidden_weight[j * channels + c]);
          }
        }
        dw.back() += slope;
      }
    }
    return {std::move(dx), std::move(dw)};
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
    return add_up(x, dy, [&](const auto& head, const Table<Real>& part) { return head.backward(x, part); });
  }
  template <class Real>
  Planes<Real> magnitude(const Planes<Real>& x, const Table<Real>& dy) const {
    return add_up(x, dy, [&](const auto& head, const Table<Real>& part) { return head.magnitude(x, part); });
  }
  template <class Real>
  std::vector<Real> parameter_gradient(const Planes<Real>& x, const Table<Real>& dy) const {
    std::vector<Real> all;
    each(x, dy, [&](const auto& head, const Table<Real>& part) {
      const std::vector<Real> own = head.parameter_gradient(x, part);
      all.insert(all.end(), own.begin(), own.end());
    });
    return all;
  }

 private:
  /// f(head, its columns of dy).
  template <class Real, class Function>
  void each(const Planes<Real>& x, const Table<Real>& dy, Function f) const {
    Index first = 0;
    const auto one = [&](const auto& head) {
      Table<Real> part(dy.n, head.features(x.extents.c));
      for (Index i = 0; i < part.n; ++i)
        for (Index j = 0; j < part.features; ++j) part(i, j) = dy(i, first + j);
      f(head, part);
      first += part.features;
    };
    std::apply([&](const auto&... head) { (one(head), ...); }, heads);
  }

  template <class Real, class Function>
  Planes<Real> add_up(const Planes<Real>& x, const Table<Real>& dy, Function function) const {
    Planes<Real> dx(x.extents);
    each(x, dy, [&](const auto& head, const Table<Real>& part) {
      const Planes<Real> own = function(head, part);
      for (std::size_t i = 0; i < dx.values.size(); ++i) dx.values[i] += own.values[i];
    });
    return dx;
  }

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
