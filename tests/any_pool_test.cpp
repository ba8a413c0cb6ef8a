// AnyPool, the pool chosen by name: the same bits as the pool that the name stands for.
#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/message.hpp"
#include "support/pool_check.hpp"

#include <set>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

static_assert(ph::Pool<ph::AnyPool<float>>);
static_assert(ph::Pool<ph::AnyPool<Eigen::bfloat16>>);

namespace {

constexpr Index channels = 32;
const Extents extents{2, channels, 5, 6};

template <class Pool>
std::string names_of(const Pool& pool) {
  std::string names;
  ph::visit_parameters(pool, [&](std::string_view name, auto values) {
    names.append(name).append(" ").append(std::to_string(values.size())).append(" ");
  });
  return names;
}

/// What differs between the pool of this name and the static one.
template <class Type, class Pool>
std::string difference(std::string_view text, const Pool& pool) {
  using T = typename Type::Scalar;
  const ph::AnyPool<T> any(text, channels);
  if (any.features(channels) != pool.features(channels)) return "features";
  if (names_of(any) != names_of(pool)) return "names: " + names_of(any) + "instead of " + names_of(pool);
  if (!same_bits(parameters_of<T>(any), parameters_of<T>(pool))) return "first parameters";
  const Map<Type> x(extents, noise(1, 1));
  const RowTensor<T> dy = noise_rows<T>(pool, extents);
  const PoolRun expected(pool, x, dy);
  const PoolRun run(any, x, dy);
  if (!same_bits(run.y, expected.y)) return "y";
  if (!same_bits<RowTensor<T>>(any(x.view()), expected.y)) return "inference";
  if (!same_bits(run.dx.values, expected.dx.values)) return "dx";
  if (!same_bits(run.parameters(), expected.parameters())) return "gradients of parameters";
  return {};
}

/// A default pool of every name, or options that it needs.
std::string usable(std::string_view name) {
  return std::string(name) + (name.substr(0, 8) == "adaptive" ? ":2,3" : "");
}

}  // namespace

TEST_CASE("every name constructs, has features and runs", "[any_pool]") {
  std::set<std::string> names;
  const Map<Nchw<float>> x(extents, noise(2, 1));
  for (const ph::PoolName& name : ph::pool_names()) {
    CAPTURE(std::string(name.name));
    names.insert(std::string(name.name));
    const ph::AnyPool<float> pool(usable(name.name), channels);
    CHECK(pool.heads.size() == 1);
    const PoolRun run(pool, x, noise_rows<float>(pool, extents));
    for (Index i = 0; i < run.y.size(); ++i) REQUIRE(std::isfinite(run.y.data()[i]));
    for (const float d : run.dx.values) REQUIRE(std::isfinite(d));
  }
  CHECK(names == std::set<std::string>{"avg", "max", "avgmax", "lp", "gem", "lse", "soft", "spp", "spp-max",
                                       "adaptive-avg", "adaptive-max", "softmax-attention",
                                       "sigmoid-attention"});
}

TEMPLATE_PRODUCT_TEST_CASE("a name gives the bits of its pool", "[any_pool]", (Nchw, Nhwc), (float)) {
  using T = typename TestType::Scalar;
  const auto check = [](std::string_view text, const auto& pool) {
    CAPTURE(std::string(text));
    CHECK(difference<TestType>(text, pool) == "");
  };
  check("avg", ph::GlobalAveragePool{});
  check("max", ph::GlobalMaxPool{});
  check("avgmax", ph::AverageMaxPool{});
  check("lp", ph::GlobalLpPool(2));
  check("lp:3.5", ph::GlobalLpPool(3.5));
  check("gem", ph::GeneralizedMeanPool<T>(T(3)));
  check("gem:2.5", ph::GeneralizedMeanPool<T>(T(2.5)));
  check("gem:3,channels", ph::GeneralizedMeanPool<T>(channels, T(3)));
  check("lse", ph::LogSumExpPool<T>(T(1)));
  check("lse:0.5", ph::LogSumExpPool<T>(T(0.5)));
  check("soft", ph::SoftPool{});
  check("spp", ph::SpatialPyramidPool({1, 2, 4}));
  check("spp:3,2", ph::SpatialPyramidPool({3, 2}));
  check("spp-max", ph::SpatialPyramidPool({1, 2, 4}, ph::SpatialPyramidPool::max));
  check("spp-max:5", ph::SpatialPyramidPool({5}, ph::SpatialPyramidPool::max));
  check("adaptive-avg:2,3", ph::AdaptiveAveragePool(2, 3));
  check("adaptive-max:3,2", ph::AdaptiveMaxPool(3, 2));
  check("softmax-attention", ph::AttentionPool<T>(channels, 2));
  check("softmax-attention:5", ph::AttentionPool<T>(channels, 5));
  check("sigmoid-attention", ph::AttentionPool<T>(channels, 2, ph::AttentionPool<T>::sigmoid));
  check("sigmoid-attention:3", ph::AttentionPool<T>(channels, 3, ph::AttentionPool<T>::sigmoid));
}

