// The literal cases of the peers' own suites: ONNX, PyTorch, Keras, timm, fastai, and the limits that the GeM
// paper states. Numbers are theirs; where they compare with numpy or torch on counting numbers, the numbers
// are worked out here.
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/data.hpp"

#include <array>
#include <limits>
#include <numeric>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// 0, 1, 2, ... in memory order, as numpy's arange and reshape give them.
template <int Rank>
Tensor<float, Rank> counting(const std::array<Index, Rank>& dimensions, float first = 0.0f) {
  Tensor<float, Rank> x(dimensions);
  std::iota(x.data(), x.data() + x.size(), first);
  return x;
}

/// first, first + 1, ... in (n, c, s) order, whatever the layout.
auto counting_in_order(const Extents& e, double first = 0) {
  return
      [=](Index n, Index c, Index s) { return first + static_cast<double>((n * e.c + c) * e.positions() + s); };
}

/// The given numbers in (n, c, s) order.
auto literal(const Extents& e, std::vector<double> values) {
  return [=](Index n, Index c, Index s) {
    return values[static_cast<std::size_t>((n * e.c + c) * e.positions() + s)];
  };
}

/// Rows as numbers, one after another.
template <class T>
std::vector<double> numbers(const Tensor<T, 2>& rows) {
  std::vector<double> out;
  for (Index i = 0; i < rows.size(); ++i) out.push_back(widen<double>(rows.data()[i]));
  return out;
}

/// first, first + step, ...: numpy's arange by count.
std::vector<double> sequence(double first, double step, int count) {
  std::vector<double> out;
  for (int i = 0; i < count; ++i) out.push_back(first + step * i);
  return out;
}

/// numpy's allclose as the peers use it: 1e-5 relative and 1e-6 absolute.
bool all_close(const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return false;
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(std::abs(got[i] - expected[i]) <= 1e-6 + 1e-5 * std::abs(expected[i]))) return false;
  return true;
}

bool has_shape(const Tensor<float, 2>& rows, Index n, Index features) {
  return rows.dimension(0) == n && rows.dimension(1) == features;
}

/// The gradient at x of the sum of y.
template <class Type, class Pool>
std::vector<typename Type::Scalar> gradient_of_sum(const Pool& pool, const Map<Type>& x) {
  using T = typename Type::Scalar;
  Tensor<T, 2> y(x.extents.n, pool.features(x.extents.c));
  Tensor<T, 2> dy(y.dimensions());
  dy.setConstant(T(1));
  Map<Type> dx(x.extents);
  auto cache = pool.make_cache(x.view());
  pool.forward(x.view(), y, cache);
  pool.backward(x.view(), y, dy, dx.view(), cache);
  return dx.values;
}

}  // namespace

// ONNX: the node tests of its backend suite.

