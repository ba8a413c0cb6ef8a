// The pools of bins, SpatialPyramidPool, AdaptiveAveragePool and AdaptiveMaxPool, against the oracle.
#include <poolhead/pool/adaptive.hpp>
#include <poolhead/pool/spatial_pyramid.hpp>

#include "support/accuracy.hpp"
#include "support/catch.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
using Pyramid = ph::SpatialPyramidPool;

/// pool_difference, and every argmax where there are maxima.
template <class Pool, class Type>
std::string bins_difference(const Pool& pool, const GridOracle& oracle, const Map<Type>& x) {
  if (oracle.max) {
    RowTensor<typename Type::Scalar> y(x.extents.n, oracle.features(x.extents.c));
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y, cache);
    const auto expected = oracle.argmaxes(planes_of(x));
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (cache.argmax.data()[i] != expected[i]) return "argmax " + std::to_string(i) + " is wrong";
    for (Index i = 0; i < y.size(); ++i) {
      const Index feature = i % y.dimension(1);
      // The element itself, the sign of zero too.
      const Index c = [&] {
        Index first = 0;
        for (const auto& [rows, columns] : oracle.grids) {
          const Index count = x.extents.c * rows * columns;
          if (feature < first + count) return (feature - first) / (rows * columns);
          first += count;
        }
        return Index{-1};
      }();
      const std::array element{x(i / y.dimension(1), c, expected[static_cast<std::size_t>(i)])};
      if (!same_values(std::array{y.data()[i]}, element)) return "y is not the element at argmax";
    }
  }
  return pool_difference(pool, oracle, x);
}
template <class Type>
std::string pyramid_difference(const std::vector<Index>& levels, const Map<Type>& x) {
  for (const bool max : {false, true})
    if (std::string found = bins_difference(Pyramid(levels, max ? Pyramid::max : Pyramid::average),
                                            pyramid_oracle(levels, max), x);
        !found.empty())
      return (max ? "max: " : "average: ") + found;
  return {};
}
template <class Type>
std::string adaptive_difference(Index h, Index w, const Map<Type>& x) {
  if (std::string found = bins_difference(ph::AdaptiveAveragePool(h, w), GridOracle{{{h, w}}, false}, x);
      !found.empty())
    return "average: " + found;
  return bins_difference(ph::AdaptiveMaxPool(h, w), GridOracle{{{h, w}}, true}, x);
}

}  // namespace

#define POOL_TEST(name, tags) \
  TEMPLATE_PRODUCT_TEST_CASE(name, tags, (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16))

