// AttentionPool against the oracle: every size, both weightings, scores of any size.
#include <poolhead/pool/attention.hpp>

#include "support/accuracy.hpp"
#include "support/catch.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

/// A pool with biases, too.
template <class T>
ph::AttentionPool<T> attention(Index channels, Index hidden, typename ph::AttentionPool<T>::Kind kind) {
  ph::AttentionPool<T> pool(channels, hidden, kind, 5);
  for (Index j = 0; j < hidden; ++j) pool.hidden.bias(j) = narrow<T>(noise(1, 0.1, 0.5)(0, 0, j));
  pool.score.bias(0) = narrow<T>(0.25);
  return pool;
}

template <class T>
constexpr auto kinds = {ph::AttentionPool<T>::softmax, ph::AttentionPool<T>::sigmoid};

template <class T, class Type>
std::string attention_difference(const ph::AttentionPool<T>& pool, const Map<Type>& x, double scale = 1) {
  return pool_difference(pool, AttentionOracle(pool), x, scale);
}

}  // namespace

#define POOL_TEST(name, tags) \
  TEMPLATE_PRODUCT_TEST_CASE(name, tags, (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16))

POOL_TEST("attention is right for every number of channels and positions", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  sweep([](const Extents& e) {
    const Map<TestType> x(e, noise(2));
    for (const auto kind : kinds<T>) REQUIRE(attention_difference(attention<T>(e.c, 3, kind), x) == "");
  });
}

POOL_TEST("attention of any number of hidden channels, over more positions than fit one tile",
          "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const Map<TestType> x({2, 6, 1, 150}, noise(3));
  for (const Index hidden : {1, 2, 4, 7, 8, 9, 17, 33})
    for (const auto kind : kinds<T>) REQUIRE(attention_difference(attention<T>(6, hidden, kind), x) == "");
  // Many channels: tiles of few positions. A batch of more samples than blocks.
  const Map<TestType> wide({1, 1100, 1, 41}, noise(4));
  const Map<TestType> batch({19, 4, 1, 5}, noise(5));
  for (const auto kind : kinds<T>) {
    REQUIRE(attention_difference(attention<T>(1100, 2, kind), wide) == "");
    REQUIRE(attention_difference(attention<T>(4, 3, kind), batch) == "");
  }
}

POOL_TEST("the gradient of hidden weights over more tiles than are added up at a time", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const Map<TestType> x({1, 5, 1, 1300}, noise(13));
  for (const Index hidden : {2, 10})
    for (const auto kind : kinds<T>) REQUIRE(attention_difference(attention<T>(5, hidden, kind), x) == "");
}

POOL_TEST("the gradient of many hidden weights, which comes in parts of the channels", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const Map<TestType> x({3, 1003, 3, 3}, noise(12));
  for (const auto kind : kinds<T>) REQUIRE(attention_difference(attention<T>(1003, 33, kind), x) == "");
}

POOL_TEST("scores of any size give a weighted mean", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{2, 5, 1, 7}, {1, 4, 1, 130}})
    for (const auto kind : kinds<T>) {
      const Map<TestType> x(e, noise(6));
      // A double's own scores of 2000 are no better than 2^-42.
      const double factor = sizeof(T) == 8 ? 1 : 10;
      for (const double bias : {-200.0, 200.0, -200.0 * factor, 200.0 * factor, 0.0}) {
        CAPTURE(e, bias, kind);
        auto pool = attention<T>(e.c, 3, kind);
        pool.score.bias(0) = narrow<T>(bias);
        REQUIRE(attention_difference(pool, x) == "");
        // All scores alike: the average.
        pool.score.weight.setZero();
        REQUIRE(attention_difference(pool, x) == "");
        const RowTensor<T> y = pool(x.view());
        const auto mean = AverageOracle{}.forward(planes_of(x));
        for (Index c = 0; c < e.c; ++c) REQUIRE(is_within(y(0, c), mean(0, c), smooth_bound<T>(mean(0, c))));
      }
      // Scores far apart: one position takes all; the largest score comes late, early, twice.
      for (const double spread : {30.0, 30.0 * factor}) {
        auto pool = attention<T>(e.c, 3, kind);
        for (Index j = 0; j < 3; ++j) pool.score.weight(0, j) = narrow<T>(j == 1 ? -spread : spread);
        CAPTURE(e, spread, kind);
        // Gradients that cancel to nothing hold the doubles' noise, which goes with the scores.
        const double noise_scale = sizeof(T) == 2 ? 16 : 1;
        REQUIRE(attention_difference(pool, x, noise_scale) == "");
        REQUIRE(attention_difference(pool,
                                     Map<TestType>(e,
                                                   [&](Index n, Index c, Index s) {
                                                     return noise(7)(n, c, s / 2) + static_cast<double>(s) / 64;
                                                   }),
                                     noise_scale) == "");
        REQUIRE(attention_difference(
                    pool,
                    Map<TestType>(e, [&](Index n, Index c,
                                         Index s) { return noise(8)(n, c, s) - static_cast<double>(s) / 64; }),
                    noise_scale) == "");
      }
    }
}