TEMPLATE_PRODUCT_TEST_CASE("ONNX: GlobalAveragePool and GlobalMaxPool", "[peers][onnx]", (Nchw, Nhwc),
                           (float)) {
  // 1 x 3 x 5 x 5 normal numbers against numpy's mean and max.
  const Extents e{1, 3, 5, 5};
  const Map<TestType> x(e, noise(60, 0, 3));
  const Tensor<float, 2> mean = ph::GlobalAveragePool{}(x.view());
  const Tensor<float, 2> max = ph::GlobalMaxPool{}(x.view());
  for (Index c = 0; c < 3; ++c) {
    double sum = 0;
    float largest = x(0, c, 0);
    for (Index s = 0; s < 25; ++s) {
      sum += static_cast<double>(x(0, c, s));
      largest = std::max(largest, x(0, c, s));
    }
    CHECK(std::abs(static_cast<double>(mean(0, c)) - sum / 25) < 1e-6);
    CHECK(max(0, c) == largest);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("ONNX: the precomputed 3 x 3 map", "[peers][onnx]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  const Extents e{1, 1, 3, 3};
  const Map<TestType> x(e, counting_in_order(e, 1));
  CHECK(numbers(ph::GlobalAveragePool{}(x.view())) == std::vector{5.0});
  CHECK(numbers(ph::GlobalMaxPool{}(x.view())) == std::vector{9.0});
}

TEMPLATE_PRODUCT_TEST_CASE("ONNX: GlobalLpPool", "[peers][onnx]", (Nchw, Nhwc), (float, double)) {
  const Extents two{1, 2, 2, 2};
  const Map<TestType> x(two, literal(two, {1, -2, 3, -4, 5, -6, 7, -8}));
  CHECK(all_close(numbers(ph::GlobalLpPool{}(x.view())), {5.477226, 13.190906}));  // p is 2
}

TEST_CASE("ONNX: GlobalLpPool over one axis and three", "[peers][onnx]") {
  Tensor<float, 3> one(1, 2, 2);
  one.setValues({{{-1.0f, 2.0f}, {-3.0f, 4.0f}}});
  CHECK(all_close(numbers(ph::GlobalLpPool(3.0)(ph::channels_first(one))), {2.080084, 4.4979415}));
  Tensor<float, 5> three(1, 1, 2, 1, 2);
  three.setValues({{{{{-1.0f, 2.0f}}, {{-3.0f, 4.0f}}}}});
  CHECK(numbers(ph::GlobalLpPool(1.0)(ph::channels_first(three))) == std::vector{10.0});
}

// PyTorch: sample inputs and suites of adaptive_avg_pool2d and adaptive_max_pool2d.

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: adaptive averages of grids that do not divide", "[peers][pytorch]",
                           (Nchw, Nhwc), (float)) {
  // Sample inputs: maps, and the sizes they are brought to; None is the map's own extent.
  const auto pooled = [](const Extents& e, Index height, Index width) {
    const Map<TestType> x(e, counting_in_order(e));
    const Tensor<float, 2> y = ph::AdaptiveAveragePool(height, width)(x.view());
    CHECK(has_shape(y, e.n, e.c * height * width));
    return numbers(y);
  };
  // Of counting numbers, the mean of a bin is width * its middle row + its middle column.
  const auto expected = [](const Extents& e, const std::vector<double>& rows,
                           const std::vector<double>& columns) {
    std::vector<double> out;
    for (Index plane = 0; plane < e.n * e.c; ++plane)
      for (const double row : rows)
        for (const double column : columns)
          out.push_back(static_cast<double>(plane * e.positions()) + static_cast<double>(e.w) * row + column);
    return out;
  };
  const std::vector<double> five_of_eight{0.5, 2, 3.5, 5, 6.5};
  const std::vector<double> seven_of_eight = sequence(0.5, 1, 7);
  const std::vector<double> five_of_four{0, 0.5, 1.5, 2.5, 3};
  const std::vector<double> five_of_three{0, 0.5, 1, 1.5, 2};
  const Extents square{1, 8, 8, 8};
  const Extents pair{2, 8, 8, 8};
  const Extents oblong{1, 8, 4, 3};
  CHECK(all_close(pooled(square, 5, 7), expected(square, five_of_eight, seven_of_eight)));
  CHECK(all_close(pooled(pair, 8, 7), expected(pair, sequence(0, 1, 8), seven_of_eight)));
  CHECK(all_close(pooled(oblong, 5, 3), expected(oblong, five_of_four, sequence(0, 1, 3))));
  CHECK(pooled(oblong, 4, 3) == sequence(0, 1, 96));  // nothing to average
  CHECK(all_close(pooled(oblong, 5, 5), expected(oblong, five_of_four, five_of_three)));
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: adaptive maxima of grids that do not divide", "[peers][pytorch]",
                           (Nchw, Nhwc), (float)) {
  const auto check = [](const Extents& e, Index height, Index width, const std::vector<Index>& last) {
    // Of counting numbers, a bin's maximum is its last position, which is also its index.
    const Map<TestType> x(e, counting_in_order(e));
    const ph::AdaptiveMaxPool pool(height, width);
    Tensor<float, 2> y(e.n, pool.features(e.c));
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y, cache);
    REQUIRE(has_shape(y, e.n, e.c * height * width));
    const Index bins = height * width;
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index b = 0; b < bins; ++b) {
          const Index position = last[static_cast<std::size_t>(b)];
          CHECK(cache.argmax(n, c * bins + b) == position);
          CHECK(y(n, c * bins + b) == static_cast<float>((n * e.c + c) * e.positions() + position));
        }
  };
  std::vector<Index> all(16);
  std::iota(all.begin(), all.end(), Index{0});
  check({1, 4, 4, 4}, 2, 3, {5, 6, 7, 13, 14, 15});
  check({2, 4, 4, 4}, 4, 3, {1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15});
  check({2, 4, 4, 4}, 1, 1, {15});
  check({1, 4, 4, 3}, 3, 3, {3, 4, 5, 6, 7, 8, 9, 10, 11});
  check({1, 4, 4, 3}, 4, 3, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  check({4, 4, 4, 4}, 2, 4, {4, 5, 6, 7, 12, 13, 14, 15});  // output_size (2, None)
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: indices of adaptive maxima and their gradient", "[peers][pytorch]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  // 1 .. 64 in 2 x 2 planes of 4 x 4, and 1 .. 16 in planes of 1 x 4, each to halves.
  const auto check = [](const Extents& e, Index height, std::vector<Index> indices) {
    const Map<TestType> x(e, counting_in_order(e, 1));
    const ph::AdaptiveMaxPool pool(height, 2);
    using T = typename TestType::Scalar;
    Tensor<T, 2> y(2, pool.features(2));
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y, cache);
    const auto bins = static_cast<Index>(indices.size());
    const std::vector<T> dx = gradient_of_sum<TestType>(pool, x);
    for (Index n = 0; n < 2; ++n)
      for (Index c = 0; c < 2; ++c) {
        for (Index b = 0; b < bins; ++b) {
          const Index index = indices[static_cast<std::size_t>(b)];
          CHECK(cache.argmax(n, c * bins + b) == index);
          CHECK(widen<double>(y(n, c * bins + b)) ==
                static_cast<double>((n * 2 + c) * e.positions() + index + 1));
        }
        for (Index s = 0; s < e.positions(); ++s) {
          const bool chosen = std::find(indices.begin(), indices.end(), s) != indices.end();
          CHECK(widen<double>(dx[static_cast<std::size_t>(TestType::offset(e, n, c, s))]) == (chosen ? 1 : 0));
        }
      }
  };
  check({2, 2, 1, 4}, 1, {1, 3});
  check({2, 2, 4, 4}, 2, {5, 7, 13, 15});
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: maxima of NaN and of -inf", "[peers][pytorch]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  const auto check = [](const auto& pool, const Extents& e) {
    for (const double value : {not_a_number, -infinity}) {
      const Map<TestType> x(e, constant(value));
      Tensor<T, 2> y(1, 1);
      auto cache = pool.make_cache(x.view());
      pool.forward(x.view(), y, cache);
      CHECK(cache.argmax(0, 0) == 0);
      for (const double result : {numbers(y)[0], numbers(pool(x.view()))[0]})
        CHECK((std::isnan(value) ? std::isnan(result) : result == -infinity));
      const std::vector<T> dx = gradient_of_sum<TestType>(pool, x);
      for (std::size_t i = 0; i < dx.size(); ++i) CHECK(widen<double>(dx[i]) == (i == 0 ? 1 : 0));
    }
  };
  for (const Extents& e : {Extents{1, 1, 1, 1}, {1, 1, 1, 3}, {1, 1, 3, 3}, {1, 1, 3, 9}}) {
    check(ph::GlobalMaxPool{}, e);
    check(ph::AdaptiveMaxPool(1, 1), e);
    check(ph::SpatialPyramidPool({1}, ph::SpatialPyramidPool::max), e);
  }
}

