// Parameters out of their range, at construction and after it, and gradients of another shape.
#include "support/refusal.hpp"

#include <functional>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

TEST_CASE("parameters out of their range are refused at construction", "[refusal]") {
  const auto value_error = [](auto call) { return message_of<ph::ValueError>(call); };
  const auto shape_error = [](auto call) { return message_of<ph::ShapeError>(call); };
  for (const auto& [p, text] : {std::pair<float, const char*>{0.0f, "0"},
                                {-0.0f, "-0"},
                                {-1.0f, "-1"},
                                {static_cast<float>(not_a_number), "nan"},
                                {static_cast<float>(infinity), "inf"},
                                {static_cast<float>(-infinity), "-inf"}}) {
    const std::string is = std::string(" is ") + text + ", expected a finite number above 0";
    CHECK(value_error([&, p = p] { Gem{p}; }) == "GeneralizedMeanPool: p" + is);
    CHECK(value_error([&, p = p] { Gem(Index{8}, p); }) == "GeneralizedMeanPool: p" + is);
    CHECK(value_error([&, p = p] { ph::GeneralizedMeanPool<Eigen::half>(Eigen::half(p)); }) ==
          "GeneralizedMeanPool: p" + is);
    CHECK(value_error([&, p = p] { Lse{p}; }) == "LogSumExpPool: r" + is);
    CHECK(value_error([&, p = p] { ph::LogSumExpPool<Eigen::bfloat16>(Eigen::bfloat16(p)); }) ==
          "LogSumExpPool: r" + is);
  }
  // What half makes of a p that it cannot hold.
  CHECK(value_error([] { ph::GeneralizedMeanPool<Eigen::half>(Eigen::half(1e6f)); }) ==
        "GeneralizedMeanPool: p is inf, expected a finite number above 0");
  CHECK(value_error([] { ph::GeneralizedMeanPool<Eigen::half>(Eigen::half(1e-9f)); }) ==
        "GeneralizedMeanPool: p is 0, expected a finite number above 0");
  for (const auto& [p, text] : {std::pair<double, const char*>{0.999, "0.999"},
                                {0.0, "0"},
                                {-2.0, "-2"},
                                {not_a_number, "nan"},
                                {infinity, "inf"},
                                {-infinity, "-inf"}}) {
    CHECK(value_error([p = p] { ph::GlobalLpPool{p}; }) ==
          std::string("GlobalLpPool: p is ") + text + ", expected a finite number from 1 on");
  }
  for (const Index channels : {Index{0}, Index{-1}, std::numeric_limits<Index>::min()}) {
    CHECK(shape_error([&] { Gem(channels, 3.0f); }) ==
          "GeneralizedMeanPool: channels is " + std::to_string(channels) + ", expected at least 1");
  }
  for (const auto& [channels, hidden] : {std::pair{Index{0}, Index{1}},
                                         {Index{1}, Index{0}},
                                         {Index{-1}, Index{1}},
                                         {Index{1}, Index{-1}},
                                         {Index{0}, Index{0}}}) {
    CHECK(shape_error([c = channels, h = hidden] { Attention(c, h); }) ==
          "AttentionPool: channels and hidden are " + std::to_string(channels) + " and " +
              std::to_string(hidden) + ", expected at least 1");
  }
  CHECK_NOTHROW(ph::GlobalLpPool(1.0));
  CHECK_NOTHROW(Gem(std::numeric_limits<float>::denorm_min()));
  CHECK_NOTHROW(Gem(std::numeric_limits<float>::max()));
}

TEST_CASE("grids without bins, or with more than can be counted, are refused at construction", "[refusal]") {
  const auto value_error = [](auto call) { return message_of<ph::ValueError>(call); };
  CHECK(value_error([] { Spp({}); }) == "SpatialPyramidPool: there are no levels, expected at least one");
  for (const Index level : {Index{0}, Index{-1}, std::numeric_limits<Index>::min()}) {
    const std::string size = std::to_string(level);
    const std::string expected = " bins, expected at least 1 x 1";
    for (const auto kind : {Spp::average, Spp::max}) {
      CHECK(value_error([&] {
              Spp({1, level, 2}, kind);
            }) == "SpatialPyramidPool: a grid has " + size + " x " + size + expected);
    }
    CHECK(value_error([&] { ph::AdaptiveAveragePool(level, 2); }) ==
          "AdaptiveAveragePool: a grid has " + size + " x 2" + expected);
    CHECK(value_error([&] { ph::AdaptiveAveragePool(2, level); }) ==
          "AdaptiveAveragePool: a grid has 2 x " + size + expected);
    CHECK(value_error([&] { ph::AdaptiveMaxPool(level, level); }) ==
          "AdaptiveMaxPool: a grid has " + size + " x " + size + expected);
  }
  const auto shape_error = [](auto call) { return message_of<ph::ShapeError>(call); };
  constexpr Index big = Index{1} << 32;
  const std::string too_many = "extents are [1, 1, 4294967296, 4294967296], expected a product below 2^63";
  CHECK(shape_error([] { Spp({1, big}); }) == "SpatialPyramidPool: " + too_many);
  CHECK(shape_error([] { Spp({big}, Spp::max); }) == "SpatialPyramidPool: " + too_many);
  CHECK(shape_error([] { ph::AdaptiveAveragePool(big, big); }) == "AdaptiveAveragePool: " + too_many);
  CHECK(shape_error([] { ph::AdaptiveMaxPool(big, big); }) == "AdaptiveMaxPool: " + too_many);
  // 2^62 bins a level: each fits, their sum does not.
  CHECK(shape_error([] { Spp({big / 2, big / 2}); }) == "SpatialPyramidPool: there are 2^63 features and more");
}

