// The bounds of accuracy on planes of a million positions, and of data that is hard to sum.
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

/// Both signs, over twenty orders of magnitude.
auto wide_range(std::uint64_t seed) {
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

/// The answer and the parameters' gradient to within their bounds, and dx. scale: see parameter_bound.
template <class Pool, class Oracle, class Type>
std::string difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x, double scale = 1) {
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

constexpr Extents large{1, 1, 1000, 1000};

template <class T>
GeneralizedMeanOracle gem_oracle(double p) {
  return {{p}, widen<double>(ph::GeneralizedMeanPool<T>().eps)};
}

}  // namespace

TEMPLATE_TEST_CASE("averages of a million positions", "[accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>, Nchw<double>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator) {
    const Map<TestType> x(large, generator);
    CHECK(difference(ph::GlobalAveragePool{}, AverageOracle{}, x) == "");
    CHECK(difference(ph::AverageMaxPool{}, AverageMaxOracle{}, x) == "");
    CHECK(difference(ph::GlobalMaxPool{}, MaxOracle{}, x) == "");
    const std::vector<Index> levels{2, 3};
    CHECK(forward_difference(ph::SpatialPyramidPool(levels), pyramid_oracle(levels, false), x) == "");
  };
  check(noise(1));
  check(noise(2, 1e4));
  check(denormals<T>(3));
  if (sizeof(T) > 2) check(wide_range(4));
  // Masked, half of it.
  const Map<TestType> x(large, noise(5, 1e4));
  RowTensor<bool> mask(1, large.positions());
  std::vector<Reference<T>> valid;
  for (Index s = 0; s < mask.size(); ++s) {
    mask(0, s) = hash(6, 0, 0, s) % 2 == 0;
    if (mask(0, s)) valid.push_back(widen<Reference<T>>(x(0, 0, s)));
  }
  const RowTensor<T> y = ph::GlobalAveragePool{}(ph::masked(x.view(), mask));
  const std::span<const Reference<T>> plane(valid);
  CHECK(is_within(y(0, 0), AverageOracle::value(plane), AverageOracle::value_bound<T>(plane)));
}

TEMPLATE_TEST_CASE("an average is as good beside a plane that is not finite", "[accuracy]", Nchw<float>,
                   Nhwc<float>, Nchw<double>, Nhwc<double>) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {nan, std::numeric_limits<double>::infinity()})
    for (const Extents& e : {Extents{1, 9, 100, 100}, {2, 9, 1, 50}}) {
      const auto generator = [&](auto of) {
        return [=](Index n, Index c, Index s) { return c == 3 && s == 7 ? value : of(n, c, s); };
      };
      CHECK(forward_difference(ph::GlobalAveragePool{}, AverageOracle{},
                               Map<TestType>(e, generator(wide_range(7)))) == "");
      CHECK(forward_difference(ph::GlobalAveragePool{}, AverageOracle{},
                               Map<TestType>(e, generator(noise(8, 1e4)))) == "");
      const RowTensor<typename TestType::Scalar> clean =
          ph::GlobalAveragePool{}(Map<TestType>(e, noise(8, 1e4)).view());
      const RowTensor<typename TestType::Scalar> beside =
          ph::GlobalAveragePool{}(Map<TestType>(e, generator(noise(8, 1e4))).view());
      for (Index c = 0; c < 9; ++c)
        if (c != 3) CHECK(clean(0, c) == beside(0, c));
    }
}

TEMPLATE_TEST_CASE("powers of a million positions", "[accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator, double scale) {
    const Map<TestType> x(large, generator);
    for (const double p : {3.0, 3.5}) {
      CAPTURE(p);
      CHECK(difference(ph::GlobalLpPool(p), LpOracle(p), x) == "");
      CHECK(difference(ph::GeneralizedMeanPool<T>(narrow<T>(p)), gem_oracle<T>(p), x, scale) == "");
    }
  };
  check(noise(9), 1);
  check(wide_range(11), 1e10);
  const Map<TestType> tiny(large, denormals<T>(12));
  CHECK(difference(ph::GlobalLpPool(3.5), LpOracle(3.5), tiny) == "");
}

TEMPLATE_TEST_CASE("norms of tiny numbers keep their digits", "[accuracy]", Nchw<float>, Nhwc<float>) {
  constexpr double eps = std::numeric_limits<float>::epsilon();
  for (const double p : {2.0, 3.0, 4.0})
    for (const int exponent : {-30, -62, -90, -110, -126, -140}) {
      CAPTURE(p, exponent);
      // Neighbours of another magnitude, or of zeros, one by one and in pairs.
      const Map<TestType> x({2, 9, 5, 7}, [&](Index n, Index c, Index s) {
        const double scale = c % 5 == 0 ? 1.0 : c % 5 == 3 ? 0.0 : std::ldexp(1.0, exponent);
        return scale * noise(21)(n, c, s);
      });
      const RowTensor<float> y = ph::GlobalLpPool(p)(x.view());
      const auto expected = LpOracle(p).forward(planes_of(x));
      for (Index n = 0; n < 2; ++n)
        for (Index c = 0; c < 9; ++c) {
          const double bound = 16 * eps * expected(n, c) + std::numeric_limits<float>::denorm_min();
          REQUIRE(std::abs(widen<double>(y(n, c)) - expected(n, c)) <= bound);
        }
    }
}

