// What every pool can do with one scalar, found out by doing it: each cell compares a pool with the float64
// oracle. Compiled once for each scalar, POOLHEAD_SCALAR.
#include <poolhead/poolhead.hpp>

#include <cstdio>

#include "coverage/table.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr Extents extents{2, 37, 7, 9};
Coverage coverage;

void report(const std::string& pool, const std::string& what, const std::string& found) {
  if (found.empty()) return;
  coverage.right = false;
  std::fprintf(stderr, "%s, %s: %s\n", pool.c_str(), what.c_str(), found.c_str());
}

/// Sample n of x, of which the positions s with keep(s) are left.
template <class Type, class Keep>
Map<Type> kept(const Map<Type>& x, Index n, Keep keep) {
  std::vector<Index> positions;
  for (Index s = 0; s < x.extents.positions(); ++s)
    if (keep(s)) positions.push_back(s);
  return Map<Type>({1, x.extents.c, 1, static_cast<Index>(positions.size())}, [&](Index, Index c, Index s) {
    return widen<double>(x(n, c, positions[static_cast<std::size_t>(s)]));
  });
}

/// The answers, gradients and parameters' gradients of a map.
template <class Type, class Pool, class Oracle>
std::string run_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x) {
  using T = typename Type::Scalar;
  const RowTensor<T> dy = noise_rows<T>(pool, extents);
  const PoolRun run(pool, x, dy);
  const auto planes = planes_of(x);
  const auto g = table_of(dy);
  if (std::string found = answer_difference(run.y, oracle, planes); !found.empty()) return found;
  if (std::string found =
          gradient_difference<T>(planes_of(run.dx), oracle.backward(planes, g), oracle.magnitude(planes, g));
      !found.empty())
    return found;
  return parameter_difference(run.parameters(), oracle.parameter_gradient(planes, g), g, extents);
}

/// The answers and gradients of a masked map are those of its valid positions alone, and garbage does not
/// matter.
template <class Type, class Pool, class Oracle>
std::string masked_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& clean) {
  using T = typename Type::Scalar;
  const auto valid = [](Index n, Index s) { return (s * 7 + n * 3) % 5 < 3; };
  Map<Type> x = clean;
  RowTensor<bool> mask(extents.n, extents.positions());
  for (Index n = 0; n < extents.n; ++n)
    for (Index s = 0; s < extents.positions(); ++s) {
      mask(n, s) = valid(n, s);
      for (Index c = 0; c < extents.c && !valid(n, s); ++c) x(n, c, s) = std::numeric_limits<T>::quiet_NaN();
    }
  const RowTensor<T> dy = noise_rows<T>(pool, extents);
  const PoolRun<Type, Pool> run(pool, ph::masked(x.view(), mask), extents, dy);
  for (Index n = 0; n < extents.n; ++n) {
    const auto part = kept(clean, n, [&](Index s) { return valid(n, s); });
    const auto planes = planes_of(part);
    const Index features = pool.features(extents.c);
    RowTensor<T> y(1, features), g(1, features);
    for (Index i = 0; i < features; ++i) {
      y(0, i) = run.y(n, i);
      g(0, i) = dy(n, i);
    }
    if (std::string found = answer_difference(y, oracle, planes); !found.empty()) return found;
    Map<Type> dx(part.extents);
    Index next = 0;
    for (Index s = 0; s < extents.positions(); ++s) {
      for (Index c = 0; c < extents.c; ++c) {
        if (valid(n, s))
          dx(0, c, next) = run.dx(n, c, s);
        else if (widen<double>(run.dx(n, c, s)) != 0)
          return "a masked position has a gradient";
      }
      next += valid(n, s);
    }
    const auto table = table_of(g);
    if (std::string found = gradient_difference<T>(planes_of(dx), oracle.backward(planes, table),
                                                   oracle.magnitude(planes, table));
        !found.empty())
      return found;
  }
  return {};
}