TEMPLATE_PRODUCT_TEST_CASE("grids changed after construction are looked at again", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  constexpr Index big = Index{1} << 32;
  for (const auto kind : {Spp::average, Spp::max}) {
    auto c = make_case<TestType>(Spp({1, 2}, kind));
    c.pool.levels = {};
    c.template refuses_all<ph::ValueError>("there are no levels, expected at least one");
    c.pool.levels = {1, 0};
    c.template refuses_all<ph::ValueError>("a grid has 0 x 0 bins, expected at least 1 x 1");
    c.pool.levels = {-2};
    c.template refuses_all<ph::ValueError>("a grid has -2 x -2 bins, expected at least 1 x 1");
    c.pool.levels = {1, big};
    c.template refuses_all<ph::ShapeError>(
        "extents are [2, 8, 4294967296, 4294967296], expected a product below 2^63");
    c.pool.levels = {Index{1} << 29, Index{1} << 29};  // 2 * 8 * 2^58 features a level
    c.template refuses_all<ph::ShapeError>("there are 2^63 features and more");
  }
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    c.pool.height = 0;
    c.template refuses_all<ph::ValueError>("a grid has 0 x 3 bins, expected at least 1 x 1");
    c.pool.height = 2;
    c.pool.width = -1;
    c.template refuses_all<ph::ValueError>("a grid has 2 x -1 bins, expected at least 1 x 1");
    c.pool.height = std::numeric_limits<Index>::max();
    c.pool.width = 1;
    c.template refuses_all<ph::ShapeError>(
        "extents are [2, 8, 9223372036854775807, 1], expected a product below 2^63");
  };
  check(ph::AdaptiveAveragePool(2, 3));
  check(ph::AdaptiveMaxPool(2, 3));
}

