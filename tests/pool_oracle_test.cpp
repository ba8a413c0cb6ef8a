// GlobalLpPool and GeneralizedMeanPool against the oracle: every size, exponent and extreme.
#include <poolhead/pool/generalized_mean.hpp>
#include <poolhead/pool/global_lp.hpp>

#include "support/accuracy.hpp"
#include "support/catch.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// p as T has it.
template <class T>
double rounded(double p) {
  return widen<double>(narrow<T>(p));
}

template <class T>
ph::GeneralizedMeanPool<T> gem(double p) {
  return ph::GeneralizedMeanPool<T>(narrow<T>(p));
}
template <class T>
GeneralizedMeanOracle gem_oracle(double p) {
  return {{rounded<T>(p)}, widen<double>(gem<T>(p).eps)};
}

template <class Type>
std::string lp_difference(double p, const Map<Type>& x) {
  return pool_difference(ph::GlobalLpPool(p), LpOracle(p), x);
}
/// The gradient of p has the unit of x: its bound goes with the largest one. It divides by p twice, which a
/// double cannot hide.
template <class Type>
std::string gem_difference(double p, const Map<Type>& x) {
  using T = typename Type::Scalar;
  double largest = 1;
  for (const T value : x.values)
    if (std::isfinite(widen<double>(value))) largest = std::max(largest, widen<double>(value));
  const double condition = sizeof(T) == 8 ? std::max(1.0, 1 / (p * p)) : 1.0;
  return pool_difference(gem<T>(p), gem_oracle<T>(p), x, largest * condition);
}

/// One p per channel, from 0.3 to some 20.
template <class T>
ph::GeneralizedMeanPool<T> gem_of_channels(Index channels) {
  ph::GeneralizedMeanPool<T> pool(channels, T(1));
  for (Index c = 0; c < channels; ++c) pool.p(c) = narrow<T>(0.3 * std::pow(1.7, static_cast<double>(c % 9)));
  return pool;
}
template <class T>
GeneralizedMeanOracle oracle_of(const ph::GeneralizedMeanPool<T>& pool) {
  GeneralizedMeanOracle oracle{{}, widen<double>(pool.eps)};
  for (Index c = 0; c < pool.p.size(); ++c) oracle.p.push_back(widen<double>(pool.p(c)));
  return oracle;
}

}  // namespace

#define POOL_TEST(name, tags) \
  TEMPLATE_PRODUCT_TEST_CASE(name, tags, (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16))

POOL_TEST("powers are right for every number of channels and positions", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  sweep([](const Extents& e) {
    const Map<TestType> x(e, noise(1));
    REQUIRE(lp_difference(2.5, x) == "");
    REQUIRE(lp_difference(2, x) == "");
    REQUIRE(gem_difference(3, x) == "");
    REQUIRE(gem_difference(2.6, x) == "");
    const auto pool = gem_of_channels<T>(e.c);
    REQUIRE(pool_difference(pool, oracle_of(pool), x) == "");
  });
}

