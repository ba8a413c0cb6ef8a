// LogSumExpPool, SoftPool and AverageMaxPool against the oracle: every size, sharpness and extreme. Averages of
// data that is hard to sum.
#include <poolhead/pool/average_max.hpp>
#include <poolhead/pool/global_average.hpp>
#include <poolhead/pool/global_max.hpp>
#include <poolhead/pool/log_sum_exp.hpp>
#include <poolhead/pool/soft.hpp>

#include "support/accuracy.hpp"
#include "support/catch.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class Type>
std::string lse_difference(double r, const Map<Type>& x) {
  using T = typename Type::Scalar;
  const ph::LogSumExpPool<T> pool(narrow<T>(r));
  double largest = 1;  // the gradient of r divides by r twice, and has the unit of x
  for (const T value : x.values)
    if (std::isfinite(widen<double>(value))) largest = std::max(largest, std::abs(widen<double>(value)));
  const double condition = sizeof(T) == 8 ? std::max(1.0, 1 / (r * r)) : 1.0;
  return pool_difference(pool, LogSumExpOracle(widen<double>(pool.r(0))), x, condition * largest);
}
template <class Type>
std::string soft_difference(const Map<Type>& x) {
  return pool_difference(ph::SoftPool{}, SoftOracle{}, x);
}

/// AverageMaxPool, its argmax too.
template <class Type>
std::string average_max_difference(const Map<Type>& x) {
  const ph::AverageMaxPool pool;
  auto cache = pool.make_cache(x.view());
  RowTensor<typename Type::Scalar> y(x.extents.n, x.extents.c);
  pool.forward(x.view(), y, cache);
  const auto planes = planes_of(x);
  for (Index n = 0; n < x.extents.n; ++n)
    for (Index c = 0; c < x.extents.c; ++c)
      if (cache.argmax(n, c) != argmax(planes.plane(n, c))) return "the argmax is wrong";
  return pool_difference(pool, AverageMaxOracle{}, x);
}

}  // namespace

#define POOL_TEST(name, tags) \
  TEMPLATE_PRODUCT_TEST_CASE(name, tags, (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16))

POOL_TEST("exponentials are right for every number of channels and positions", "[pool][oracle]") {
  sweep([](const Extents& e) {
    const Map<TestType> x(e, noise(1, 0, 3));
    REQUIRE(lse_difference(1, x) == "");
    REQUIRE(lse_difference(4, x) == "");
    REQUIRE(soft_difference(x) == "");
    REQUIRE(average_max_difference(x) == "");
  });
}

POOL_TEST("every sharpness, from the average to the maximum", "[pool][oracle]") {
  for (const Extents& e : {Extents{2, 11, 5, 7}, {1, 3, 1, 200}})
    for (const double r : {1e-3, 0.03, 0.5, 1.0, 1.7, 10.0, 100.0}) {
      CAPTURE(r);
      REQUIRE(lse_difference(r, Map<TestType>(e, noise(2))) == "");
      REQUIRE(lse_difference(r, Map<TestType>(e, noise(3, 20, 30))) == "");
      REQUIRE(lse_difference(r, Map<TestType>(e, constant(-3))) == "");
    }
}

