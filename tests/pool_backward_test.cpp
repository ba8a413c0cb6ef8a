// The gradients of GlobalAveragePool, GlobalMaxPool and their concat: the definition, and the whole Jacobian.
#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/oracle.hpp"

#include <sstream>
#include <string>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

const ph::GlobalAveragePool average;
const ph::GlobalMaxPool maximum;
const auto both = ph::concat(average, maximum);
const AverageOracle average_oracle;
const MaxOracle max_oracle;
const ConcatOracle both_oracle(average_oracle, max_oracle);

/// The first element of dx that is not the oracle's, as a sentence. Four units, of the gradient as it would be
/// if nothing cancelled: the heads of a concat may.
template <class Type, class Oracle>
std::string gradient_difference(const Map<Type>& dx, const Oracle& oracle, const Map<Type>& x,
                                const RowTensor<typename Type::Scalar>& dy) {
  const auto planes = planes_of(x);
  auto g = table_of(dy);
  const auto reference = oracle.backward(planes, g);
  for (auto& value : g.values) value = std::abs(value);
  const auto magnitude = oracle.backward(planes, g);
  const auto got = planes_of(dx);
  for (std::size_t i = 0; i < got.values.size(); ++i) {
    const auto bound = 4 * ulp<typename Type::Scalar>(magnitude.values[i]);
    const bool exact = magnitude.values[i] == 0;
    if (!(std::abs(got.values[i] - reference.values[i]) <= (exact ? 0 : bound))) {
      std::ostringstream out;
      out << "dx[" << i << "] in (n, c, s) order is " << got.values[i] << ", expected " << reference.values[i]
          << ", x is " << x.extents;
      return out.str();
    }
  }
  return {};
}

/// Forward, then backward with and without a gradient of the parameters, into NaN, on a device.
template <class Pool, class Oracle, class Type, class... D>
std::string backward_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x,
                                const D&... device) {
  using Scalar = typename Type::Scalar;
  const Index features = oracle.features(x.extents.c);
  RowTensor<Scalar> y(x.extents.n, features);
  const RowTensor<Scalar> dy = make_rows<Scalar>(x.extents.n, features, noise(20));
  auto cache = pool.make_cache(x.view());
  pool.forward(x.view(), y, cache);

  Map<Type> dx(x.extents);
  pool.backward(x.view(), y, dy, dx.view(), cache, device...);
  if (const std::string found = gradient_difference(dx, oracle, x, dy); !found.empty()) return found;

  Map<Type> again(x.extents);
  auto grad = ph::zeros_like(pool);
  pool.backward(x.view(), y, dy, again.view(), cache, grad, device...);
  return again.values == dx.values ? "" : "a parameter gradient changes dx";
}