TEMPLATE_TEST_CASE("small scores and large ones are as exact", "[pool][oracle]", Nchw<float>, Nhwc<float>) {
  // What float products lose of a score goes with its size, and so does what y loses.
  const auto hidden = GENERATE(Index{12}, Index{20});
  for (const double size : {1.0, 10.0})
    for (const float gain : {1.0F, 4.0F, 16.0F, 64.0F})
      for (const auto kind : kinds<float>) {
        CAPTURE(hidden, size, gain, kind);
        const Map<TestType> x({2, 96, 7, 7}, noise(10, 0, size));
        auto pool = attention<float>(96, hidden, kind);
        for (Index j = 0; j < hidden; ++j) pool.score.weight(0, j) *= gain;
        const RowTensor<float> y = pool(x.view());
        const auto expected = AttentionOracle(pool).forward(planes_of(x));
        for (Index n = 0; n < 2; ++n)
          for (Index c = 0; c < 96; ++c)
            REQUIRE(is_within(y(n, c), expected(n, c), smooth_bound<float>(expected(n, c))));
      }
}

TEMPLATE_TEST_CASE("large positions are found wherever they stand", "[pool][oracle]", Nchw<float>,
                   Nhwc<float>) {
  // Two of them, whose scores are about as large, as half of their channels weigh nothing, and are as unlike as
  // can be.
  for (const Index positions : {50, 13, 150})
    for (const Index at : {Index{0}, Index{5}, positions - 2})
      for (const Index hidden : {3, 12, 20}) {
        CAPTURE(positions, at, hidden);
        auto pool = attention<float>(96, hidden, ph::AttentionPool<float>::softmax);
        for (Index j = 0; j < hidden; ++j) {
          for (Index c = 48; c < 96; ++c) pool.hidden.weight(j, c) = 0;
          pool.score.weight(0, j) = std::abs(pool.score.weight(0, j));
        }
        const Map<TestType> x({1, 96, 1, positions}, [&](Index n, Index c, Index s) {
          if (s != at && s != at + 1) return 0.1 * noise(20)(n, c, s);
          return c < 48 ? 1000 * noise(20)(n, c, at) + 0.02 * noise(21)(n, c, s) : 1000 * noise(20)(n, c, s);
        });
        const RowTensor<float> y = pool(x.view());
        const auto expected = AttentionOracle(pool).forward(planes_of(x));
        for (Index c = 0; c < 96; ++c)
          REQUIRE(is_within(y(0, c), expected(0, c), smooth_bound<float>(expected(0, c))));
      }
}

TEMPLATE_TEST_CASE("gradients of 16-bit maps keep what is left of terms that cancel", "[pool][oracle]",
                   Nchw<Eigen::bfloat16>, Nhwc<Eigen::bfloat16>) {
  using T = typename TestType::Scalar;
  const Map<TestType> x({2, 512, 14, 14}, noise(11));
  REQUIRE(attention_difference(ph::AttentionPool<T>(512, 32), x) == "");
}

