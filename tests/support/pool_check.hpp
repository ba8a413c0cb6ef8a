// One comparison of a pool with its oracle: answers, gradients and the parameters' gradients, to within the
// bounds that the pools promise.
#pragma once

#include <poolhead/core/parameters.hpp>
#include <poolhead/pool/pool.hpp>

#include <cstring>
#include <iomanip>
#include <sstream>
#include <string>

#include "support/oracle.hpp"

namespace poolhead::test {

template <class Values>
bool same_bits(const Values& a, const Values& b) {
  if (a.size() != b.size()) return false;
  return a.size() == 0 || std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()),
                                      static_cast<std::size_t>(a.size()) * sizeof(*a.data())) == 0;
}

/// The same bits, but one NaN is as good as another: its sign and payload are nobody's promise.
template <class Values>
bool same_values(const Values& a, const Values& b) {
  if (a.size() != b.size()) return false;
  for (Index i = 0; i < static_cast<Index>(a.size()); ++i) {
    const bool both_nan = std::isnan(widen<double>(a.data()[i])) && std::isnan(widen<double>(b.data()[i]));
    if (!both_nan && std::memcmp(static_cast<const void*>(a.data() + i), static_cast<const void*>(b.data() + i),
                                 sizeof(*a.data())) != 0)
      return false;
  }
  return true;
}

/// Whether y is the reference to within the bound and, for 16-bit types, one rounding. NaN must be NaN.
template <class T, class Real>
bool is_within(T y, Real reference, Real bound) {
  const Real value = widen<Real>(y);
  if (std::isnan(reference)) return std::isnan(value);
  if constexpr (sizeof(T) == 2)
    return widen<Real>(narrow<T>(reference - bound)) <= value &&
           value <= widen<Real>(narrow<T>(reference + bound));
  else
    return value == reference || std::abs(value - reference) <= bound;
}

/// The error that a gradient at x may have: 64 eps (1 + |dx|), in 16 bits four units; where all terms are 0,
/// none.
template <class T, class Real>
Real gradient_bound(Real magnitude) {
  constexpr Real eps = std::numeric_limits<double>::epsilon();
  if (magnitude == 0) return 0;
  if constexpr (sizeof(T) == 2) return std::max(4 * ulp<T>(magnitude), 64 * eps * (1 + magnitude));
  return 64 * widen<Real>(std::numeric_limits<T>::epsilon()) * (1 + magnitude);
}

/// The error that the gradient of a parameter may have: 256 eps max(1, max |dy|), in 16 bits four units. scale:
/// what stands for 1 where the elements of x are of another order.
template <class T, class Real>
Real parameter_bound(Real reference, const Table<Real>& dy, double scale) {
  Real largest = Real(scale);
  for (Real g : dy.values) largest = std::max(largest, std::abs(g));
  if constexpr (sizeof(T) == 2)
    return std::max(4 * ulp<T>(std::abs(reference)),
                    256 * Real(std::numeric_limits<double>::epsilon()) * largest);
  return 256 * widen<Real>(std::numeric_limits<T>::epsilon()) * largest;
}

template <class T, class Real>
std::string sentence(const std::string& what, Real value, Real reference, Real bound, const Extents& e) {
  std::ostringstream out;
  out << std::setprecision(20) << what << " is " << value << ", expected " << reference << " to " << bound
      << ", x is " << e;
  return out.str();
}

/// The first value of y that is not what the oracle says, as a sentence; empty if there is none.
template <class T, class Oracle, class Real>
std::string answer_difference(const RowTensor<T>& y, const Oracle& oracle, const Planes<Real>& x) {
  const Table<Real> reference = oracle.forward(x);
  const Table<Real> bound = oracle.template bound<T>(x);
  if (y.dimension(0) != reference.n || y.dimension(1) != reference.features) return "wrong shape";
  for (Index i = 0; i < reference.n; ++i)
    for (Index j = 0; j < reference.features; ++j)
      if (!is_within(y(i, j), reference(i, j), bound(i, j)))
        return sentence<T>("y(" + std::to_string(i) + ", " + std::to_string(j) + ")", widen<Real>(y(i, j)),
                           reference(i, j), bound(i, j), x.extents);
  return {};
}

/// The first element of dx that is not the oracle's.
template <class T, class Real>
std::string gradient_difference(const Planes<Real>& dx, const Planes<Real>& reference,
                                const Planes<Real>& magnitude) {
  for (std::size_t i = 0; i < dx.values.size(); ++i) {
    const Real bound = gradient_bound<T>(magnitude.values[i]);
    if (!(std::abs(dx.values[i] - reference.values[i]) <= bound))
      return sentence<T>("dx[" + std::to_string(i) + "] in (n, c, s) order", dx.values[i], reference.values[i],
                         bound, dx.extents);
  }
  return {};
}

