// Many heads in one pass, and maps of ranks 3 and 5.
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

template <class T>
ph::GeneralizedMeanPool<T> gem_of_channels(Index channels) {
  ph::GeneralizedMeanPool<T> pool(channels, T(3));
  for (Index c = 0; c < channels; ++c) pool.p(c) = narrow<T>(2 + 0.25 * static_cast<double>(c % 7));
  return pool;
}
template <class T>
GeneralizedMeanOracle oracle_of(const ph::GeneralizedMeanPool<T>& pool) {
  GeneralizedMeanOracle oracle{{}, widen<double>(pool.eps)};
  for (Index c = 0; c < pool.p.size(); ++c) oracle.p.push_back(widen<double>(pool.p(c)));
  return oracle;
}

const std::vector<Index> levels{1, 2, 4};

/// One head of every kind there is.
template <class T>
auto everything(Index channels) {
  return ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, gem_of_channels<T>(channels),
                    ph::SpatialPyramidPool(levels), ph::LogSumExpPool<T>(T(2)), ph::SoftPool{},
                    ph::SpatialPyramidPool({1, 3}, ph::SpatialPyramidPool::max), ph::GlobalLpPool(3.5),
                    ph::AttentionPool<T>(channels, 3), ph::AverageMaxPool{}, ph::AdaptiveAveragePool(2, 3),
                    ph::AttentionPool<T>(channels, 2, ph::AttentionPool<T>::sigmoid, 1));
}
template <class Heads>
auto oracle_of_everything(const Heads& heads) {
  return ConcatOracle(AverageOracle{}, MaxOracle{}, oracle_of(std::get<2>(heads.heads)),
                      pyramid_oracle(levels, false), LogSumExpOracle(2), SoftOracle{},
                      pyramid_oracle({1, 3}, true), LpOracle(3.5), AttentionOracle(std::get<8>(heads.heads)),
                      AverageMaxOracle{}, GridOracle{{{2, 3}}, false},
                      AttentionOracle(std::get<11>(heads.heads)));
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("every head in one pass is right", "[pool][oracle][concat]", (Nchw, Nhwc), (float)) {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 5, 4, 7}, {1, 17, 5, 3}, {1, 9, 1, 1}, {3, 2, 8, 9}, {1, 40, 3, 4}}) {
    const auto heads = everything<T>(e.c);
    REQUIRE(pool_difference(heads, oracle_of_everything(heads), Map<TestType>(e, noise(1))) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("heads of 16-bit maps in one pass", "[pool][oracle][concat]", (Nchw, Nhwc),
                           (Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 5, 4, 7}, {1, 17, 5, 3}}) {
    const auto gem = gem_of_channels<T>(e.c);
    const ph::AttentionPool<T> attention(e.c, 3);
    const auto heads = ph::concat(ph::GlobalAveragePool{}, gem, ph::SpatialPyramidPool(levels), attention);
    const ConcatOracle oracle(AverageOracle{}, oracle_of(gem), pyramid_oracle(levels, false),
                              AttentionOracle(attention));
    REQUIRE(pool_difference(heads, oracle, Map<TestType>(e, noise(9))) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("heads without bins on long planes", "[pool][oracle][concat]", (Nchw, Nhwc),
                           (float)) {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 9, 9, 15}, {1, 3, 11, 12}}) {
    const auto gem = gem_of_channels<T>(e.c);
    const ph::AttentionPool<T> attention(e.c, 3);
    const auto heads = ph::concat(ph::GlobalMaxPool{}, gem, ph::LogSumExpPool<T>(T(2)), attention);
    const ConcatOracle oracle(MaxOracle{}, oracle_of(gem), LogSumExpOracle(2), AttentionOracle(attention));
    REQUIRE(pool_difference(heads, oracle, Map<TestType>(e, noise(10))) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("fused heads equal the heads one by one", "[pool][oracle][concat]", (Nchw, Nhwc),
                           (float)) {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 19, 5, 7}, {1, 70, 3, 3}}) {
    const Map<TestType> x(e, noise(2));
    const auto heads = everything<T>(e.c);
    const PoolRun fused(heads, x, noise_rows<T>(heads, e));
    const RowTensor<T> dy = noise_rows<T>(heads, e);
    Planes<double> dx(e), magnitude(e);
    std::vector<T> parameters;
    Index first = 0;
    const auto one = [&](const auto& head) {
      RowTensor<T> own(e.n, head.features(e.c));
      for (Index n = 0; n < e.n; ++n)
        for (Index j = 0; j < own.dimension(1); ++j) own(n, j) = dy(n, first + j);
      const PoolRun alone(head, x, own);
      constexpr bool is_max = std::is_same_v<std::remove_cvref_t<decltype(head)>, ph::GlobalMaxPool>;
      for (Index n = 0; n < e.n; ++n)
        for (Index j = 0; j < own.dimension(1); ++j) {
          const T a = alone.y(n, j), b = fused.y(n, first + j);
          if (is_max)
            REQUIRE(a == b);
          else
            REQUIRE(std::abs(a - b) <= 4 * std::numeric_limits<T>::epsilon() * (1 + std::abs(a)));
        }
      if constexpr (is_max) REQUIRE(same_bits(alone.cache.argmax, std::get<1>(fused.cache.heads).argmax));
      const auto part = planes_of(alone.dx);
      for (std::size_t i = 0; i < part.values.size(); ++i) {
        dx.values[i] += part.values[i];
        magnitude.values[i] += std::abs(part.values[i]);
      }
      const std::vector<T> gradient = alone.parameters();
      parameters.insert(parameters.end(), gradient.begin(), gradient.end());
      first += own.dimension(1);
    };
    std::apply([&](const auto&... head) { (one(head), ...); }, heads.heads);
    REQUIRE(gradient_difference<T>(planes_of(fused.dx), dx, magnitude) == "");
    const std::vector<T> together = fused.parameters();
    REQUIRE(together.size() == parameters.size());
    for (std::size_t i = 0; i < together.size(); ++i) REQUIRE(std::abs(together[i] - parameters[i]) <= 1e-5f);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("parameters of heads are named by index, and gradients add up", "[pool][concat]",
                           (Nchw), (float)) {
  using T = typename TestType::Scalar;
  const auto heads = everything<T>(5);
  std::string names;
  ph::visit_parameters(heads, [&](std::string_view name, auto) { names.append(name).append(" "); });
  CHECK(names ==
        "2.p 4.r 8.hidden.weight 8.hidden.bias 8.score.weight 8.score.bias 11.hidden.weight 11.hidden.bias "
        "11.score.weight 11.score.bias ");

  // backward adds into the gradient, and overwrites dx.
  const Map<TestType> x({2, 5, 4, 7}, noise(3));
  const RowTensor<T> dy = noise_rows<T>(heads, x.extents);
  const PoolRun run(heads, x, dy);
  auto twice = run.gradient;
  Map<TestType> dx = run.dx;
  heads.backward(x.view(), run.y, dy, dx.view(), run.cache, twice);
  CHECK(same_bits(dx.values, run.dx.values));
  const auto once = run.parameters(), sum = parameters_of<T>(twice);
  for (std::size_t i = 0; i < once.size(); ++i) {
    const double expected = 2 * widen<double>(once[i]);
    REQUIRE(std::abs(widen<double>(sum[i]) - expected) <= 2 * ulp<T>(std::abs(expected)) + 1e-14);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("every pool takes ranks 3 and 5", "[pool][oracle]", (Nchw, Nhwc), (float)) {
  const auto check = [](const auto& pool) {
    const Extents e{2, 5, 4, 30};
    const Map<TestType> x(e, noise(4));
    const RowTensor<float> dy = noise_rows<float>(pool, e);
    const PoolRun flat(pool, x, dy);
    constexpr bool first = std::same_as<typename TestType::Layout, ph::ChannelsFirst>;
    const auto check_shape = [&](int rank, std::array<Index, 3> spatial) {
      ph::FeatureShape shape{.batch = 2, .channels = 5, .spatial = spatial, .rank = rank};
      Map<TestType> dx(e);
      const ph::FeatureMap<const float, typename TestType::Layout> view(x.values.data(), shape);
      const ph::FeatureMap<float, typename TestType::Layout> to(dx.values.data(), shape);
      RowTensor<float> y(dy.dimensions());
      auto cache = pool.make_cache(view);
      auto gradient = ph::zeros_like(pool);
      pool.forward(view, y, cache);
      pool.backward(view, y, dy, to, cache, gradient);
      CHECK(same_bits(y, flat.y));
      CHECK(same_bits(dx.values, flat.dx.values));
      CHECK(same_bits(parameters_of<float>(gradient), flat.parameters()));
    };
    check_shape(3, {1, 1, 120});
    check_shape(5, {4, 5, 6});
    // As users write it.
    const auto rank5 = [&](auto... extents) {
      return Eigen::TensorMap<const Eigen::Tensor<float, 5, Eigen::RowMajor>>(x.values.data(), extents...);
    };
    if constexpr (first)
      CHECK(same_bits<RowTensor<float>>(pool(ph::channels_first(rank5(2, 5, 4, 5, 6))), flat.y));
    else
      CHECK(same_bits<RowTensor<float>>(pool(ph::channels_last(rank5(2, 4, 5, 6, 5))), flat.y));
  };
  check(ph::concat(gem_of_channels<float>(5), ph::LogSumExpPool<float>(2.0f), ph::SoftPool{},
                   ph::GlobalLpPool(2.5), ph::AverageMaxPool{}));
  check(ph::AttentionPool<float>(5, 3));
}

TEST_CASE("bins need two spatial axes", "[pool][oracle]") {
  const Map<Nchw<float>> x({2, 5, 4, 30}, noise(5));
  const Eigen::TensorMap<const Eigen::Tensor<float, 3, Eigen::RowMajor>> rank3(x.values.data(), 2, 5, 120);
  CHECK_THROWS_AS(ph::SpatialPyramidPool({1, 2})(ph::channels_first(rank3)), ph::ShapeError);
  CHECK_THROWS_AS(ph::AdaptiveMaxPool(1, 2)(ph::channels_first(rank3)), ph::ShapeError);
}