TEST_CASE("PyTorch: an adaptive average gives the same in both memory formats", "[peers][pytorch]") {
  // Whole numbers from 1 to 9 in 4 x 8 x 8 x 8, brought to 7 x 7, with such a gradient.
  const Extents e{4, 8, 8, 8};
  const auto digits = [](std::uint64_t seed) {
    return [draw = ties(seed, 9)](Index n, Index c, Index s) { return 1 + draw(n, c, s); };
  };
  const Map<Nchw<float>> first(e, digits(61));
  const Map<Nhwc<float>> last(e, digits(61));
  const ph::AdaptiveAveragePool pool(7, 7);
  const Tensor<float, 2> dy = make_rows<float>(4, 8 * 49, digits(62));
  Tensor<float, 2> first_y(4, 8 * 49), last_y(4, 8 * 49);
  Map<Nchw<float>> first_dx(e);
  Map<Nhwc<float>> last_dx(e);
  auto first_cache = pool.make_cache(first.view());
  auto last_cache = pool.make_cache(last.view());
  pool.forward(first.view(), first_y, first_cache);
  pool.forward(last.view(), last_y, last_cache);
  pool.backward(first.view(), first_y, dy, first_dx.view(), first_cache);
  pool.backward(last.view(), last_y, dy, last_dx.view(), last_cache);
  CHECK(numbers(first_y) == numbers(last_y));
  for (Index n = 0; n < 4; ++n)
    for (Index c = 0; c < 8; ++c)
      for (Index s = 0; s < 64; ++s) CHECK(first_dx(n, c, s) == last_dx(n, c, s));
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: adaptive pools of 16 bits stay close to float", "[peers][pytorch]",
                           (Nchw, Nhwc), (Eigen::half, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  using Wide = std::conditional_t<std::is_same_v<typename TestType::Layout, ph::ChannelsFirst>, Nchw<float>,
                                  Nhwc<float>>;
  const Extents e{3, 19, 8, 8};
  const auto digits = [draw = ties(63, 9)](Index n, Index c, Index s) { return 1 + draw(n, c, s); };
  const Map<TestType> x(e, digits);
  const Map<Wide> wide(e, digits);
  const auto check = [&](const auto& pool) {
    const std::vector<double> y = numbers<T>(pool(x.view()));
    const std::vector<double> wide_y = numbers<float>(pool(wide.view()));
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(y[i] - wide_y[i]) <= 0.1);
    const std::vector<T> dx = gradient_of_sum<TestType>(pool, x);
    const std::vector<float> wide_dx = gradient_of_sum<Wide>(pool, wide);
    for (std::size_t i = 0; i < dx.size(); ++i)
      CHECK(std::abs(widen<double>(dx[i]) - static_cast<double>(wide_dx[i])) <= 0.1);
  };
  check(ph::AdaptiveAveragePool(7, 7));
  check(ph::AdaptiveMaxPool(7, 7));
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: the sum of a bin of half does not overflow", "[peers][pytorch]",
                           (Nchw, Nhwc), (Eigen::half)) {
  const Extents e{1, 9, 256, 256};
  const auto wide = [draw = ties(64, 512)](Index n, Index c, Index s) { return draw(n, c, s) - 256; };
  const Map<TestType> x(e, wide);
  for (const double value : numbers<Eigen::half>(ph::AdaptiveAveragePool(2, 2)(x.view())))
    CHECK(std::isfinite(value));
  const Map<TestType> largest(e, constant(65504));
  for (const double value : numbers<Eigen::half>(ph::AdaptiveAveragePool(2, 2)(largest.view())))
    CHECK(value == 65504);
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: an output of size one is the mean", "[peers][pytorch]", (Nchw, Nhwc),
                           (float)) {
  const Extents e{2, 3, 6, 6};
  const Map<TestType> x(e, [draw = ties(65, 9)](Index n, Index c, Index s) { return 1 + draw(n, c, s); });
  const Tensor<float, 2> y = ph::AdaptiveAveragePool(1, 1)(x.view());
  const Tensor<float, 2> global = ph::GlobalAveragePool{}(x.view());
  for (Index n = 0; n < 2; ++n)
    for (Index c = 0; c < 3; ++c) {
      double sum = 0;
      for (Index s = 0; s < 36; ++s) sum += static_cast<double>(x(n, c, s));
      CHECK(std::abs(static_cast<double>(y(n, c)) - sum / 36) < 1e-6);
      CHECK(y(n, c) == global(n, c));
    }
  for (const float value : gradient_of_sum<TestType>(ph::AdaptiveAveragePool(1, 1), x))
    CHECK(value == 1.0f / 36);
}