POOL_TEST("bins are right for every number of channels, height and width", "[pool][oracle]") {
  for (Index h = 1; h <= 9; ++h)
    for (Index w = 1; w <= 9; ++w) {
      const Map<TestType> x({1, 3, h, w}, noise(1));
      REQUIRE(pyramid_difference({1, 2, 4}, x) == "");
      REQUIRE(adaptive_difference(3, 2, x) == "");
    }
  for (const Index w : {13, 16, 17, 33, 40, 49, 65}) {
    REQUIRE(pyramid_difference({1, 3, 6}, Map<TestType>({1, 5, 7, w}, noise(2))) == "");
    REQUIRE(pyramid_difference({2, 5}, Map<TestType>({1, 5, w, 3}, noise(3))) == "");
  }
  for (const Index c : {1, 2, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 64, 70, 129})
    for (const auto& [h, w] : {std::pair<Index, Index>{5, 7}, {1, 3}}) {
      REQUIRE(pyramid_difference({1, 2, 3}, Map<TestType>({2, c, h, w}, noise(4))) == "");
      REQUIRE(adaptive_difference(2, 5, Map<TestType>({2, c, h, w}, noise(5))) == "");
    }
  // More channels than the maxima of so many bins are looked for at once.
  REQUIRE(pyramid_difference({1, 2, 3, 4, 5, 6, 7, 8}, Map<TestType>({1, 176, 6, 5}, ties(18, 9))) == "");
  // A level alone, one that repeats, more bins than positions, one bin per position, one bin.
  const Map<TestType> x({2, 11, 6, 5}, noise(6));
  for (const std::vector<Index>& levels :
       {std::vector<Index>{1}, {7}, {4, 1}, {2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}})
    REQUIRE(pyramid_difference(levels, x) == "");
  for (const auto& [h, w] : {std::pair<Index, Index>{1, 1}, {6, 5}, {13, 2}, {1, 9}, {5, 6}})
    REQUIRE(adaptive_difference(h, w, x) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("bins of planes too large to turn, and of more grids than a table holds",
                           "[pool][oracle]", (Nchw, Nhwc), (float)) {
  for (const Extents& e : {Extents{1, 3, 100, 101}, {1, 11, 60, 70}, {2, 9, 95, 90}, {1, 37, 30, 40}}) {
    REQUIRE(pyramid_difference({1, 3, 7}, Map<TestType>(e, noise(15))) == "");
    REQUIRE(pyramid_difference({2}, Map<TestType>(e, ties(16, 3))) == "");
  }
  const Map<TestType> x({2, 11, 6, 5}, noise(17));
  REQUIRE(pyramid_difference({1, 1, 2, 1, 3, 1, 2, 1, 2, 4}, x) == "");
  REQUIRE(adaptive_difference(40, 2, x) == "");
  REQUIRE(adaptive_difference(3, 33, x) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("the usual pyramid over small planes", "[pool][oracle]", (Nchw, Nhwc),
                           (float, Eigen::bfloat16)) {
  const std::vector<Index> levels{1, 2, 4};
  const GridOracle averages = pyramid_oracle(levels, false);
  const GridOracle maxima = pyramid_oracle(levels, true);
  for (Index h = 3; h <= 17; ++h)
    for (Index w = 3; w <= 17; ++w) {
      REQUIRE(pyramid_difference(levels, Map<TestType>({1, 19, h, w}, noise(27))) == "");
      REQUIRE(pyramid_difference(levels, Map<TestType>({1, 16, h, w}, ties(33, 3))) == "");
    }
  // One vector, some, some of which are whole, and rows of channels that are multiples of a cache's way apart.
  for (const Index c : {1, 8, 16, 17, 31, 32, 33, 49, 64, 70, 130, 512, 1024, 1536, 2048})
    for (const auto& [h, w] : {std::pair<Index, Index>{7, 7}, {4, 9}, {8, 8}, {15, 14}}) {
      const Map<TestType> x({2, c, h, w}, noise(28));
      REQUIRE(forward_difference(Pyramid(levels), averages, x) == "");
      REQUIRE(forward_difference(Pyramid(levels, Pyramid::max), maxima, x) == "");
    }
  const auto largest = static_cast<double>(std::numeric_limits<typename TestType::Scalar>::max());
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Index c : {33, 50}) {
    const Extents e{1, c, 7, 6};
    REQUIRE(pyramid_difference(levels, Map<TestType>(e, signed_zeros(29))) == "");
    REQUIRE(pyramid_difference(levels, Map<TestType>(e, noise(30, 1e4))) == "");
    for (const double value : {largest, -largest, infinity, -infinity, nan})
      for (const Index odd : {Index{0}, Index{17}, c - 1}) {  // beside ordinary channels
        const Map<TestType> x(
            e, [&](Index n, Index k, Index s) { return k == odd && s != 20 ? value : noise(31)(n, k, s); });
        REQUIRE(forward_difference(Pyramid(levels), averages, x) == "");
        REQUIRE(bins_difference(Pyramid(levels, Pyramid::max), maxima, x) == "");
      }
    for (Index at = 0; at < e.positions(); ++at) {
      const Map<TestType> x(e, with_nan(noise(34), [&](Index k, Index s) { return k % 3 != 2 && s == at; }));
      REQUIRE(bins_difference(Pyramid(levels, Pyramid::max), maxima, x) == "");
      REQUIRE(forward_difference(Pyramid(levels), averages, x) == "");
    }
    const Map<TestType> x(e, noise(32));
    REQUIRE(misaligned_difference(Pyramid(levels), averages, x, 3, 16) == "");
    REQUIRE(misaligned_difference(Pyramid(levels, Pyramid::max), maxima, x, 3, 16) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("bins that cover many rows alike", "[pool][oracle]", (Nchw, Nhwc),
                           (float, double, Eigen::bfloat16)) {
  for (const Index w : {8, 15, 16, 17, 31, 33, 40})
    for (const Index c : {1, 15, 16, 17, 150}) {
      const Map<TestType> x({2, c, 11, w}, noise(24));
      REQUIRE(pyramid_difference({1, 2}, x) == "");
      REQUIRE(misaligned_difference(Pyramid({1, 2}), pyramid_oracle({1, 2}, false), x, 3, 16) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("gradients of maxima go where the cache says", "[pool][oracle]", (Nchw, Nhwc),
                           (float, double, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  const Pyramid pool({1, 2, 4}, Pyramid::max);
  for (const Extents& e : {Extents{2, 37, 7, 7}, {1, 260, 12, 9}, {1, 5, 20, 20}}) {
    const Map<TestType> x(e, noise(25));
    const Index features = pool.features(e.c);
    RowTensor<T> y(e.n, features), dy(e.n, features);
    for (Index i = 0; i < dy.size(); ++i) dy.data()[i] = static_cast<T>(static_cast<float>(1 + i % 7));
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y, cache);
    // Nowhere near the maxima of the bins of four and of sixteen, in some channels.
    for (Index n = 0; n < e.n; ++n)
      for (Index c = n; c < e.c; c += 3) cache.argmax.data()[n * features + c] = (5 * c + n) % e.positions();
    Map<TestType> dx(e, noise(26));
    pool.backward(x.view(), y, dy, TestType::view(dx.values.data(), e), cache);
    std::vector<double> expected(static_cast<std::size_t>(e.n * e.c * e.positions()));
    for (Index n = 0, i = 0; n < e.n; ++n)
      for (const Index level : pool.levels)
        for (Index c = 0; c < e.c; ++c)
          for (Index b = 0; b < level * level; ++b, ++i)
            expected[static_cast<std::size_t>((n * e.c + c) * e.positions() + cache.argmax.data()[i])] +=
                static_cast<double>(dy.data()[i]);
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index s = 0; s < e.positions(); ++s)
          REQUIRE(static_cast<double>(dx(n, c, s)) ==
                  expected[static_cast<std::size_t>((n * e.c + c) * e.positions() + s)]);
  }
}

TEST_CASE("maxima of bins are folded alike by lanes that could count the positions of vast planes",
          "[pool][oracle]") {
  const Index levels[] = {1, 2, 3, 4, 7};
  constexpr Index N = ph::simd::lanes<float>;
  for (const Extents& e : {Extents{1, 1, 7, 7}, {1, 1, 5, 19}, {1, 1, 23, 4}, {1, 1, 40, 33}}) {
    CAPTURE(e);
    const ph::detail::GridEdges grids({levels, 5, {}}, Map<Nchw<float>>(e).view().shape());
    for (const Index vectors : {1, 2, 7, 16}) {
      std::vector<float> x(static_cast<std::size_t>(e.positions() * vectors * N));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(hash(7, 0, 0, Index(i)) % 9);
      const auto fold = [&]<class I>(I) {
        ph::detail::BinFold<ph::detail::BinMaxima<float, I>, float, true> bins(grids, vectors);
        bins.add(x.data(), vectors * N, {0, e.h});
        const auto* const tops = bins.finish();
        std::vector<double> found;
        for (Index b = 0; b < grids.grids().bins(); ++b)
          for (Index v = 0; v < vectors; ++v) {
            float values[N];
            I positions[N];
            ph::simd::store(values, tops[b * bins.pitch() + v].value);
            ph::simd::store_first(positions, tops[b * bins.pitch() + v].position, int{N});
            found.insert(found.end(), values, values + N);
            found.insert(found.end(), positions, positions + N);
          }
        return found;
      };
      REQUIRE(fold(std::int64_t{}) == fold(std::int32_t{}));
    }
  }
}

TEST_CASE("bins are PyTorch's", "[pool][oracle]") {
  // 5 into 3: [0,2) [1,4) [3,5). 2 into 4: [0,1) [0,1) [1,2) [1,2).
  const Map<Nchw<float>> five({1, 1, 1, 5}, [](Index, Index, Index s) { return std::ldexp(1.0, int(s)); });
  const RowTensor<float> y = ph::AdaptiveAveragePool(1, 3)(five.view());
  CHECK(y(0, 0) == 1.5f);
  CHECK(y(0, 1) == Approx(14.0 / 3));
  CHECK(y(0, 2) == 12.0f);
  const Map<Nhwc<float>> two({1, 1, 2, 1}, [](Index, Index, Index s) { return 3.0 + double(s); });
  const RowTensor<float> z = ph::AdaptiveMaxPool(4, 1)(two.view());
  CHECK(z(0, 0) == 3.0f);
  CHECK(z(0, 1) == 3.0f);
  CHECK(z(0, 2) == 4.0f);
  CHECK(z(0, 3) == 4.0f);
}

POOL_TEST("an adaptive pool's feature map holds what its rows hold", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto check = [](const auto& pool, const Extents& e) {
    const Map<TestType> x(e, noise(7));
    const Extents out{e.n, e.c, pool.height, pool.width};
    const Map<TestType> dy(out, noise(8));
    RowTensor<T> dy_rows(e.n, pool.features(e.c));
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index b = 0; b < out.positions(); ++b) dy_rows(n, c * out.positions() + b) = dy(n, c, b);
    const PoolRun rows(pool, x, dy_rows);

    Map<TestType> y(out), inference(out), dx(e);
    auto cache = pool.make_cache(x.view());
    pool.forward(x.view(), y.view(), cache);
    pool.forward(x.view(), inference.view());
    pool.backward(x.view(), std::as_const(y).view(), dy.view(), dx.view(), cache);
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index b = 0; b < out.positions(); ++b) REQUIRE(y(n, c, b) == rows.y(n, c * out.positions() + b));
    REQUIRE(same_bits(inference.values, y.values));
    REQUIRE(same_bits(dx.values, rows.dx.values));
    REQUIRE(same_bits(cache.argmax, rows.cache.argmax));
    REQUIRE(pool.map_shape(x.view()).height() == pool.height);
    REQUIRE(pool.map_shape(x.view()).channels() == e.c);

    // Another shape is refused, and nothing is written.
    Map<TestType> wrong({e.n, e.c, pool.width + 1, pool.height}, constant(-77));
    REQUIRE_THROWS_AS(pool.forward(x.view(), wrong.view(), cache), ph::ShapeError);
    for (const T value : wrong.values) REQUIRE(value == T(-77));
  };
  for (const Index c : {1, 3, 17})
    for (const auto& [h, w] : {std::pair<Index, Index>{7, 5}, {2, 3}, {8, 33}}) {
      check(ph::AdaptiveAveragePool(3, 4), {2, c, h, w});
      check(ph::AdaptiveMaxPool(3, 4), {2, c, h, w});
      check(ph::AdaptiveMaxPool(1, 2), {1, c, h, w});
    }
}

POOL_TEST("ties, zeros and infinities in bins", "[pool][oracle]") {
  // Planes of up to 256 positions are taken as a whole; cells of larger ones are summed apart from 1,024 on.
  for (const Extents& e :
       {Extents{2, 5, 5, 7}, {1, 17, 3, 2}, {1, 3, 9, 20}, {1, 17, 17, 19}, {1, 3, 31, 35}}) {
    REQUIRE(pyramid_difference({1, 2, 3}, Map<TestType>(e, ties(9, 3))) == "");
    REQUIRE(pyramid_difference({1, 2, 3}, Map<TestType>(e, signed_zeros(10))) == "");
    const std::vector<Index> levels{1, 2, 3};
    const Pyramid max(levels, Pyramid::max);
    const Pyramid average(levels, Pyramid::average);
    for (const double value : {infinity, -infinity}) {
      REQUIRE(bins_difference(max, pyramid_oracle(levels, true), Map<TestType>(e, constant(value))) == "");
      REQUIRE(forward_difference(average, pyramid_oracle(levels, false), Map<TestType>(e, constant(value))) ==
              "");
      // Columns of -inf: whole bins of them beside others.
      REQUIRE(bins_difference(max, pyramid_oracle(levels, true), Map<TestType>(e, [&](Index, Index c, Index s) {
                                return s % e.w < e.w / 2 + c % 2 ? value : noise(11)(0, c, s);
                              })) == "");
    }
    const auto largest = static_cast<double>(std::numeric_limits<typename TestType::Scalar>::max());
    REQUIRE(bins_difference(average, pyramid_oracle(levels, false), Map<TestType>(e, constant(largest))) == "");
    REQUIRE(bins_difference(average, pyramid_oracle(levels, false), Map<TestType>(e, noise(12, 1e4))) == "");
  }
}

POOL_TEST("a NaN reaches the bins that hold it, and no others", "[pool][oracle]") {
  const std::vector<Index> levels{1, 2, 3};
  for (const Extents& e : {Extents{2, 5, 5, 7}, {1, 17, 3, 3}, {1, 5, 3, 97}})
    for (Index at = 0; at < e.positions(); ++at) {
      const auto is_nan = [&](Index c, Index s) {
        return c % 3 != 2 && (s == at || s == (at + 2 * c) % e.positions());
      };
      const Map<TestType> x(e, with_nan(noise(13), is_nan));
      REQUIRE(bins_difference(Pyramid(levels, Pyramid::max), pyramid_oracle(levels, true), x) == "");
      REQUIRE(pool_difference(Pyramid(levels), pyramid_oracle(levels, false), x) == "");
    }
  const Map<TestType> x({2, 5, 4, 3}, noise(14));
  REQUIRE(nan_difference(ph::AdaptiveAveragePool(1, 1), x, false) == "");
  REQUIRE(nan_difference(ph::AdaptiveAveragePool(2, 3), x, false) == "");
  REQUIRE(nan_difference(ph::AdaptiveMaxPool(2, 3), x, false) == "");
}

POOL_TEST("bins at any alignment, within their bounds", "[pool][oracle]") {
  for (const Index c : {5, 17}) {
    const std::vector<Index> levels{1, 2};
    REQUIRE(any_misaligned_difference<TestType>(Pyramid(levels), pyramid_oracle(levels, false), c, 0) == "");
    REQUIRE(any_misaligned_difference<TestType>(Pyramid(levels, Pyramid::max), pyramid_oracle(levels, true), c,
                                                0) == "");
    REQUIRE(any_misaligned_difference<TestType>(ph::AdaptiveMaxPool(2, 3), GridOracle{{{2, 3}}, true}, c, 0) ==
            "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("bins of maps beyond the caches are those of their samples", "[pool][oracle]",
                           (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  for (const auto mode : {Pyramid::average, Pyramid::max})
    REQUIRE(far_difference<TestType>(Pyramid({1, 2, 4}, mode)) == "");
}

TEMPLATE_TEST_CASE("averages of bins of a million positions", "[pool][accuracy]", Nchw<float>, Nhwc<float>,
                   Nhwc<Eigen::bfloat16>, Nchw<double>) {
  using T = typename TestType::Scalar;
  const std::vector<Index> levels{2, 3};
  const auto check = [&](auto generator) {
    CHECK(forward_difference(Pyramid(levels), pyramid_oracle(levels, false), Map<TestType>(large, generator)) ==
          "");
  };
  check(noise(1));
  check(noise(2, 1e4));
  check(denormals<T>(3));
  if (sizeof(T) > 2) check(wide_range(4));
}
