// GlobalLpPool and GeneralizedMeanPool against the oracle: every size, exponent and extreme.
#include <poolhead/pool/generalized_mean.hpp>
#include <poolhead/pool/global_lp.hpp>

#include "support/catch.hpp"
#include "support/pool_check.hpp"

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