template <class Type, class... D>
std::string any_difference(const Map<Type>& x, const D&... device) {
  if (const std::string found = backward_difference(average, average_oracle, x, device...); !found.empty())
    return "average: " + found;
  if (const std::string found = backward_difference(maximum, max_oracle, x, device...); !found.empty())
    return "max: " + found;
  if (const std::string found = backward_difference(both, both_oracle, x, device...); !found.empty())
    return "concat: " + found;
  return {};
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("gradients are right for every number of channels and positions", "[pool][backward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  std::vector<Index> sizes;
  for (Index size = 1; size <= 40; ++size) sizes.push_back(size);
  for (Index size : {49, 63, 64, 65, 127, 128, 129, 196}) sizes.push_back(size);
  std::vector<Index> channels = sizes;
  channels.push_back(2048);
  for (Index c : channels)
    for (Index s : sizes)
      if (c <= 40 || (s <= 40 && c <= 196) || c == s || s == 7 || s == 49) {
        REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, noise(21))) == "");
      }
  for (Index c : {1, 2, 3, 5, 20, 24})
    for (Index s : {403, 2051}) REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, noise(21))) == "");
  for (Index n : {1, 3, 8}) REQUIRE(any_difference(Map<TestType>({n, 19, 7, 5}, noise(22))) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("gradients of maps that leave a cache are right on any number of threads",
                           "[pool][backward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  Eigen::ThreadPool threads(3);
  for (const Extents& e : {Extents{2, 5, 241, 223}, {1, 11003, 7, 7}, {1, 67, 113, 73}}) {
    const Map<TestType> x(e, noise(26));
    REQUIRE(any_difference(x) == "");
    for (int count : {2, 3}) REQUIRE(any_difference(x, Eigen::ThreadPoolDevice(&threads, count)) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("lanes that could count the positions of vast planes give what others give",
                           "[pool][backward]", (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  using Wide = std::int64_t;
  const Eigen::DefaultDevice device;
  for (const Extents& e :
       {Extents{2, 19, 7, 5}, {1, 3, 1, 403}, {2, 33, 1, 1}, {1, 130, 2, 2}, {1, 5, 30, 41}}) {
    CAPTURE(e);
    const Map<TestType> x(e, with_nan(noise(36), [](Index c, Index s) { return c == 1 && s >= 7; }));
    const auto input = ph::detail::as_input(x.view());
    const auto check = [&](const auto& pool, const auto& oracle) {
      const Index features = pool.features(e.c);
      RowTensor<Scalar> y(e.n, features), expected(e.n, features);
      const RowTensor<Scalar> dy = make_rows<Scalar>(e.n, features, noise(37));
      auto expected_cache = pool.make_cache(input);
      pool.forward(input, expected, expected_cache);
      auto cache = pool.make_cache(input);
      ph::detail::run_forward(input, pool.template training<Wide>(input, ph::detail::as_rows<Scalar>(y), cache),
                              device);
      for (Index i = 0; i < y.size(); ++i) {
        const auto value = static_cast<double>(expected.data()[i]);
        const auto wide = static_cast<double>(y.data()[i]);
        REQUIRE((std::isnan(value) ? std::isnan(wide) : std::abs(wide - value) <= 2 * ulp<Scalar>(1.0)));
      }
      Map<TestType> dx(e);
      using Pool = std::remove_cvref_t<decltype(pool)>;
      ph::detail::run_backward<Wide>(input, dx.values.data(),
                                     pool.template gradient<Wide>(input, ph::detail::as_rows<const Scalar>(y),
                                                                  ph::detail::as_rows<const Scalar>(dy), cache,
                                                                  static_cast<Pool*>(nullptr)),
                                     device);
      REQUIRE(gradient_difference(dx, oracle, x, dy) == "");
    };
    check(average, average_oracle);
    check(maximum, max_oracle);
    check(both, both_oracle);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the maximum's gradient goes to the first of equals and to the first NaN",
                           "[pool][backward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index c : {1, 7, 16, 21})
    for (Index s : {1, 5, 16, 49}) {
      REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, ties(23, 3))) == "");
      REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, signed_zeros(24))) == "");
      const auto is_nan = [&](Index k, Index i) { return i >= (3 * k) % s; };
      const Map<TestType> x({2, c, 1, s}, with_nan(noise(25), is_nan));
      REQUIRE(backward_difference(maximum, max_oracle, x) == "");
      REQUIRE(backward_difference(both, both_oracle, x) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("the whole Jacobian in double", "[pool][backward]", (Nchw, Nhwc), (double)) {
  const auto error_of = [](const auto& pool, const Extents& e) {
    Map<TestType> x(e, noise(26));
    Map<TestType> dx(e);
    RowTensor<double> y(e.n, pool.features(e.c));
    auto cache = pool.make_cache(x.view());
    const auto forward = [&] {
      pool.forward(x.view(), y, cache);
      return std::vector<double>(y.data(), y.data() + y.size());
    };
    const auto backward = [&](const std::vector<double>& dy) {
      const Eigen::TensorMap<const RowTensor<double>> rows(dy.data(), y.dimension(0), y.dimension(1));
      pool.backward(x.view(), y, rows, dx.view(), cache);
      return dx.values;
    };
    return jacobian_error(x.values, forward, backward);
  };
  for (const Extents& e : {Extents{2, 3, 3, 4}, {1, 9, 1, 5}, {2, 2, 1, 17}, {1, 1, 1, 1}}) {
    CAPTURE(e);
    CHECK(error_of(average, e) <= 1e-8);
    CHECK(error_of(maximum, e) <= 1e-8);
    CHECK(error_of(both, e) <= 1e-8);
    CHECK(error_of(ph::concat(maximum, average, maximum), e) <= 1e-8);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("backward reads the cache of its own forward", "[pool][backward]", (Nchw, Nhwc),
                           (float, Eigen::half)) {
  using Scalar = typename TestType::Scalar;
  const Extents e{2, 11, 3, 4};
  const Map<TestType> first(e, noise(27));
  const Map<TestType> second(e, noise(28));
  const RowTensor<Scalar> dy = make_rows<Scalar>(e.n, e.c, noise(29));
  RowTensor<Scalar> y_first(e.n, e.c);
  RowTensor<Scalar> y_second(e.n, e.c);
  auto cache_first = maximum.make_cache(first.view());
  auto cache_second = maximum.make_cache(second.view());
  maximum.forward(first.view(), y_first, cache_first);
  maximum.forward(second.view(), y_second, cache_second);

  Map<TestType> dx(e);
  maximum.backward(first.view(), y_first, dy, dx.view(), cache_first);
  CHECK(gradient_difference(dx, max_oracle, first, dy) == "");
  maximum.backward(second.view(), y_second, dy, dx.view(), cache_second);
  CHECK(gradient_difference(dx, max_oracle, second, dy) == "");

  // A copy of a cache is a cache, and a cache serves again for another map of its shape.
  auto copy = cache_first;
  maximum.forward(second.view(), y_second, cache_first);
  maximum.backward(second.view(), y_second, dy, dx.view(), cache_first);
  CHECK(gradient_difference(dx, max_oracle, second, dy) == "");
  maximum.backward(first.view(), y_first, dy, dx.view(), copy);
  CHECK(gradient_difference(dx, max_oracle, first, dy) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("concat writes the sum of its heads' gradients, whatever their order and number",
                           "[pool][backward]", (Nchw, Nhwc), (float)) {
  const Map<TestType> x({2, 13, 4, 5}, noise(30));
  CHECK(backward_difference(ph::concat(average), ConcatOracle(average_oracle), x) == "");
  CHECK(backward_difference(ph::concat(maximum), ConcatOracle(max_oracle), x) == "");
  CHECK(backward_difference(ph::concat(maximum, average), ConcatOracle(max_oracle, average_oracle), x) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("gradients of any alignment are written within their bounds", "[pool][backward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  const Scalar mark(-77);
  for (Index slack : {0, 16})
    for (Index offset = 1; offset < 16; ++offset)
      for (const Extents& e :
           {Extents{2, 3, 1, 7}, {1, 5, 3, 3}, {2, 17, 1, 4}, {1, 40, 1, 33}, {3, 1, 1, 67}}) {
        CAPTURE(slack, offset, e);
        const Map<TestType> x(e, noise(31));
        const RowTensor<Scalar> dy = make_rows<Scalar>(e.n, 2 * e.c, noise(32));
        RowTensor<Scalar> y(e.n, 2 * e.c);
        auto cache = both.make_cache(x.view());
        both.forward(x.view(), y, cache);

        const auto begin = static_cast<std::size_t>(offset);
        const std::size_t end = begin + x.values.size();
        std::vector<Scalar> memory(end + static_cast<std::size_t>(slack), mark);
        both.backward(x.view(), y, dy, TestType::view(memory.data() + begin, e), cache);
        Map<TestType> dx(e);
        std::copy(memory.data() + begin, memory.data() + end, dx.values.begin());
        REQUIRE(gradient_difference(dx, both_oracle, x, dy) == "");
        for (std::size_t i = 0; i < begin; ++i) REQUIRE(memory[i] == mark);
        for (std::size_t i = end; i < memory.size(); ++i) REQUIRE(memory[i] == mark);
      }
}

TEMPLATE_PRODUCT_TEST_CASE("y and dy may be columns of wider matrices", "[pool][backward]", (Nchw, Nhwc),
                           (float)) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Map<TestType> x({3, 9, 2, 5}, noise(33));
  const RowTensor<float> dy = make_rows<float>(3, 18, noise(34));
  Matrix y = Matrix::Constant(3, 40, 1e30f);
  Matrix wide_dy = Matrix::Constant(3, 40, std::numeric_limits<float>::quiet_NaN());
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 18; ++j) wide_dy(i, 5 + j) = dy(i, j);
  auto cache = both.make_cache(x.view());
  both.forward(x.view(), y.middleCols(7, 18), cache);
  Map<TestType> dx(x.extents);
  const Matrix& read_only = wide_dy;
  both.backward(x.view(), y.middleCols(7, 18), read_only.middleCols(5, 18), dx.view(), cache);
  CHECK(gradient_difference(dx, both_oracle, x, dy) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("an argmax out of its plane is refused before anything is written",
                           "[pool][backward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  const Map<TestType> x({2, 5, 3, 4}, noise(35));
  RowTensor<Scalar> y(2, 5);
  auto cache = maximum.make_cache(x.view());
  maximum.forward(x.view(), y, cache);
  REQUIRE(cache.argmax.size() == 10);
  static_assert(std::is_same_v<std::remove_cvref_t<decltype(*cache.argmax.data())>, Index>);

  for (Index at : {0, 4, 9})
    for (Index forged : {Index(-1), Index(12), Index(1) << 31, std::numeric_limits<Index>::max(),
                         std::numeric_limits<Index>::min()}) {
      CAPTURE(at, forged);
      auto bad = cache;
      bad.argmax.data()[at] = forged;
      Map<TestType> dx(x.extents, constant(-77));
      CHECK_THROWS_AS(maximum.backward(x.view(), y, y, dx.view(), bad), ph::ValueError);
      CHECK(dx.values == std::vector<Scalar>(dx.values.size(), Scalar(-77)));
    }
}

TEMPLATE_PRODUCT_TEST_CASE("the gradient of an empty batch is empty", "[pool][backward]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  REQUIRE(any_difference(Map<TestType>({0, 4, 3, 3})) == "");
}