/// A map that comes in three tiles, the last by way of another stream.
template <class Type, class Pool, class Oracle>
std::string streamed_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x) {
  using T = typename Type::Scalar;
  const auto tile = [&](Index begin, Index end) {
    return Map<Type>({extents.n, extents.c, 1, end - begin},
                     [&](Index n, Index c, Index s) { return widen<double>(x(n, c, begin + s)); });
  };
  const auto first = tile(0, 5), second = tile(5, 40), third = tile(40, extents.positions());
  auto stream = pool.template start<T>(extents.n, extents.c);
  auto elsewhere = pool.template start<T>(extents.n, extents.c);
  stream.add(first.view());
  stream.add(second.view());
  elsewhere.add(third.view());
  stream.merge(elsewhere.partial());
  RowTensor<T> y(extents.n, extents.c);
  stream.finish(y);
  return answer_difference(y, oracle, planes_of(x));
}

/// One cell: F forward, B backward with all parameters, M masked, S streamed.
template <class Type, class Make>
std::string cell(const std::string& name, const std::string& column, const Make& make) {
  using T = typename Type::Scalar;
  const auto [pool, oracle] = make(T());
  const Map<Type> x(extents, noise(90));
  std::string letters = "F B";
  report(name, column + ", forward and backward", run_difference(pool, oracle, x));
  constexpr bool one_feature_a_channel = requires { pool.template start<T>(Index{1}, Index{1}); };
  if constexpr (std::remove_cvref_t<decltype(pool)>::takes_mask) {
    report(name, column + ", masked", masked_difference(pool, oracle, x));
    letters += " M";
  }
  if constexpr (one_feature_a_channel) {
    report(name, column + ", streamed", streamed_difference(pool, oracle, x));
    letters += " S";
  }
  return letters;
}

template <class Make>
void row(const std::string& name, const Make& make) {
  coverage.rows.push_back(
      {name, cell<Nchw<POOLHEAD_SCALAR>>(name, "NCHW", make), cell<Nhwc<POOLHEAD_SCALAR>>(name, "NHWC", make)});
}

template <class T>
auto gem() {
  return ph::GeneralizedMeanPool<T>(narrow<T>(2.5));
}
template <class T>
auto gem_oracle() {
  return GeneralizedMeanOracle{{2.5}, widen<double>(gem<T>().eps)};
}
template <class T>
auto attention(bool softmax) {
  using Pool = ph::AttentionPool<T>;
  return Pool(extents.c, 5, softmax ? Pool::softmax : Pool::sigmoid, 3);
}

}  // namespace

Coverage POOLHEAD_TABLE() {
  const auto fixed = [](const auto& pool, const auto& oracle) {
    return [=](auto) { return std::pair(pool, oracle); };
  };
  row("GlobalAveragePool", fixed(ph::GlobalAveragePool{}, AverageOracle{}));
  row("GlobalMaxPool", fixed(ph::GlobalMaxPool{}, MaxOracle{}));
  row("AverageMaxPool", fixed(ph::AverageMaxPool{}, AverageMaxOracle{}));
  row("GlobalLpPool", fixed(ph::GlobalLpPool(2.5), LpOracle(2.5)));
  row("GeneralizedMeanPool", []<class T>(T) { return std::pair(gem<T>(), gem_oracle<T>()); });
  row("LogSumExpPool",
      []<class T>(T) { return std::pair(ph::LogSumExpPool<T>(narrow<T>(2.0)), LogSumExpOracle(2.0)); });
  row("SoftPool", fixed(ph::SoftPool{}, SoftOracle{}));
  using Pyramid = ph::SpatialPyramidPool;
  row("SpatialPyramidPool average", fixed(Pyramid({1, 2, 4}), GridOracle{{{1, 1}, {2, 2}, {4, 4}}, false}));
  row("SpatialPyramidPool max",
      fixed(Pyramid({1, 2, 4}, Pyramid::max), GridOracle{{{1, 1}, {2, 2}, {4, 4}}, true}));
  row("AdaptiveAveragePool", fixed(ph::AdaptiveAveragePool(3, 5), GridOracle{{{3, 5}}, false}));
  row("AdaptiveMaxPool", fixed(ph::AdaptiveMaxPool(3, 5), GridOracle{{{3, 5}}, true}));
  for (const bool softmax : {true, false})
    row(softmax ? "AttentionPool softmax" : "AttentionPool sigmoid", [=]<class T>(T) {
      const auto pool = attention<T>(softmax);
      return std::pair(pool, AttentionOracle(pool));
    });
  row("concat", []<class T>(T) {
    return std::pair(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, gem<T>()),
                     ConcatOracle(AverageOracle{}, MaxOracle{}, gem_oracle<T>()));
  });
  return coverage;
}