/// The first element of the parameters' gradient that is not the oracle's.
template <class T, class Real>
std::string parameter_difference(const std::vector<T>& gradient, const std::vector<Real>& reference,
                                 const Table<Real>& dy, const Extents& e, double scale = 1) {
  if (gradient.size() != reference.size()) return "wrong number of parameters";
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const Real bound = parameter_bound<T>(reference[i], dy, scale);
    const bool beyond =
        std::isinf(widen<Real>(narrow<T>(reference[i]))) && gradient[i] == narrow<T>(reference[i]);
    if (!beyond && !(std::abs(widen<Real>(gradient[i]) - reference[i]) <= bound))
      return sentence<T>("parameter gradient " + std::to_string(i), widen<Real>(gradient[i]), reference[i],
                         bound, e);
  }
  return {};
}

/// All elements of a value's parameters, one after another.
template <class T, class Value>
std::vector<T> parameters_of(const Value& value) {
  std::vector<T> out;
  visit_parameters(value, [&](std::string_view, auto values) {
    if constexpr (std::is_same_v<typename decltype(values)::value_type, T>)
      out.insert(out.end(), values.begin(), values.end());
  });
  return out;
}

/// What one forward and one backward leave, into memory full of NaN.
template <class Type, class Pool>
struct PoolRun {
  using T = typename Type::Scalar;

  RowTensor<T> y;
  Map<Type> dx;
  typename Pool::template Cache<T> cache;
  Pool gradient;

  /// view: of x, or of a masked x.
  template <class X, class... Device>
  PoolRun(const Pool& pool, const X& view, const Extents& e, const RowTensor<T>& dy, const Device&... device)
      : y(dy.dimensions()), dx(e), cache(pool.make_cache(view)), gradient(zeros_like(pool)) {
    y.setConstant(std::numeric_limits<T>::quiet_NaN());
    pool.forward(view, y, cache, device...);
    pool.backward(view, y, dy, dx.view(), cache, gradient, device...);
  }
  template <class... Device>
  PoolRun(const Pool& pool, const Map<Type>& x, const RowTensor<T>& dy, const Device&... device)
      : PoolRun(pool, x.view(), x.extents, dy, device...) {}

  std::vector<T> parameters() const { return parameters_of<T>(gradient); }
};
template <class Type, class Pool, class T, class... Device>
PoolRun(const Pool&, const Map<Type>&, const RowTensor<T>&, const Device&...) -> PoolRun<Type, Pool>;

/// dy for a pool over x.
template <class T, class Pool>
RowTensor<T> noise_rows(const Pool& pool, const Extents& e) {
  return make_rows<T>(e.n, pool.features(e.c), noise(20));
}

/// Everything about one pool over one map: inference and training, dx and the parameters' gradient.
template <class Pool, class Oracle, class Type>
std::string pool_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x, double scale = 1) {
  using T = typename Type::Scalar;
  const RowTensor<T> dy = noise_rows<T>(pool, x.extents);
  const PoolRun run(pool, x, dy);
  RowTensor<T> inference(dy.dimensions());
  inference.setConstant(std::numeric_limits<T>::quiet_NaN());
  pool.forward(x.view(), inference);
  if (!same_bits(inference, run.y)) return "inference and training differ";

  const auto planes = planes_of(x);
  const auto g = table_of(dy);
  if (std::string found = answer_difference(run.y, oracle, planes); !found.empty()) return found;
  if (std::string found =
          gradient_difference<T>(planes_of(run.dx), oracle.backward(planes, g), oracle.magnitude(planes, g));
      !found.empty())
    return found;
  if (std::string found =
          parameter_difference(run.parameters(), oracle.parameter_gradient(planes, g), g, x.extents, scale);
      !found.empty())
    return found;

  // The parameters' gradient alone.
  Pool gradient = zeros_like(pool);
  pool.backward(x.view(), run.y, dy, no_gradient, run.cache, gradient);
  if (!same_bits(parameters_of<T>(gradient), run.parameters()))
    return "without dx the parameters' gradient differs";
  return {};
}

/// The answer alone, where no gradient is defined.
template <class Pool, class Oracle, class Type>
std::string forward_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x) {
  using T = typename Type::Scalar;
  RowTensor<T> y(x.extents.n, pool.features(x.extents.c));
  y.setConstant(std::numeric_limits<T>::quiet_NaN());
  auto cache = pool.make_cache(x.view());
  pool.forward(x.view(), y, cache);
  if (!same_bits<RowTensor<T>>(pool(x.view()), y)) return "inference and training differ";
  return answer_difference(y, oracle, planes_of(x));
}