TEST_CASE("PyTorch: an output of size one over three axes is the mean", "[peers][pytorch]") {
  const Tensor<float, 5> x = counting<5>({2, 3, 6, 6, 6});
  CHECK(all_close(numbers(ph::GlobalAveragePool{}(ph::channels_first(x))), sequence(107.5, 216, 6)));
}

TEMPLATE_PRODUCT_TEST_CASE("PyTorch: a batch of none is fine, a map without channels or positions is not",
                           "[peers][pytorch]", (Nchw, Nhwc), (float)) {
  const auto check = [](const auto& pool, const Extents& none, const std::vector<Extents>& wrong) {
    const Map<TestType> x(none);
    CHECK(has_shape(pool(x.view()), 0, pool.features(none.c)));
    CHECK(gradient_of_sum<TestType>(pool, x).empty());
    for (const Extents& e : wrong) CHECK_THROWS_AS(pool(Map<TestType>(e).view()), ph::ShapeError);
  };
  check(ph::AdaptiveAveragePool(5, 5), {0, 10, 10, 10}, {{1, 10, 0, 10}, {1, 10, 10, 0}, {1, 0, 10, 10}});
  check(ph::AdaptiveMaxPool(3, 3), {0, 16, 50, 32}, {{1, 0, 50, 32}, {1, 16, 0, 32}, {1, 16, 50, 0}});
  check(ph::GlobalAveragePool{}, {0, 16, 20, 32}, {{16, 0, 20, 32}});
  check(ph::GlobalMaxPool{}, {0, 16, 50, 32}, {{1, 0, 50, 32}});
}