namespace {

/// Whether value is the reference to within `ulps` units of 2^-24 of it, or both are NaN.
bool is_near(float value, double reference, double ulps) {
  if (std::isnan(reference)) return std::isnan(value);
  if (std::isinf(reference)) return widen<double>(value) == reference;
  return std::abs(widen<double>(value) - reference) <=
         ulps * 0x1p-24 * std::abs(reference) + widen<double>(std::numeric_limits<float>::min());
}

/// y, and dx where all of dy is 1 and no gradient of p is asked for.
template <class Type>
struct PowerRun {
  RowTensor<float> y, dy;
  Map<Type> dx;

  template <class Pool>
  PowerRun(const Pool& pool, const Map<Type>& x)
      : y(x.extents.n, x.extents.c), dy(x.extents.n, x.extents.c), dx(x.extents) {
    dy.setConstant(1.0F);
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y, cache);
    pool.backward(x.view(), y, dy, dx.view(), cache, ph::no_gradient);
  }
};

/// Each element for itself.
template <class Type, class Pool, class Oracle>
void check_powers(const Pool& pool, const Oracle& oracle, const Map<Type>& x, double p, double far) {
  const Extents& e = x.extents;
  const PowerRun<Type> run(pool, x);
  const auto& [y, dy, dx] = run;
  const auto planes = planes_of(x);
  const auto expected = oracle.forward(planes);
  const auto gradient = oracle.backward(planes, table_of(dy));
  for (Index n = 0; n < e.n; ++n)
    for (Index c = 0; c < e.c; ++c) {
      REQUIRE(is_near(y(n, c), expected(n, c), 4.0));
      for (Index s = 0; s < e.positions(); ++s)
        REQUIRE(is_near(dx(n, c, s), gradient.plane(n, c)[static_cast<std::size_t>(s)], far * (4.0 + 3.0 * p)));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("powers of any exponent, element by element", "[accuracy]", Nchw<float>, Nhwc<float>) {
  const auto check = [](const Extents& e, double p, double far, auto generator) {
    CAPTURE(p, far, e.h);
    const Map<TestType> x(e, generator);
    const auto narrow_p = narrow<float>(p);
    check_powers(ph::GeneralizedMeanPool<float>(narrow_p), gem_oracle<float>(widen<double>(narrow_p)), x, p,
                 far);
    if (p >= 1.0) check_powers(ph::GlobalLpPool(p), LpOracle(p), x, p, far);
  };
  const auto ordinary = [](Index n, Index c, Index s) {
    const double size = 0.05 + std::abs(noise(31, 0, 4)(n, c, s));
    return hash(32, n, c, s) % 3 == 0 ? 0.0 : hash(33, n, c, s) % 5 == 0 ? -size : size;
  };
  for (const double p : {0.75, 1.01, 1.5, 2.2, 2.7, 3.5, 5.0, 5.99, 6.01, 9.0, 12.0})
    for (const Extents& e : {Extents{2, 19, 7, 7}, {1, 9, 40, 41}}) check(e, p, 1.0, ordinary);
  // Beside planes, and in planes, of which some elements are out of the series' range.
  for (const double odd : {1e30, 1e9, 1e-3, 1e-12, 1e-30, -1e-30, std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()})
    for (const double p : {1.2, 2.7, 7.0}) {
      CAPTURE(odd);
      const Extents e{1, 19, 7, 7};
      const auto mixed = [&](Index n, Index c, Index s) {
        return c % 4 == 1 && s % 5 == 0 ? odd : c % 8 == 2 ? odd * ordinary(n, c, s) : ordinary(n, c, s);
      };
      check(e, p, 20.0, mixed);
      // The other planes are what they are without these.
      const ph::GeneralizedMeanPool<float> pool(narrow<float>(p));
      const PowerRun<TestType> beside(pool, Map<TestType>(e, mixed));
      const PowerRun<TestType> clean(pool, Map<TestType>(e, ordinary));
      for (Index c = 0; c < e.c; ++c) {
        if (c % 4 == 1 || c % 8 == 2) continue;
        REQUIRE(beside.y(0, c) == clean.y(0, c));
        for (Index s = 0; s < e.positions(); ++s) REQUIRE(beside.dx(0, c, s) == clean.dx(0, c, s));
      }
    }
}

TEMPLATE_TEST_CASE("exponentials of a million positions", "[accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator, double scale) {
    const Map<TestType> x(large, generator);
    for (const double r : {0.0625, 2.0}) {
      CAPTURE(r);
      CHECK(difference(ph::LogSumExpPool<T>(narrow<T>(r)), LogSumExpOracle(r), x, scale) == "");
    }
    CHECK(difference(ph::SoftPool{}, SoftOracle{}, x, scale) == "");
  };
  check(noise(13), 1);
  check(noise(14, 1e4), 1e4);
  check(noise(15, 0, 50), 50);  // peaked
  check(denormals<T>(16), 1);
}

TEMPLATE_TEST_CASE("attention over a million positions", "[accuracy]", Nchw<float>, Nhwc<float>) {
  using Attention = ph::AttentionPool<float>;
  for (const auto kind : {Attention::softmax, Attention::sigmoid}) {
    const Attention pool(2, 2, kind, 1);
    const Extents two{1, 2, 1000, 1000};
    CHECK(difference(pool, AttentionOracle(pool), Map<TestType>(two, noise(18, 0, 50)), 50) == "");
    CHECK(difference(pool, AttentionOracle(pool), Map<TestType>(two, noise(19, 1e4)), 1e4) == "");
  }
}