/// Positions around every vector width and its multiples.
inline std::vector<Index> sweep_positions() {
  std::vector<Index> all;
  for (Index size = 1; size <= 40; ++size) all.push_back(size);
  for (Index size : {49, 64, 65, 127, 128, 129, 133, 158, 196}) all.push_back(size);
  return all;
}

/// check(extents) for sizes around the vector widths: every number of positions, and every tail of channels.
template <class Check>
void sweep(Check check) {
  for (Index s : sweep_positions())
    for (Index c : {1, 3, 8, 9}) check(Extents{1, c, 1, s});
  for (Index c : {2, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 64, 70, 129})
    for (Index s : {1, 6, 17}) check(Extents{1, c, 1, s});
  for (Index n : {2, 3, 8}) check(Extents{n, 19, 7, 5});
  // Few channels at many positions.
  for (Index c : {1, 2, 3, 5, 20, 24}) check(Extents{1, c, 1, 403});
  check(Extents{2, 2, 1, 2051});
}

/// Whether the last sample of maps that no near cache holds has the bits that it has alone.
template <class Type, class Pool>
std::string far_difference(const Pool& pool) {
  using T = typename Type::Scalar;
  for (const Extents& e : {Extents{13, 64, 56, 56}, Extents{13, 256, 28, 28}, Extents{48, 1024, 7, 7},
                           Extents{40, 3, 150, 150}, Extents{17, 16, 200, 200}}) {
    // Elements of 16 bits are read otherwise from twice as many bytes on.
    const Index samples = e.n * static_cast<Index>(sizeof(float) / sizeof(T)) * (sizeof(T) == 2 ? 2 : 1);
    const Map<Type> far({samples, e.c, e.h, e.w}, [&](Index n, Index c, Index s) {
      return n + 1 == samples ? noise(31)(0, c, s) : static_cast<double>(n % 7);
    });
    const Map<Type> alone({1, e.c, e.h, e.w}, noise(31));
    const RowTensor<T> y = pool(far.view());
    const RowTensor<T> expected = pool(alone.view());
    const auto* const last = y.data() + (samples - 1) * y.dimension(1);
    if (!same_bits(std::vector<T>(last, last + y.dimension(1)),
                   std::vector<T>(expected.data(), expected.data() + expected.size()))) {
      std::ostringstream out;
      out << e << ": the last sample differs from what it is alone";
      return out.str();
    }
  }
  return {};
}

/// Planes of numbers of one size each, in turn: ordinary, denormal, far from either, none, beside a NaN or an
/// infinity.
template <class T>
auto mixed_sizes(std::uint64_t seed) {
  return [=](Index n, Index c, Index s) {
    const double value = noise(seed)(n, c, s);
    const Index kind = c % 8;
    if (s == (c * 7) % 13 && kind >= 6)
      return kind == 6 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
    if (kind == 1 || kind == 6 || (kind == 5 && s % 5 != 2)) return denormals<T>(seed)(n, c, s);
    if (kind == 2) return std::ldexp(value, -60);
    if (kind == 3) return 0.0;
    return kind == 4 ? std::ldexp(value, 60) : value;
  };
}

/// Whether each channel has the bits that it has beside ordinary ones, whatever its neighbours make of the way
/// they go together.
template <class Pool, class Type>
std::string neighbour_difference(const Pool& pool, const Map<Type>& x) {
  using T = typename Type::Scalar;
  const Extents e = x.extents;
  const RowTensor<T> dy = noise_rows<T>(pool, e);
  const PoolRun run(pool, x, dy);
  for (Index c = 0; c < e.c; ++c) {
    Map<Type> own(e, noise(31));
    for (Index n = 0; n < e.n; ++n)
      for (Index s = 0; s < e.positions(); ++s) own(n, c, s) = x(n, c, s);
    const PoolRun beside(pool, own, dy);
    for (Index n = 0; n < e.n; ++n) {
      if (!same_bits(std::array{run.y(n, c)}, std::array{beside.y(n, c)}))
        return "the answer of channel " + std::to_string(c) + " is another one beside ordinary channels";
      for (Index s = 0; s < e.positions(); ++s)
        if (!same_bits(std::array{run.dx(n, c, s)}, std::array{beside.dx(n, c, s)}))
          return "the gradient of channel " + std::to_string(c) + " is another one beside ordinary channels";
    }
  }
  return {};
}