TEMPLATE_PRODUCT_TEST_CASE("names of 16-bit and double pools", "[any_pool]", (Nchw),
                           (double, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  CHECK(difference<TestType>("gem:2.5", ph::GeneralizedMeanPool<T>(narrow<T>(2.5))) == "");
  CHECK(difference<TestType>("max", ph::GlobalMaxPool{}) == "");
  CHECK(difference<TestType>("sigmoid-attention:3",
                             ph::AttentionPool<T>(channels, 3, ph::AttentionPool<T>::sigmoid)) == "");
}

namespace {

bool are_close(const auto& a, const auto& b) {
  if (a.size() != b.size()) return false;
  for (Index i = 0; i < static_cast<Index>(a.size()); ++i)
    if (!(std::abs(a.data()[i] - b.data()[i]) <= 4 * 1.2e-7f * (1 + std::abs(b.data()[i])))) return false;
  return true;
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("joined names are their concat", "[any_pool]", (Nchw, Nhwc), (float)) {
  using T = typename TestType::Scalar;
  const ph::AnyPool<T> any("avg+gem:3,channels+spp-max:1,2+softmax-attention:3+lse:2", channels, 9);
  const auto pool = ph::concat(ph::GlobalAveragePool{}, ph::GeneralizedMeanPool<T>(channels, T(3)),
                               ph::SpatialPyramidPool({1, 2}, ph::SpatialPyramidPool::max),
                               ph::AttentionPool<T>(channels, 3, ph::AttentionPool<T>::softmax, 9 + 3),
                               ph::LogSumExpPool<T>(T(2)));
  REQUIRE(any.features(channels) == pool.features(channels));
  CHECK(names_of(any) == names_of(pool));
  CHECK(same_bits(parameters_of<T>(any), parameters_of<T>(pool)));
  const Map<TestType> x(extents, noise(3, 1));
  const RowTensor<T> dy = noise_rows<T>(pool, extents);
  const PoolRun expected(pool, x, dy);
  const PoolRun run(any, x, dy);
  CHECK(are_close(run.y, expected.y));
  CHECK(are_close(run.dx.values, expected.dx.values));
  CHECK(are_close(run.parameters(), expected.parameters()));
  // The maximum exactly.
  for (Index j = 0; j < 5 * channels; ++j)
    REQUIRE(run.y(1, 2 * channels + j) == expected.y(1, 2 * channels + j));

  // Twice the same head, and threads.
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice device(&threads, 3);
  const ph::AnyPool<T> twice("gem+gem+softmax-attention", channels);
  const Map<TestType> large({6, channels, 60, 61}, noise(4, 1));
  const RowTensor<T> large_dy = noise_rows<T>(twice, large.extents);
  const PoolRun serial(twice, large, large_dy), threaded(twice, large, large_dy, device);
  CHECK(same_bits(threaded.y, serial.y));
  CHECK(same_bits(threaded.dx.values, serial.dx.values));
  CHECK(same_bits(threaded.parameters(), serial.parameters()));
  for (Index c = 0; c < channels; ++c) REQUIRE(serial.y(0, c) == serial.y(0, channels + c));
}

TEST_CASE("inside a concat, heads by name add to the gradient of the others", "[any_pool]") {
  using Type = Nchw<float>;
  const Map<Type> x(extents, noise(5, 1));
  const auto heads = ph::concat(ph::GlobalMaxPool{}, ph::AnyPool<float>("max+avg"), ph::GlobalAveragePool{});
  const auto plain =
      ph::concat(ph::GlobalMaxPool{}, ph::GlobalMaxPool{}, ph::GlobalAveragePool{}, ph::GlobalAveragePool{});
  const RowTensor<float> dy = noise_rows<float>(plain, extents);
  const PoolRun run(heads, x, dy);
  const PoolRun expected(plain, x, dy);
  // Tiny planes are turned where heads share a walk, and not for an average alone: it is rounded otherwise.
  CHECK(are_close(run.y, expected.y));
  for (Index n = 0; n < extents.n; ++n)
    for (Index j = 0; j < 2 * channels; ++j) REQUIRE(run.y(n, j) == expected.y(n, j));  // maxima
  for (std::size_t i = 0; i < run.dx.values.size(); ++i)
    REQUIRE(std::abs(run.dx.values[i] - expected.dx.values[i]) <= 1e-6f);
}

TEST_CASE("an AnyPool is a value", "[any_pool]") {
  ph::AnyPool<float> pool("avg+gem:2+softmax-attention:2", channels);
  ph::AnyPool<float> copy = pool;
  std::get<ph::GeneralizedMeanPool<float>>(copy.heads[1]).p(0) = 4.0f;
  CHECK(std::get<ph::GeneralizedMeanPool<float>>(pool.heads[1]).p(0) == 2.0f);
  const auto zero = ph::zeros_like(pool);
  CHECK(names_of(zero) == names_of(pool));
  for (const float value : parameters_of<float>(zero)) CHECK(value == 0.0f);
  CHECK(ph::parameter_count(pool) == 1 + 2 * channels + 2 + 2 + 1);
  // Parameters written by a walk are those that forward uses.
  ph::visit_parameters(pool, [](std::string_view name, auto values) {
    if (name == "1.p") values[0] = 4.0f;
  });
  const Map<Nchw<float>> x(extents, noise(6, 1));
  CHECK(same_bits<RowTensor<float>>(pool(x.view()), copy(x.view())));
  int together = 0;
  ph::visit_parameters_together([&](std::string_view, auto a, auto b) { together += a.size() == b.size(); },
                                pool, copy);
  CHECK(together == 5);
  copy = ph::AnyPool<float>("max");
  CHECK(copy.features(7) == 7);
}

TEST_CASE("what AnyPool refuses, and what it says", "[any_pool][error]") {
  const auto message = [](std::string_view text, Index count = channels) {
    return message_of<ph::ValueError>([&] { ph::AnyPool<float>(text, count); });
  };
  for (const char* text : {"unknown", "", "avg+", "+avg", "avg++max", "Avg", "avg ", "gem3"}) {
    CAPTURE(text);
    const std::string said = message(text);
    CHECK_THAT(said, Catch::Matchers::ContainsSubstring("AnyPool: there is no pool \""));
    for (const ph::PoolName& name : ph::pool_names())
      CHECK_THAT(said, Catch::Matchers::ContainsSubstring(std::string(name.name)));
  }
  CHECK(message("unknown") ==
        "AnyPool: there is no pool \"unknown\", expected one of avg, max, avgmax, lp, gem, lse, soft, spp, "
        "spp-max, adaptive-avg, adaptive-max, softmax-attention, sigmoid-attention, or several joined by +");
  CHECK(message("avg:1") == "AnyPool: \"avg:1\" has 1 options, expected 0 to 0");
  CHECK(message("avg:") == "AnyPool: \"avg:\" has 1 options, expected 0 to 0");
  CHECK(message("lp:1,2") == "AnyPool: \"lp:1,2\" has 2 options, expected 0 to 1");
  CHECK(message("lp:x") == "AnyPool: \"x\" in \"lp:x\" is no number");
  CHECK(message("lp:2x") == "AnyPool: \"2x\" in \"lp:2x\" is no number");
  CHECK(message("lp:") == "AnyPool: \"\" in \"lp:\" is no number");
  CHECK(message("spp:1,2.5") == "AnyPool: \"2.5\" in \"spp:1,2.5\" is no whole number");
  CHECK(message("spp:99999999999999999999") ==
        "AnyPool: \"99999999999999999999\" in \"spp:99999999999999999999\" is no whole number");
  CHECK(message("adaptive-avg") == "AnyPool: \"adaptive-avg\" has 0 options, expected 2 to 2");
  CHECK(message("adaptive-max:3") == "AnyPool: \"adaptive-max:3\" has 1 options, expected 2 to 2");
  CHECK(message("gem:3,channel") == "AnyPool: gem's second option is \"channel\", expected \"channels\"");
  CHECK(message("gem:3,channels", 0) ==
        "AnyPool: \"gem:3,channels\" needs the number of channels: AnyPool(\"gem:3,channels\", channels)");
  CHECK(
      message("avg+sigmoid-attention", 0) ==
      "AnyPool: \"sigmoid-attention\" needs the number of channels: AnyPool(\"sigmoid-attention\", channels)");
  // The pools' own checks.
  CHECK(message("lp:0.5") == "GlobalLpPool: p is 0.5, expected a finite number from 1 on");
  for (const char* text : {"gem:0", "gem:-1", "gem:nan", "gem:inf", "lse:0", "lp:inf", "spp:0", "spp:1,-2",
                           "adaptive-avg:0,1", "adaptive-max:1,-1"})
    CHECK_THROWS_AS(ph::AnyPool<float>(text), ph::ValueError);
  CHECK_THROWS_AS(ph::AnyPool<float>("softmax-attention:0", channels), ph::ShapeError);
}

TEST_CASE("an AnyPool's cache serves no other pool", "[any_pool][error]") {
  const Map<Nchw<float>> x(extents, noise(7, 1));
  const ph::AnyPool<float> max("max"), average("avg"), two("max+max");
  RowTensor<float> y(2, channels), wide(2, 2 * channels);
  y.setConstant(-77);
  auto cache = max.make_cache(x.view());
  const auto message = [](auto call) { return message_of<ph::ValueError>(call); };
  CHECK(message([&] { average.forward(x.view(), y, cache); }) ==
        "AnyPool::forward: the cache was made for other heads");
  CHECK(message([&] { two.forward(x.view(), wide, cache); }) ==
        "AnyPool::forward: the cache was made for other heads");
  CHECK(y(0, 0) == -77.0f);
  max.forward(x.view(), y, cache);
  Map<Nchw<float>> dx(extents, constant(-77));
  auto gradient = ph::zeros_like(average);
  CHECK(message([&] { average.backward(x.view(), y, y, dx.view(), cache, gradient); }) ==
        "AnyPool::backward: the cache was made for other heads");
  auto own = ph::zeros_like(max);
  auto fresh = max.make_cache(x.view());
  CHECK(message([&] { max.backward(x.view(), y, y, dx.view(), fresh, own); }) ==
        "AnyPool::backward: the cache is empty, expected one that forward has filled");
  std::get<ph::GlobalMaxPool::Cache<float>>(cache.heads[0]).argmax(0, 0) = 30;
  CHECK_THROWS_AS(max.backward(x.view(), y, y, dx.view(), cache, own), ph::ValueError);
  CHECK(dx.values[0] == -77.0f);
  auto other = max.make_cache(Map<Nchw<float>>({2, channels, 6, 5}).view());
  CHECK_THROWS_AS(max.forward(x.view(), y, other), ph::ShapeError);
}

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of a pool by name", "[any_pool][jacobian]", (Nchw, Nhwc), (double)) {
  for (const char* text : {"avg", "gem:2.5,channels", "avg+gem+softmax-attention:2+spp:1,2", "lse:2+max"}) {
    CAPTURE(text);
    const Extents e{2, 3, 3, 4};
    ph::AnyPool<double> pool(text, e.c, 1);
    Map<TestType> x(e, noise(8, 2));
    Map<TestType> dx(e);
    RowTensor<double> y(e.n, pool.features(e.c));
    auto cache = pool.make_cache(x.view());
    const auto forward = [&] {
      pool.forward(x.view(), y, cache);
      return std::vector<double>(y.data(), y.data() + y.size());
    };
    const auto backward = [&](const std::vector<double>& dy) {
      const Eigen::TensorMap<const RowTensor<double>> rows(dy.data(), y.dimension(0), y.dimension(1));
      auto gradient = ph::zeros_like(pool);
      pool.backward(x.view(), y, rows, dx.view(), cache, gradient);
      return gradient;
    };
    CHECK(jacobian_error(x.values, forward, [&](const std::vector<double>& dy) {
            backward(dy);
            return dx.values;
          }) <= 1e-6);
    ph::visit_parameters(pool, [&](std::string_view name, auto values) {
      CAPTURE(std::string(name));
      CHECK(jacobian_error(std::span<double>(values.data(), values.size()), forward,
                           [&](const std::vector<double>& dy) {
                             const auto gradient = backward(dy);
                             std::vector<double> own;
                             ph::visit_parameters(gradient, [&](std::string_view other, auto numbers) {
                               if (other == name) own.assign(numbers.begin(), numbers.end());
                             });
                             return own;
                           }) <= 1e-6);
    });
  }
}

TEST_CASE("an AnyPool takes a mask where all its heads do", "[any_pool]") {
  const Map<Nchw<float>> x(extents, noise(9, 1));
  RowTensor<bool> mask(2, 30);
  for (Index i = 0; i < 60; ++i) mask.data()[i] = i % 3 != 1;
  const ph::AnyPool<float> any("avg+gem:2.5+softmax-attention", channels);
  const auto pool = ph::concat(ph::GlobalAveragePool{}, ph::GeneralizedMeanPool<float>(2.5f),
                               ph::AttentionPool<float>(channels, 2, ph::AttentionPool<float>::softmax, 2));
  const RowTensor<float> a = any(ph::masked(x.view(), mask)), b = pool(ph::masked(x.view(), mask));
  for (Index i = 0; i < a.size(); ++i) CHECK(a.data()[i] == Approx(b.data()[i]).epsilon(1e-6));
  const ph::AnyPool<float> bins("avg+spp");
  CHECK(message_of<ph::ValueError>([&] { bins(ph::masked(x.view(), mask)); }) ==
        "AnyPool: SpatialPyramidPool takes no mask");
  RowTensor<float> y(2, bins.features(channels));
  y.setConstant(-77);
  CHECK_THROWS_AS(bins.forward(ph::masked(x.view(), mask), y), ph::ValueError);
  CHECK(y(0, 0) == -77.0f);
}
