// The bounds of accuracy on planes of a million positions, and data that is hard to sum.
#pragma once

#include "support/pool_check.hpp"

namespace poolhead::test {

/// Both signs, over twenty orders of magnitude.
inline auto wide_range(std::uint64_t seed) {
  return [=](Index n, Index c, Index s) {
    const double sign = hash(seed, n, c, s) % 2 == 0 ? 1 : -1;
    return sign * std::pow(10.0, noise(seed + 1, 0, 10)(n, c, s));
  };
}

/// Whether dx is within 64 eps of its plane's largest element: on long planes that says more than 64 eps of 1.
template <class T, class Real>
bool is_close(const Planes<Real>& dx, const Planes<Real>& reference) {
  Real largest = 0;
  Real worst = 0;
  for (std::size_t i = 0; i < dx.values.size(); ++i) {
    largest = std::max(largest, std::abs(reference.values[i]));
    const Real error = std::abs(dx.values[i] - reference.values[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst <= 64 * widen<Real>(std::numeric_limits<T>::epsilon()) * largest;
}

/// The answer and the parameters' gradient to within their bounds, and dx to its plane's. scale: see
/// parameter_bound.
template <class Pool, class Oracle, class Type>
std::string plane_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x, double scale = 1) {
  using T = typename Type::Scalar;
  const RowTensor<T> dy = noise_rows<T>(pool, x.extents);
  const PoolRun run(pool, x, dy);
  const auto planes = planes_of(x);
  const auto g = table_of(dy);
  if (std::string found = answer_difference(run.y, oracle, planes); !found.empty()) return found;
  if (std::string found =
          parameter_difference(run.parameters(), oracle.parameter_gradient(planes, g), g, x.extents, scale);
      !found.empty())
    return found;
  return is_close<T>(planes_of(run.dx), oracle.backward(planes, g)) ? "" : "dx is wrong";
}

inline constexpr Extents large{1, 1, 1000, 1000};

}  // namespace poolhead::test