POOL_TEST("exponentials neither overflow nor vanish", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto largest = static_cast<double>(std::numeric_limits<T>::max());
  for (const Extents& e : {Extents{1, 5, 1, 3}, {1, 9, 1, 37}}) {
    // Rising, falling, one peak, two equal peaks, far from 0 on either side.
    const auto check = [&](auto generator) {
      const Map<TestType> x(e, generator);
      REQUIRE(soft_difference(x) == "");
      for (const double r : {1e-3, 1.0, 100.0}) REQUIRE(lse_difference(r, x) == "");
    };
    for (const double scale : {1.0, 30.0, 700.0, 2000.0}) {
      CAPTURE(e, scale);
      check([=](Index, Index c, Index s) { return scale * static_cast<double>((s + c) % 5); });
      check([=](Index, Index c, Index s) { return -scale * static_cast<double>((s + c) % 7); });
      check([=](Index, Index, Index s) { return static_cast<double>(s) * scale / 40; });
      check([=](Index, Index, Index s) { return -static_cast<double>(s) * scale / 40; });
      check([=](Index, Index c, Index s) { return s == c % 3 ? scale : -scale; });
      check(constant(scale));
      check(noise(4, -scale, 1));
      check(noise(5, scale, 1));
    }
    for (const double value : {largest, -largest, largest / 2}) {
      CAPTURE(e, value);
      check(constant(value));
      check([=](Index, Index c, Index s) { return s == c % 3 ? std::abs(value) : 0.0; });
      REQUIRE(average_max_difference(Map<TestType>(e, constant(value))) == "");
    }
    check(denormals<T>(6));
    REQUIRE(average_max_difference(Map<TestType>(e, denormals<T>(6))) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("maxima that come part by part of a long plane", "[pool][oracle]", (Nchw, Nhwc),
                           (float)) {
  for (const Extents& e : {Extents{1, 9, 1, 257}, {1, 3, 1, 4097}, {1, 2, 1, 9000}}) {
    const auto last = static_cast<double>(e.positions());
    for (const double scale : {3.0, 300.0}) {
      const auto check = [&](auto generator) {
        const Map<TestType> x(e, generator);
        REQUIRE(lse_difference(2, x) == "");
        REQUIRE(lse_difference(0.25, x) == "");
        REQUIRE(soft_difference(x) == "");
      };
      check([=](Index n, Index c, Index s) {
        return scale * static_cast<double>(s) / last + noise(11)(n, c, s);
      });
      check([=](Index n, Index c, Index s) {
        return -scale * static_cast<double>(s) / last + noise(12)(n, c, s);
      });
      // Some channels rise, some fall; -inf for a long time.
      check([=](Index n, Index c, Index s) {
        return (c % 2 == 0 ? scale : -scale) * static_cast<double>(s) / last + noise(13)(n, c, s);
      });
      check([=](Index n, Index c, Index s) {
        return s < e.positions() / 2 + 5 * c ? -infinity : scale + noise(14)(n, c, s);
      });
    }
  }
}

POOL_TEST("exponentials of infinities", "[pool][oracle]") {
  // Elements of -inf weigh nothing and get nothing, wherever they stand.
  for (const Extents& e : {Extents{1, 9, 1, 21}, {1, 3, 1, 6}, {1, 3, 1, 131}})
    for (Index at = 0; at < e.positions(); ++at) {
      const auto with = [&](double value, double others) {
        return Map<TestType>(e, [=](Index, Index c, Index s) {
          return s == (at + c) % e.positions() ? value : std::isinf(others) ? others : noise(7)(0, c, s);
        });
      };
      REQUIRE(lse_difference(1, with(-infinity, 0)) == "");
      REQUIRE(soft_difference(with(-infinity, 0)) == "");
      // A number alone among -inf.
      REQUIRE(lse_difference(2, with(-3, -infinity)) == "");
      REQUIRE(soft_difference(with(-3, -infinity)) == "");
      // +inf wins.
      const ph::LogSumExpPool<typename TestType::Scalar> pool;
      REQUIRE(forward_difference(pool, LogSumExpOracle(1), with(infinity, 0)) == "");
      REQUIRE(forward_difference(pool, LogSumExpOracle(1), with(-infinity, -infinity)) == "");
      REQUIRE(forward_difference(ph::AverageMaxPool{}, AverageMaxOracle{}, with(infinity, 0)) == "");
      REQUIRE(forward_difference(ph::AverageMaxPool{}, AverageMaxOracle{}, with(-infinity, 0)) == "");
      REQUIRE(forward_difference(ph::AverageMaxPool{}, AverageMaxOracle{}, with(-infinity, -infinity)) == "");
    }
}

POOL_TEST("ties of AverageMaxPool go to the first", "[pool][oracle]") {
  for (const Index s : {1, 5, 16, 49}) {
    REQUIRE(average_max_difference(Map<TestType>({2, 19, 1, s}, ties(8, 3))) == "");
    REQUIRE(average_max_difference(Map<TestType>({2, 19, 1, s}, signed_zeros(9))) == "");
  }
}

POOL_TEST("a NaN stays in its plane and is never hidden by an exponential", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 5, 1, 21}, {1, 17, 1, 9}}) {
    const Map<TestType> x(e, noise(10, 0, 3));
    REQUIRE(nan_difference(ph::LogSumExpPool<T>(T(2)), x, false) == "");
    REQUIRE(nan_difference(ph::SoftPool{}, x, false) == "");
    REQUIRE(nan_difference(ph::AverageMaxPool{}, x, false) == "");
  }
}