POOL_TEST("positions that no hidden channel answers to have no slope", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const auto kind : kinds<T>) {
    auto pool = attention<T>(5, 4, kind);
    pool.hidden.bias.setConstant(narrow<T>(-64));
    const Map<TestType> x({2, 5, 1, 9}, noise(9));
    REQUIRE(attention_difference(pool, x) == "");
    const PoolRun run(pool, x, noise_rows<T>(pool, x.extents));
    for (Index i = 0; i < run.gradient.hidden.weight.size(); ++i)
      REQUIRE(run.gradient.hidden.weight.data()[i] == T(0));
    // relu'(0) is 0: here the activations are exactly 0.
    pool.hidden.bias.setZero();
    const Map<TestType> zeros({2, 5, 1, 9}, constant(0));
    REQUIRE(attention_difference(pool, zeros) == "");
    // Some on, some off.
    pool.hidden.bias(0) = narrow<T>(8);
    REQUIRE(attention_difference(pool, x) == "");
  }
}

POOL_TEST("the largest numbers have a mean", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  const auto largest = static_cast<double>(std::numeric_limits<T>::max());
  for (const auto kind : kinds<T>) {
    auto pool = attention<T>(5, 3, kind);
    pool.hidden.weight.setZero();
    const Map<TestType> x({1, 5, 1, 6},
                          [=](Index, Index c, Index s) { return (s % 2 == c % 2 ? 1 : -1) * largest / 8; });
    REQUIRE(forward_difference(pool, AttentionOracle(pool), x) == "");
  }
}

POOL_TEST("a NaN stays in its sample and is never hidden by attention", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Extents& e : {Extents{3, 5, 1, 21}, {2, 9, 1, 70}})
    for (const auto kind : kinds<T>)
      REQUIRE(nan_difference(attention<T>(e.c, 3, kind), Map<TestType>(e, noise(10)), true) == "");
  // Not even where every activation would be 0.
  auto pool = attention<T>(5, 3, ph::AttentionPool<T>::softmax);
  pool.hidden.bias.setConstant(narrow<T>(-64));
  REQUIRE(nan_difference(pool, Map<TestType>({2, 5, 1, 9}, noise(11)), true) == "");
}

POOL_TEST("attention at any alignment, within its bounds", "[pool][oracle]") {
  using T = typename TestType::Scalar;
  for (const Index c : {5, 17}) {
    const auto pool = attention<T>(c, 3, ph::AttentionPool<T>::sigmoid);
    REQUIRE(any_misaligned_difference<TestType>(pool, AttentionOracle(pool), c, 0) == "");
  }
}

TEST_CASE("attention starts at Xavier's values of its seed, biases at 0", "[pool][oracle]") {
  const ph::AttentionPool<float> pool(64, 16, ph::AttentionPool<float>::softmax, 3);
  const double bound = std::sqrt(6.0 / 80), score_bound = std::sqrt(6.0 / 17);
  double square = 0;
  for (Index i = 0; i < 64 * 16; ++i) {
    const auto w = static_cast<double>(pool.hidden.weight.data()[i]);
    REQUIRE(std::abs(w) <= bound);
    square += w * w;
  }
  CHECK(square / 1024 == Approx(bound * bound / 3).epsilon(0.1));
  for (Index j = 0; j < 16; ++j) {
    CHECK(std::abs(static_cast<double>(pool.score.weight(0, j))) <= score_bound);
    CHECK(pool.hidden.bias(j) == 0.0f);
  }
  CHECK(pool.score.bias(0) == 0.0f);
  const ph::AttentionPool<float> same(64, 16, ph::AttentionPool<float>::sigmoid, 3), other(64, 16);
  CHECK(same_bits(parameters_of<float>(same), parameters_of<float>(pool)));
  CHECK_FALSE(same_bits(parameters_of<float>(other), parameters_of<float>(pool)));
}

TEMPLATE_TEST_CASE("attention over a million positions", "[pool][accuracy]", Nchw<float>, Nhwc<float>) {
  using Attention = ph::AttentionPool<float>;
  for (const auto kind : {Attention::softmax, Attention::sigmoid}) {
    const Attention pool(2, 2, kind, 1);
    const Extents two{1, 2, 1000, 1000};
    CHECK(plane_difference(pool, AttentionOracle(pool), Map<TestType>(two, noise(18, 0, 50)), 50) == "");
    CHECK(plane_difference(pool, AttentionOracle(pool), Map<TestType>(two, noise(19, 1e4)), 1e4) == "");
  }
}
