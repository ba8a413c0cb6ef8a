// Inputs that were the proof of a hole in TensorFlow's pools, in the shape that these calls have for them.
#include "support/refusal.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

TEMPLATE_PRODUCT_TEST_CASE("CVE-2021-29579: a max pool's gradient that is empty where y is not",
                           "[refusal][cve]", (Nchw, Nhwc), (float)) {
  // MaxPoolGrad of 1 x 1 x 1 x 1 maps and a gradient of 0 x 0 x 0 x 0 read beyond the gradient's end.
  each_pool([](const auto& given) {
    if constexpr (
        requires { given.hidden; } || requires { given.p.size(); }) {
      return;  // for 8 channels; the next test has them
    } else {
      auto c = make_case<TestType>(given, Extents{1, 1, 1, 1});
      const RowTensor<float> empty(0, 0);
      c.template refuses<ph::ShapeError>(
          c.name + "::backward: dy is [0, 0], expected " + brackets({1, c.features}),
          [&] { c.pool.backward(c.x.view(), c.y, empty, c.dx.view(), c.cache, c.gradient); });
      c.template refuses<ph::ShapeError>(
          c.name + "::backward: y is [0, 0], expected " + brackets({1, c.features}),
          [&] { c.pool.backward(c.x.view(), empty, c.dy, c.dx.view(), c.cache, c.gradient); });
    }
  });
  // The incomplete fix: no positions at all.
  const Map<TestType> x({3, 2, 0, 0});
  CHECK_THROWS_AS(ph::GlobalMaxPool{}.make_cache(x.view()), ph::ShapeError);
}

TEST_CASE("CVE-2022-35959: an average pool's gradient for an input shape that is none", "[refusal][cve]") {
  // AvgPool3DGrad took an input shape of five times -536870912 for a gradient of 1 x 3 x 5 x 4 x 1.
  constexpr Index none = -536870912;
  float memory[60] = {};
  CHECK(message_of<ph::ShapeError>([&] { ph::nchw(memory, none, none, none, none); }) ==
        "nchw: extents are [-536870912, -536870912, -536870912, -536870912], expected none below 0");
  CHECK(message_of<ph::ShapeError>([&] { ph::nhwc(memory, 1, none, 4, 1); }) ==
        "nhwc: extents are [1, -536870912, 4, 1], expected none below 0");
  // A shape that is put together by hand does not get past backward either.
  auto c = make_case<Nchw<float>>(ph::GlobalAveragePool{}, Extents{1, 1, 12, 5});
  ph::FeatureShape forged;
  forged.batch = forged.channels = none;
  forged.spatial = {1, none, none};
  const ph::FeatureMap<float, ph::ChannelsFirst> dx(memory, forged);
  c.refuses<ph::ShapeError>(
      "GlobalAveragePool::backward: dx is [-536870912, -536870912, -536870912, "
      "-536870912], expected [1, 1, 12, 5]",
      [&] { c.pool.backward(c.x.view(), c.y, c.dy, dx, c.cache); });
  const RowTensor<float> dy(1, 60);
  c.refuses<ph::ShapeError>("GlobalAveragePool::backward: dy is [1, 60], expected [1, 1]",
                            [&] { c.pool.backward(c.x.view(), c.y, dy, c.dx.view(), c.cache); });
}

TEMPLATE_PRODUCT_TEST_CASE("CVE-2021-29573: a max pool's gradient of empty tensors", "[refusal][cve]",
                           (Nchw, Nhwc), (float)) {
  // MaxPoolGradWithArgmax of 0 x 0 x 0 x 0 maps divided by the batch.
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool, Extents{0, 8, 1, 1});
    CAPTURE(c.name);
    CHECK_NOTHROW(c.backward());
    c.x = Map<TestType>({0, 0, 0, 0});
    c.dx = Map<TestType>({0, 0, 0, 0});
    c.template refuses_backward<ph::ShapeError>(
        "x is [0, 0, 0, 0], expected at least one channel and one position");
  });
}

TEST_CASE("CVE-2022-35941: average bins of no size, or of 1e20", "[refusal][cve]") {
  // AvgPool took a window of 1 x 1e20 x 1 x 1, which the conversion to an integer made negative.
  const auto too_large = static_cast<Index>(std::numeric_limits<std::int64_t>::min());
  for (const Index extent : {too_large, Index{-1}, Index{0}}) {
    CHECK_THROWS_AS(ph::AdaptiveAveragePool(extent, 1), ph::ValueError);
    CHECK_THROWS_AS(ph::AdaptiveMaxPool(1, extent), ph::ValueError);
    CHECK_THROWS_AS(Spp({extent}), ph::ValueError);
  }
  CHECK_THROWS_AS(ph::AnyPool<float>("adaptive-avg:100000000000000000000,1"), ph::ValueError);
  CHECK_THROWS_AS(ph::AnyPool<float>("spp:100000000000000000000"), ph::ValueError);
  CHECK_THROWS_AS(ph::AnyPool<float>("spp:1e20"), ph::ValueError);
  // As large as an integer can be, on ones of 1 x 1 x 1 x 1: a y of that size is nobody's.
  auto c = make_case<Nhwc<float>>(ph::AdaptiveAveragePool(1, 1), Extents{1, 1, 1, 1});
  c.pool.height = std::numeric_limits<Index>::max();
  c.refuses_infer<ph::ShapeError>("y is [1, 1], expected [1, 9223372036854775807]");
  c.refuses_backward<ph::ShapeError>("y is [1, 1], expected [1, 9223372036854775807]");
}

TEMPLATE_PRODUCT_TEST_CASE("CVE-2021-29570: argmax of another size than the gradient, and outside of the plane",
                           "[refusal][cve]", (Nchw, Nhwc), (float)) {
  // MaxPoolGradWithArgmax of a 1 x 1 x 3 x 1 map, four gradients and one argmax walked the last two with one
  // index, and trusted what argmax said.
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool, Extents{1, 1, 1, 3});
    CAPTURE(c.name);
    const RowTensor<float> four(1, 4);
    c.template refuses<ph::ShapeError>(c.name + "::backward: dy is [1, 4], expected [1, 1]", [&] {
      c.pool.backward(c.x.view(), c.y, four, c.dx.view(), c.cache, c.gradient);
    });
    for (const Index forged : {Index{13}, Index{0x7fffffff}, Index{3}}) {
      c.cache.argmax.setConstant(forged);
      CHECK_THROWS_AS(c.backward(), ph::ValueError);
    }
    auto wide = make_case<TestType>(pool, Extents{1, 4, 1, 3});
    wide.cache.argmax.resize(1, 1);
    wide.cache.argmax.setConstant(1);
    wide.template refuses_backward<ph::ValueError>("the cache holds [1, 1] argmax, expected [1, 4]");
    wide.cache.argmax.resize(0, 0);
    wide.template refuses_backward<ph::ValueError>("the cache holds [0, 0] argmax, expected [1, 4]");
    CHECK(c.untouched());
  };
  check(ph::GlobalMaxPool{});
  check(ph::AverageMaxPool{});
  check(Spp({1}, Spp::max));
  check(ph::AdaptiveMaxPool(1, 1));
}