POOL_TEST("exponentials at any alignment, within their bounds", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Index c : {5, 17}) {
    REQUIRE(any_misaligned_difference<TestType>(ph::LogSumExpPool<T>(T(2)), LogSumExpOracle(2), c, 0) == "");
    REQUIRE(any_misaligned_difference<TestType>(ph::SoftPool{}, SoftOracle{}, c, 0) == "");
    REQUIRE(any_misaligned_difference<TestType>(ph::AverageMaxPool{}, AverageMaxOracle{}, c, 0) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("exponentials of planes of any size beside each other", "[pool][oracle]",
                           (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  for (const Index first : {0, 1, 3})
    for (const Index positions : {5, 49, 200}) {
      CAPTURE(first, positions);
      const Map<TestType> x({2, 41, 1, positions}, [&](Index n, Index c, Index s) {
        return mixed_sizes<T>(15)(n, first + (c < 16 ? 0 : c), s);
      });
      REQUIRE(neighbour_difference(ph::SoftPool{}, x) == "");
      REQUIRE(neighbour_difference(ph::LogSumExpPool<T>(T(2)), x) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("exponentials and maxima of maps beyond the caches are those of their samples",
                           "[pool][oracle]", (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  REQUIRE(far_difference<TestType>(ph::SoftPool{}) == "");
  REQUIRE(far_difference<TestType>(ph::LogSumExpPool<T>(T(2))) == "");
  REQUIRE(far_difference<TestType>(ph::AverageMaxPool{}) == "");
  REQUIRE(far_difference<TestType>(ph::GlobalMaxPool{}) == "");
  // Rows of NHWC add up in another order where no cache holds the map.
  if constexpr (std::same_as<TestType, Nchw<T>>)
    REQUIRE(far_difference<TestType>(ph::GlobalAveragePool{}) == "");
}

TEMPLATE_TEST_CASE("averages of a million positions", "[pool][accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>, Nchw<double>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator) {
    const Map<TestType> x(large, generator);
    CHECK(plane_difference(ph::GlobalAveragePool{}, AverageOracle{}, x) == "");
    CHECK(plane_difference(ph::AverageMaxPool{}, AverageMaxOracle{}, x) == "");
    CHECK(plane_difference(ph::GlobalMaxPool{}, MaxOracle{}, x) == "");
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

TEMPLATE_TEST_CASE("an average is as good beside a plane that is not finite", "[pool][accuracy]", Nchw<float>,
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

TEMPLATE_TEST_CASE("exponentials of a million positions", "[pool][accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>) {
  using T = typename TestType::Scalar;
  const auto check = [](auto generator, double scale) {
    const Map<TestType> x(large, generator);
    for (const double r : {0.0625, 2.0}) {
      CAPTURE(r);
      CHECK(plane_difference(ph::LogSumExpPool<T>(narrow<T>(r)), LogSumExpOracle(r), x, scale) == "");
    }
    CHECK(plane_difference(ph::SoftPool{}, SoftOracle{}, x, scale) == "");
  };
  check(noise(13), 1);
  check(noise(14, 1e4), 1e4);
  check(noise(15, 0, 50), 50);  // peaked
  check(denormals<T>(16), 1);
}