TEST_CASE("PyTorch: output sizes that are none", "[peers][pytorch]") {
  // Size 0, whose gradient PyTorch refuses; below 0; and so large that the count of the output wraps round.
  CHECK_THROWS_AS(ph::AdaptiveAveragePool(0, 0), ph::ValueError);
  CHECK_THROWS_AS(ph::AdaptiveMaxPool(0, 0), ph::ValueError);
  CHECK_THROWS_AS(ph::AdaptiveAveragePool(-1, 0), ph::ValueError);
  CHECK_THROWS_AS(ph::AdaptiveMaxPool(-1, 0), ph::ValueError);
  const Map<Nchw<float>> x({2, 2, 1, 2}, constant(1));
  CHECK_THROWS_AS(ph::AdaptiveMaxPool(1, 0x3fffffffffffffff)(x.view()), ph::ShapeError);
}

// Keras: the tests of GlobalAveragePooling and GlobalMaxPooling.

TEST_CASE("Keras: shapes", "[peers][keras]") {
  const Tensor<float, 3> one = counting<3>({3, 5, 4});
  const Tensor<float, 4> two = counting<4>({3, 5, 6, 4});
  const Tensor<float, 5> three = counting<5>({3, 5, 6, 5, 4});
  const auto check = [&](const auto& pool) {
    CHECK(has_shape(pool(ph::channels_last(one)), 3, 4));
    CHECK(has_shape(pool(ph::channels_first(one)), 3, 5));
    CHECK(has_shape(pool(ph::channels_last(two)), 3, 4));
    CHECK(has_shape(pool(ph::channels_first(two)), 3, 5));
    CHECK(has_shape(pool(ph::channels_last(three)), 3, 4));
    CHECK(has_shape(pool(ph::channels_first(three)), 3, 5));
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
}

TEST_CASE("Keras: averages and maxima of counting numbers", "[peers][keras]") {
  const Tensor<float, 3> one = counting<3>({2, 3, 4});
  const Tensor<float, 4> two = counting<4>({2, 3, 4, 4});
  const Tensor<float, 5> three = counting<5>({2, 3, 3, 5, 4});
  const auto average = [](const auto& x) { return numbers(ph::GlobalAveragePool{}(x)); };
  const auto maximum = [](const auto& x) { return numbers(ph::GlobalMaxPool{}(x)); };

  CHECK(average(ph::channels_last(one)) == std::vector<double>{4, 5, 6, 7, 16, 17, 18, 19});
  CHECK(average(ph::channels_first(one)) == std::vector{1.5, 5.5, 9.5, 13.5, 17.5, 21.5});
  CHECK(average(ph::channels_last(two)) == std::vector<double>{22, 23, 24, 25, 70, 71, 72, 73});
  CHECK(average(ph::channels_first(two)) == std::vector{7.5, 23.5, 39.5, 55.5, 71.5, 87.5});
  CHECK(average(ph::channels_last(three)) == std::vector<double>{88, 89, 90, 91, 268, 269, 270, 271});
  CHECK(average(ph::channels_first(three)) == std::vector{29.5, 89.5, 149.5, 209.5, 269.5, 329.5});

  CHECK(maximum(ph::channels_last(one)) == std::vector<double>{8, 9, 10, 11, 20, 21, 22, 23});
  CHECK(maximum(ph::channels_first(one)) == std::vector<double>{3, 7, 11, 15, 19, 23});
  CHECK(maximum(ph::channels_last(two)) == std::vector<double>{44, 45, 46, 47, 92, 93, 94, 95});
  CHECK(maximum(ph::channels_first(two)) == std::vector<double>{15, 31, 47, 63, 79, 95});
  CHECK(maximum(ph::channels_last(three)) == std::vector<double>{176, 177, 178, 179, 356, 357, 358, 359});
  CHECK(maximum(ph::channels_first(three)) == std::vector<double>{59, 119, 179, 239, 299, 359});
}

TEST_CASE("Keras: the masked average over steps", "[peers][keras][mask]") {
  const Tensor<float, 3> x = counting<3>({2, 3, 4});
  const ph::GlobalAveragePool average;
  const auto check = [&](const auto& view, const auto& mask, const std::vector<double>& expected) {
    CHECK(numbers(average(ph::masked(view, mask))) == expected);
  };
  Tensor<std::uint8_t, 2> three_steps(2, 3);
  three_steps.setValues({{1, 1, 0}, {0, 1, 0}});
  check(ph::channels_last(x), three_steps, {2, 3, 4, 5, 16, 17, 18, 19});
  Tensor<std::uint8_t, 2> four_steps(2, 4);
  four_steps.setValues({{1, 1, 0, 0}, {0, 1, 0, 1}});
  check(ph::channels_first(x), four_steps, {0.5, 4.5, 8.5, 14, 18, 22});
}

// timm and fastai: how averages and maxima come together.

TEMPLATE_PRODUCT_TEST_CASE("timm: avgmax is half of the sum, catavgmax the average before the maximum",
                           "[peers][timm]", (Nchw, Nhwc), (float)) {
  const Extents e{2, 3, 4, 5};
  const Map<TestType> x(e, counting_in_order(e));
  const std::vector<double> average = sequence(9.5, 20, 6);
  const std::vector<double> maximum = sequence(19, 20, 6);
  CHECK(numbers(ph::GlobalAveragePool{}(x.view())) == average);
  CHECK(numbers(ph::GlobalMaxPool{}(x.view())) == maximum);
  CHECK(numbers(ph::AverageMaxPool{}(x.view())) == sequence(14.25, 20, 6));

  const std::vector<double> joined{9.5, 29.5, 49.5, 19, 39, 59, 69.5, 89.5, 109.5, 79, 99, 119};
  const auto catavgmax = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{});
  CHECK(numbers(catavgmax(x.view())) == joined);
  CHECK(catavgmax.features(3) == 6);  // feat_mult is 2
  CHECK(ph::AverageMaxPool{}.features(3) == 3);

  // SelectAdaptivePool2d: the same by name.
  CHECK(numbers(ph::AnyPool<float>("avg")(x.view())) == average);
  CHECK(numbers(ph::AnyPool<float>("max")(x.view())) == maximum);
  CHECK(numbers(ph::AnyPool<float>("avgmax")(x.view())) == sequence(14.25, 20, 6));
  CHECK(numbers(ph::AnyPool<float>("avg+max")(x.view())) == joined);
}