/// A NaN at every position in turn: NaN there alone. `channels` is how many planes share their fate: 1, or all
/// channels of the sample. Planes without are as if nothing had happened.
template <class Pool, class Type>
std::string nan_difference(const Pool& pool, const Map<Type>& clean, bool whole_sample) {
  using T = typename Type::Scalar;
  const Extents e = clean.extents;
  const RowTensor<T> dy = noise_rows<T>(pool, e);
  const PoolRun before(pool, clean, dy);
  const Index bins = pool.features(e.c) / e.c;
  for (Index s = 0; s < e.positions(); ++s) {
    Map<Type> x = clean;
    const Index n = s % e.n;
    const Index c = (3 * s + 1) % e.c;
    x(n, c, s) = std::numeric_limits<T>::quiet_NaN();
    const PoolRun run(pool, x, dy);
    const auto hit = [&](Index i, Index k) { return i == n && (whole_sample || k == c); };
    for (Index i = 0; i < e.n; ++i)
      for (Index k = 0; k < e.c; ++k) {
        if (hit(i, k)) {
          if (bins == 1 && !std::isnan(widen<double>(run.y(i, k))))
            return "NaN at " + std::to_string(s) + " is lost";
          continue;
        }
        for (Index b = 0; b < bins; ++b)
          if (!same_bits(std::array{run.y(i, k * bins + b)}, std::array{before.y(i, k * bins + b)}))
            return "NaN at " + std::to_string(s) + " reaches the answer of another plane";
        for (Index t = 0; t < e.positions(); ++t)
          if (!same_bits(std::array{run.dx(i, k, t)}, std::array{before.dx(i, k, t)}))
            return "NaN at " + std::to_string(s) + " reaches the gradient of another plane";
      }
  }
  return {};
}

/// x, y, dy and dx at odd addresses: with slack, between guards, without, at the end of their memory.
template <class Pool, class Oracle, class Type>
std::string misaligned_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& map, Index offset,
                                  Index slack) {
  using T = typename Type::Scalar;
  const T guard = std::numeric_limits<T>::quiet_NaN();
  const T mark(-77);
  const Extents& e = map.extents;
  const RowTensor<T> dy_values = noise_rows<T>(pool, e);
  const auto begin = static_cast<std::size_t>(offset);
  const auto memory = [&](std::size_t size, T value) {
    return std::vector<T>(begin + size + static_cast<std::size_t>(slack), value);
  };
  const std::size_t size = map.values.size();
  const auto features = static_cast<std::size_t>(dy_values.size());
  std::vector<T> x = memory(size, guard), dx = memory(size, mark), y = memory(features, mark),
                 dy = memory(features, guard);
  std::copy(map.values.begin(), map.values.end(), x.data() + begin);
  std::copy_n(dy_values.data(), features, dy.data() + begin);

  using RowMap = Eigen::TensorMap<RowTensor<T>>;
  RowMap y_rows(y.data() + begin, e.n, dy_values.dimension(1));
  const RowMap dy_rows(dy.data() + begin, e.n, dy_values.dimension(1));
  const auto view = Type::view(static_cast<const T*>(x.data() + begin), e);
  auto cache = pool.make_cache(view);
  Pool gradient = zeros_like(pool);
  pool.forward(view, y_rows, cache);
  pool.backward(view, y_rows, dy_rows, Type::view(dx.data() + begin, e), cache, gradient);

  const auto planes = planes_of(map);
  const auto g = table_of(dy_values);
  if (std::string found = answer_difference(RowTensor<T>(y_rows), oracle, planes); !found.empty()) return found;
  if (std::string found = gradient_difference<T>(planes_of<Type>(dx.data() + begin, e),
                                                 oracle.backward(planes, g), oracle.magnitude(planes, g));
      !found.empty())
    return found;
  if (std::string found =
          parameter_difference(parameters_of<T>(gradient), oracle.parameter_gradient(planes, g), g, e);
      !found.empty())
    return found;
  const auto untouched = [&](const std::vector<T>& all, std::size_t count) {
    for (std::size_t i = 0; i < all.size(); ++i)
      if ((i < begin || i >= begin + count) && all[i] != mark) return false;
    return true;
  };
  return untouched(y, features) && untouched(dx, size) ? "" : "a guard was overwritten";
}

/// misaligned_difference over offsets and sizes.
template <class Type, class Pool, class Oracle>
std::string any_misaligned_difference(const Pool& pool, const Oracle& oracle, Index channels,
                                      double offset_of_x) {
  for (Index slack : {0, 16})
    for (Index offset : {1, 3, 7, 8, 15})
      for (const Extents& e : {Extents{2, channels, 1, 7}, {1, channels, 3, 3}, {1, channels, 1, 35}}) {
        std::string found =
            misaligned_difference(pool, oracle, Map<Type>(e, noise(12, offset_of_x)), offset, slack);
        if (!found.empty()) return found;
      }
  return {};
}

}  // namespace poolhead::test