TEMPLATE_PRODUCT_TEST_CASE("parameters changed after construction are looked at again", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  const std::pair<float, std::string> wrong[] = {{0.0f, "0"},
                                                 {-1.0f, "-1"},
                                                 {static_cast<float>(not_a_number), "nan"},
                                                 {static_cast<float>(infinity), "inf"}};
  for (const auto& [value, text] : wrong) {
    auto shared = make_case<TestType>(Gem(3.0f));
    shared.pool.p(0) = value;
    shared.template refuses_all<ph::ValueError>("p is " + text + ", expected a finite number above 0");
    auto each = make_case<TestType>(Gem(Index{8}, 2.5f));
    each.pool.p(7) = value;
    each.template refuses_all<ph::ValueError>("p is " + text + ", expected a finite number above 0");
    auto lse = make_case<TestType>(Lse(1.0f));
    lse.pool.r(0) = value;
    lse.template refuses_all<ph::ValueError>("r is " + text + ", expected a finite number above 0");
    auto lp = make_case<TestType>(ph::GlobalLpPool(2.5));
    lp.pool.p = static_cast<double>(value);
    lp.template refuses_all<ph::ValueError>("p is " + text + ", expected a finite number from 1 on");
    if (value == 0.0f) continue;  // an eps of 0 is in its range
    auto eps = make_case<TestType>(Gem(3.0f));
    eps.pool.eps = value;
    eps.template refuses_all<ph::ValueError>("eps is " + text + ", expected a finite number from 0 on");
  }
  auto zero_eps = make_case<TestType>(Gem(3.0f));
  zero_eps.pool.eps = 0.0f;
  CHECK_NOTHROW(zero_eps.infer());

  for (const Index count : {0, 2, 7, 9}) {
    auto c = make_case<TestType>(Gem(Index{8}, 2.5f));
    c.pool.p.resize(count);
    c.pool.p.setConstant(2.5f);
    c.template refuses_all<ph::ShapeError>("x has 8 channels, expected " + std::to_string(count) +
                                           ", one for each p");
  }
  for (const Index count : {0, 2, 8}) {
    auto c = make_case<TestType>(Lse(1.0f));
    c.pool.r.resize(count);
    c.pool.r.setConstant(1.0f);
    c.template refuses_all<ph::ShapeError>("r is [" + std::to_string(count) + "], expected [1]");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("attention refuses other channels and parameters that disagree", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  for (const Index channels : {1, 7, 9}) {
    auto c = make_case<TestType>(Attention(8, 3));
    c.pool = Attention(channels, 3);
    c.template refuses_all<ph::ShapeError>("x has 8 channels, expected " + std::to_string(channels));
  }
  const auto disagree = [](const std::function<void(Attention&)>& change, const std::string& shapes) {
    auto c = make_case<TestType>(Attention(8, 3));
    change(c.pool);
    c.template refuses_all<ph::ShapeError>("parameters disagree: " + shapes);
  };
  disagree([](Attention& pool) { pool.hidden.weight.resize(4, 8); },
           "hidden.weight is [4, 8], hidden.bias [3], score.weight [1, 3], score.bias [1]");
  disagree([](Attention& pool) { pool.hidden.bias.resize(2); },
           "hidden.weight is [3, 8], hidden.bias [2], score.weight [1, 3], score.bias [1]");
  disagree([](Attention& pool) { pool.score.weight.resize(1, 4); },
           "hidden.weight is [3, 8], hidden.bias [3], score.weight [1, 4], score.bias [1]");
  disagree([](Attention& pool) { pool.score.weight.resize(2, 3); },
           "hidden.weight is [3, 8], hidden.bias [3], score.weight [2, 3], score.bias [1]");
  disagree([](Attention& pool) { pool.score.weight.resize(3, 1); },
           "hidden.weight is [3, 8], hidden.bias [3], score.weight [3, 1], score.bias [1]");
  disagree([](Attention& pool) { pool.score.bias.resize(0); },
           "hidden.weight is [3, 8], hidden.bias [3], score.weight [1, 3], score.bias [0]");
  disagree([](Attention& pool) { pool.score.bias.resize(2); },
           "hidden.weight is [3, 8], hidden.bias [3], score.weight [1, 3], score.bias [2]");
}

TEMPLATE_PRODUCT_TEST_CASE("attention without hidden channels is refused, also when they go later", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  auto c = make_case<TestType>(Attention(8, 3));
  c.pool.hidden.weight.resize(0, 8);
  c.pool.hidden.bias.resize(0);
  c.pool.score.weight.resize(1, 0);
  CHECK_THROWS_AS(c.infer(), ph::ShapeError);
  CHECK_THROWS_AS(c.pool.make_cache(c.x.view()), ph::ShapeError);
  CHECK(c.untouched());
}

TEMPLATE_PRODUCT_TEST_CASE("backward refuses a gradient of another shape", "[refusal]", (Nchw, Nhwc), (float)) {
  const auto refuses = [](const auto& pool, const auto& gradient) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    c.gradient = ph::zeros_like(gradient);
    CHECK_THROWS_AS(c.backward(), std::invalid_argument);
    CHECK(c.untouched());
    // Where only the parameters' gradient is wanted, too.
    CHECK_THROWS_AS(c.pool.backward(c.x.view(), c.y, c.dy, ph::no_gradient, c.cache, c.gradient),
                    std::invalid_argument);
    CHECK(c.untouched());
  };
  refuses(Gem(3.0f), Gem(Index{8}, 3.0f));
  refuses(Gem(Index{8}, 3.0f), Gem(3.0f));
  refuses(Gem(Index{8}, 3.0f), Gem(Index{3}, 3.0f));
  refuses(Gem(Index{8}, 3.0f), Gem(Index{9}, 3.0f));
  Lse empty(1.0f);
  empty.r.resize(0);
  refuses(Lse(1.0f), empty);
  refuses(Attention(8, 3), Attention(8, 4));
  refuses(Attention(8, 3), Attention(8, 2));
  refuses(Attention(8, 3), Attention(7, 3));
  refuses(ph::concat(ph::GlobalMaxPool{}, Gem(Index{8}, 3.0f)),
          ph::concat(ph::GlobalMaxPool{}, Gem(Index{3}, 3.0f)));
  refuses(ph::AnyPool<float>("max+gem:3,channels", 8), ph::AnyPool<float>("max+gem:3,channels", 3));
  refuses(ph::AnyPool<float>("max+gem"), ph::AnyPool<float>("gem+max"));
  refuses(ph::AnyPool<float>("max+gem"), ph::AnyPool<float>("max"));
}

TEMPLATE_PRODUCT_TEST_CASE("misuse is refused where only the parameters' gradient is wanted", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const RowTensor<float> narrow(2, c.features - 1);
    c.template refuses<ph::ShapeError>(
        c.name + "::backward: dy is " + brackets({2, c.features - 1}) + ", expected " +
            brackets({2, c.features}),
        [&] { c.pool.backward(c.x.view(), c.y, narrow, ph::no_gradient, c.cache, c.gradient); });
    c.cache = c.pool.make_cache(c.x.view());
    c.template refuses<ph::ValueError>(
        c.name + "::backward: the cache is empty, expected one that forward has filled",
        [&] { c.pool.backward(c.x.view(), c.y, c.dy, ph::no_gradient, c.cache, c.gradient); });
  };
  check(Gem(3.0f));
  check(Lse(1.0f));
  check(Attention(8, 3));
  check(ph::concat(ph::GlobalAveragePool{}, Gem(3.0f)));
}