POOL_TEST("every exponent, whole or not, small or large", "[pool][oracle]") {
  for (const Extents& e : {Extents{2, 11, 5, 7}, {1, 3, 1, 200}}) {
    const Map<TestType> x(e, noise(2));
    const Map<TestType> positive(e, noise(3, 5, 4));
    for (const double p : {1.0, 1.3, 2.0, 3.0, 3.5, 4.0, 5.0, 8.0, 100.0}) {
      CAPTURE(p);
      REQUIRE(lp_difference(p, x) == "");
      REQUIRE(lp_difference(p, positive) == "");
    }
    for (const double p : {0.05, 0.3, 0.999, 1.0, 1.0078125, 2.0, 3.0, 4.0, 4.5, 100.0}) {
      CAPTURE(p);
      REQUIRE(gem_difference(p, x) == "");
      REQUIRE(gem_difference(p, positive) == "");
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("exponents that are multiplied out agree with their neighbours", "[pool][oracle]",
                           (Nchw, Nhwc), (float)) {
  const Map<TestType> x({2, 9, 5, 7}, noise(4, 1, 0.9));
  const RowTensor<float> dy = noise_rows<float>(ph::GlobalLpPool(), x.extents);
  const auto check = [&](const auto& pool, const auto& neighbour) {
    const PoolRun run(pool, x, dy), near(neighbour, x, dy);
    for (Index i = 0; i < run.y.size(); ++i)
      REQUIRE(std::abs(run.y.data()[i] - near.y.data()[i]) <= 3e-6f * (1 + std::abs(run.y.data()[i])) * 3);
    for (std::size_t i = 0; i < run.dx.values.size(); ++i)
      REQUIRE(std::abs(run.dx.values[i] - near.dx.values[i]) <= 1e-5f);
    if (const auto dp = run.parameters(); !dp.empty()) REQUIRE(std::abs(dp[0] - near.parameters()[0]) <= 1e-5f);
  };
  for (const float p : {1.0f, 2.0f, 3.0f, 4.0f})
    for (const float q : {std::nextafter(p, 0.0f), std::nextafter(p, 9.0f)}) {
      check(ph::GeneralizedMeanPool<float>(p), ph::GeneralizedMeanPool<float>(q));
      if (q >= 1) check(ph::GlobalLpPool(double{p}), ph::GlobalLpPool(double{q}));
    }
}

POOL_TEST("powers neither overflow nor vanish", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto largest = static_cast<double>(std::numeric_limits<T>::max());
  const auto smallest = std::ldexp(1.0, std::numeric_limits<T>::min_exponent - 1);
  for (const Extents& e : {Extents{1, 5, 1, 3}, {1, 9, 1, 37}}) {
    const auto all = [&](double value) { return Map<TestType>(e, constant(value)); };
    for (const double p : {1.0, 2.0, 3.0, 4.0, 8.0, 100.0}) {
      CAPTURE(e, p);
      if (sizeof(T) > 2 || std::is_same_v<T, Eigen::bfloat16>) {
        const Map<TestType> x(e, noise(5, 0, 1e30));
        REQUIRE(gem_difference(p, x) == "");
        if (sizeof(T) != 4 || p > 1) REQUIRE(lp_difference(p, x) == "");
        // Where large and small stand together.
        REQUIRE(gem_difference(p, Map<TestType>(e, [](Index, Index, Index s) {
                                 return s % 3 == 0 ? 1e30 : 1e-30;
                               })) == "");
      }
      REQUIRE(gem_difference(p, all(largest)) == "");
      REQUIRE(gem_difference(p, all(largest / 3)) == "");
      // A sum of S powers of the largest number overflows where its root does not.
      if (p >= 8) REQUIRE(lp_difference(p, all(largest / 2)) == "");
      REQUIRE(lp_difference(p, Map<TestType>(e, noise(6, 0, 16 * smallest))) == "");
      REQUIRE(lp_difference(p, Map<TestType>(e, denormals<T>(7))) == "");
      REQUIRE(gem_difference(p, Map<TestType>(e, denormals<T>(7))) == "");
    }
    // p below 1 meets the far ends of logarithms.
    for (const double p : {0.05, 0.3}) {
      REQUIRE(gem_difference(p, all(largest / 1000)) == "");
      REQUIRE(gem_difference(p, Map<TestType>(e, [&](Index, Index, Index s) {
                               return s == 1 ? largest / 1000 : 0.0;
                             })) == "");
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("largest elements that come part by part of a long plane", "[pool][oracle]",
                           (Nchw, Nhwc), (float)) {
  for (const Extents& e : {Extents{1, 9, 1, 257}, {1, 3, 1, 4097}, {1, 2, 1, 9000}}) {
    const auto last = static_cast<double>(e.positions());
    const auto check = [&](auto generator) {
      const Map<TestType> x(e, generator);
      for (const double p : {2.5, 8.0}) {
        REQUIRE(gem_difference(p, x) == "");
        REQUIRE(lp_difference(p, x) == "");
      }
      REQUIRE(gem_difference(0.3, x) == "");
    };
    for (const double decades : {1.0, 12.0}) {
      const auto power = [=](Index c, Index s) {
        return std::pow(10.0, (c % 2 == 0 ? decades : -decades) * static_cast<double>(s) / last);
      };
      check([=](Index n, Index c, Index s) { return power(c, s) * noise(12, 2)(n, c, s); });
      check([=](Index n, Index c, Index s) { return power(c + 1, s) * noise(13, 2)(n, c, s); });
      check([=](Index n, Index c, Index s) {
        return s < e.positions() / 2 + 5 * c ? 0.0 : power(c, s) * noise(14, 2)(n, c, s);
      });
    }
  }
}

POOL_TEST("a plane of nothing above eps gives eps, and no gradient", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const double p : {0.3, 1.0, 3.0, 8.0, 100.0})
    for (const double value : {-1.0, 0.0, -infinity, 1e-7}) {
      CAPTURE(p, value);
      const Map<TestType> x({1, 9, 1, 21}, constant(value));
      REQUIRE(gem_difference(p, x) == "");
      const auto pool = gem<T>(p);
      const PoolRun run(pool, x, noise_rows<T>(pool, x.extents));
      for (const T d : run.dx.values) REQUIRE(d == T(0));
    }
  // eps itself has one.
  auto pool = gem<T>(3);
  pool.eps = 0.5;
  const Map<TestType> x({1, 9, 1, 21}, constant(0.5));
  CHECK(pool_difference(pool, GeneralizedMeanOracle{{rounded<T>(3)}, 0.5}, x) == "");
  const PoolRun run(pool, x, noise_rows<T>(pool, x.extents));
  for (const T d : run.dx.values) REQUIRE(d != T(0));
  // One element above it.
  const Map<TestType> one({1, 9, 1, 21}, [](Index, Index c, Index s) { return s == 2 * c ? 0.75 : 0.25; });
  CHECK(pool_difference(pool, GeneralizedMeanOracle{{rounded<T>(3)}, 0.5}, one) == "");
}

POOL_TEST("without eps the smallest numbers are numbers, too", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto small = [](Index n, Index c, Index s) { return std::abs(denormals<T>(7)(n, c, s)); };
  for (const Extents& e : {Extents{1, 5, 1, 3}, {1, 9, 1, 37}})
    for (const double p : {1.0, 2.0, 2.5, 8.0}) {
      CAPTURE(e, p);
      auto pool = gem<T>(p);
      pool.eps = 0;
      const GeneralizedMeanOracle oracle{{rounded<T>(p)}, 0};
      REQUIRE(pool_difference(pool, oracle, Map<TestType>(e, small)) == "");
      REQUIRE(pool_difference(pool, oracle, Map<TestType>(e, [&](Index n, Index c, Index s) {
                                return s % 3 == 0 ? 64 * small(n, c, s) : 0.0;
                              })) == "");
    }
}

POOL_TEST("the norm of zeros is 0 and has no gradient", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const double p : {1.0, 1.5, 2.0, 3.0, 4.0, 7.0}) {
    CAPTURE(p);
    const ph::GlobalLpPool pool(p);
    const Map<TestType> x({2, 9, 1, 21}, signed_zeros(8));
    const RowTensor<T> dy = noise_rows<T>(pool, x.extents);
    const PoolRun run(pool, x, dy);
    for (Index i = 0; i < run.y.size(); ++i)
      REQUIRE((run.y.data()[i] == T(0) && !std::signbit(widen<double>(run.y.data()[i]))));
    for (const T d : run.dx.values) REQUIRE(d == T(0));
    // Zeros between numbers have none either, nor have zeros of one plane beside another's numbers.
    REQUIRE(lp_difference(p, Map<TestType>({1, 9, 1, 21}, [](Index, Index c, Index s) {
                            return c % 3 == 1 || s % 3 == 0 ? 0.0 : noise(9)(0, c, s);
                          })) == "");
  }
}

POOL_TEST("powers of infinities", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto one = [](double there) {
    return Map<TestType>({1, 9, 1, 21},
                         [=](Index, Index c, Index s) { return s == 2 * c ? there : noise(10, 2)(0, c, s); });
  };
  for (const double p : {1.0, 2.0, 3.0, 2.5}) {
    CAPTURE(p);
    for (const double value : {infinity, -infinity})
      REQUIRE(forward_difference(ph::GlobalLpPool(p), LpOracle(p), one(value)) == "");
    REQUIRE(forward_difference(gem<T>(p), gem_oracle<T>(p), one(infinity)) == "");
    REQUIRE(gem_difference(p, one(-infinity)) == "");  // as good as eps
  }
}

POOL_TEST("a NaN stays in its plane and is never hidden by a power", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 5, 1, 21}, {1, 17, 1, 9}})
    for (const double offset : {0.0, -3.0}) {
      const Map<TestType> x(e, noise(11, offset));
      REQUIRE(nan_difference(ph::GlobalLpPool(2.5), x, false) == "");
      REQUIRE(nan_difference(ph::GlobalLpPool(1), x, false) == "");
      REQUIRE(nan_difference(gem<T>(3), x, false) == "");
      REQUIRE(nan_difference(gem<T>(2.6), x, false) == "");
      REQUIRE(nan_difference(gem_of_channels<T>(e.c), x, false) == "");
    }
}

POOL_TEST("powers at any alignment, within their bounds", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Index c : {5, 17}) {
    REQUIRE(any_misaligned_difference<TestType>(ph::GlobalLpPool(2.5), LpOracle(2.5), c, 0) == "");
    const auto pool = gem_of_channels<T>(c);
    REQUIRE(any_misaligned_difference<TestType>(pool, oracle_of(pool), c, 0.5) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("powers of planes of any size beside each other", "[pool][oracle]", (Nchw, Nhwc),
                           (float, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  for (const Index first : {0, 1, 3})
    for (const Index positions : {5, 49, 200})
      for (const double p : {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 7.0}) {
        CAPTURE(first, positions, p);
        const Map<TestType> x({2, 41, 1, positions}, [&](Index n, Index c, Index s) {
          return mixed_sizes<T>(15)(n, first + (c < 16 ? 0 : c), s);
        });
        REQUIRE(neighbour_difference(ph::GlobalLpPool(p), x) == "");
        auto pool = gem<T>(p);
        REQUIRE(neighbour_difference(pool, x) == "");
        pool.eps = 0;
        REQUIRE(neighbour_difference(pool, x) == "");
        // What is finite is right, too.
        const Map<TestType> finite(x.extents, [&](Index n, Index c, Index s) {
          return std::isfinite(widen<double>(x(n, c, s))) ? widen<double>(x(n, c, s)) : 0.0;
        });
        REQUIRE(lp_difference(p, finite) == "");
        // Between the sizes that are summed in one way and in another, with zeros that only one of them sees.
        const Map<TestType> between(x.extents, [&](Index n, Index c, Index s) {
          if (c % 3 == 0 || s == 0) return denormals<T>(16)(n, c, s);
          return s % 2 == 0 ? std::exp2(-100 / p) * noise(17, 1.5, 0.5)(n, c, s) : 0.0;
        });
        REQUIRE(neighbour_difference(ph::GlobalLpPool(p), between) == "");
      }
}

TEMPLATE_PRODUCT_TEST_CASE("powers of maps beyond the caches are those of their samples", "[pool][oracle]",
                           (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  for (const double p : {1.0, 2.5, 3.0}) REQUIRE(far_difference<TestType>(ph::GlobalLpPool(p)) == "");
}

TEMPLATE_TEST_CASE("powers of a million positions", "[pool][accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator, double scale) {
    const Map<TestType> x(large, generator);
    for (const double p : {3.0, 3.5}) {
      CAPTURE(p);
      CHECK(plane_difference(ph::GlobalLpPool(p), LpOracle(p), x) == "");
      CHECK(plane_difference(ph::GeneralizedMeanPool<T>(narrow<T>(p)), gem_oracle<T>(p), x, scale) == "");
    }
  };
  check(noise(9), 1);
  check(wide_range(11), 1e10);
  const Map<TestType> tiny(large, denormals<T>(12));
  CHECK(plane_difference(ph::GlobalLpPool(3.5), LpOracle(3.5), tiny) == "");
}

TEMPLATE_TEST_CASE("norms of tiny numbers keep their digits", "[pool][accuracy]", Nchw<float>, Nhwc<float>) {
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

TEMPLATE_TEST_CASE("powers of any exponent, element by element", "[pool][accuracy]", Nchw<float>, Nhwc<float>) {
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