TEMPLATE_PRODUCT_TEST_CASE("fastai: AdaptiveConcatPool2d has the maximum before the average", "[peers][fastai]",
                           (Nchw, Nhwc), (float)) {
  const Extents e{2, 3, 4, 5};
  const Map<TestType> x(e, counting_in_order(e));
  const std::vector<double> joined{19, 39, 59, 9.5, 29.5, 49.5, 79, 99, 119, 69.5, 89.5, 109.5};
  CHECK(numbers(ph::concat(ph::GlobalMaxPool{}, ph::GlobalAveragePool{})(x.view())) == joined);
  CHECK(numbers(ph::AnyPool<float>("max+avg")(x.view())) == joined);
}

// GeM: what Radenovic et al. say of its limits, and of its first value.

TEMPLATE_PRODUCT_TEST_CASE("GeM: p = 1 is the average, a large p the maximum, and 3 the start", "[peers][gem]",
                           (Nchw, Nhwc), (float, double)) {
  using T = typename TestType::Scalar;
  const Extents e{2, 3, 4, 5};
  const Map<TestType> x(e, counting_in_order(e, 1));
  using Gem = ph::GeneralizedMeanPool<T>;
  CHECK(all_close(numbers(Gem(T(1))(x.view())), sequence(10.5, 20, 6)));
  const std::vector<double> maximum = sequence(20, 20, 6);
  double before = infinity;
  for (const double p : {10.0, 100.0, 1e3, 1e4}) {
    // (mean c^p)^(1/p) lies between max S^(-1/p) and the maximum.
    const std::vector<double> y = numbers(Gem(static_cast<T>(p))(x.view()));
    const double least = std::pow(20.0, -1 / p);
    double distance = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      CHECK(y[i] <= maximum[i] * (1 + 1e-6));
      CHECK(y[i] >= maximum[i] * least * (1 - 1e-6));
      distance = std::max(distance, 1 - y[i] / maximum[i]);
    }
    CHECK(distance < before);
    before = distance;
  }
  const Gem start;
  CHECK(static_cast<double>(start.p(0)) == 3);
  CHECK(static_cast<float>(start.eps) == 1e-6f);
  const Extents three{1, 1, 1, 3};
  const Map<TestType> small(three, literal(three, {1, 2, 3}));
  CHECK(all_close(numbers(start(small.view())), {2.2894284851066637}));  // the cube root of 12
  // What is below eps counts as eps.
  const Map<TestType> negative(three, literal(three, {-1, 0, -3}));
  CHECK(all_close(numbers(start(negative.view())), {1e-6}));
}
