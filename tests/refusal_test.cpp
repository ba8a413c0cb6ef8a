// What every pool refuses of its arguments: the exact sentence, and that y, dx and the gradient are as they
// were.
#include "support/refusal.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

TEMPLATE_PRODUCT_TEST_CASE("forward refuses a y of another shape", "[refusal]", (Nchw, Nhwc), (float)) {
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const Index f = c.features;
    for (const auto& [rows, columns] : {std::pair{Index{2}, f - 1},
                                        {Index{2}, f + 1},
                                        {Index{1}, f},
                                        {Index{3}, f},
                                        {Index{0}, f},
                                        {Index{2}, Index{0}},
                                        {f, Index{2}}}) {
      c.y.resize(rows, columns);
      c.y.setConstant(untouched_value);
      const std::string message = "y is " + brackets({rows, columns}) + ", expected " + brackets({2, f});
      c.template refuses_infer<ph::ShapeError>(message);
      c.template refuses_forward<ph::ShapeError>(message);
      CHECK((c.y.dimension(0) == rows && c.y.dimension(1) == columns));
    }
  });
}

TEMPLATE_PRODUCT_TEST_CASE("backward refuses y, dy and dx of another shape", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const Index f = c.features;
    const auto backward = [&](const auto& y, const auto& dy, const auto& dx) {
      return [&] { c.pool.backward(c.x.view(), y, dy, dx, c.cache, c.gradient); };
    };
    for (const auto& [rows, columns] :
         {std::pair{Index{2}, f - 1}, {Index{2}, f + 1}, {Index{1}, f}, {Index{3}, f}, {Index{0}, Index{0}}}) {
      const RowTensor<float> wrong(rows, columns);
      const std::string is = " is " + brackets({rows, columns}) + ", expected " + brackets({2, f});
      c.template refuses<ph::ShapeError>(c.name + "::backward: y" + is, backward(wrong, c.dy, c.dx.view()));
      c.template refuses<ph::ShapeError>(c.name + "::backward: dy" + is, backward(c.y, wrong, c.dx.view()));
    }
    for (const Extents& e : {Extents{2, 8, 3, 5},
                             {2, 8, 4, 3},
                             {2, 8, 2, 6},
                             {1, 8, 3, 4},
                             {2, 7, 3, 4},
                             {8, 2, 3, 4},
                             {0, 0, 0, 0}}) {
      Map<TestType> wrong(e);
      c.template refuses<ph::ShapeError>(
          c.name + "::backward: dx is " + brackets<TestType>(e) + ", expected " + brackets<TestType>(usual),
          backward(c.y, c.dy, wrong.view()));
    }
  });
}

TEMPLATE_PRODUCT_TEST_CASE("forward and backward refuse a cache that is not theirs", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const auto own = c.cache;
    c.cache = c.pool.make_cache(c.x.view());
    c.template refuses_backward<ph::ValueError>("the cache is empty, expected one that forward has filled");
    for (const Extents& e : {Extents{2, 8, 4, 3}, {1, 8, 3, 4}, {3, 8, 3, 4}}) {
      c.cache = make_case<TestType>(pool, e).cache;
      const std::string message =
          "the cache was made for " + brackets<TestType>(e) + ", expected " + brackets<TestType>(usual);
      c.template refuses_forward<ph::ShapeError>(message);
      c.template refuses_backward<ph::ShapeError>(message);
    }
    // A cache that make_cache did not make.
    c.cache = {};
    CHECK_THROWS_AS(c.forward(), ph::ShapeError);
    CHECK_THROWS_AS(c.backward(), ph::ShapeError);
    c.cache.shape = own.shape;
    c.cache.filled = true;
    if (c.name != "GlobalAveragePool" && c.name != "SpatialPyramidPool" && c.name != "AdaptiveAveragePool")
      CHECK_THROWS_AS(c.backward(), ph::ValueError);
    CHECK(c.untouched());
    c.cache = own;
    CHECK_NOTHROW(c.backward());
  });
}

TEMPLATE_PRODUCT_TEST_CASE("backward refuses a dx that overlaps x", "[refusal]", (Nchw, Nhwc), (float)) {
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const auto size = static_cast<std::size_t>(usual.size());
    std::vector<float> memory(3 * size, 1.0f);
    const auto x = TestType::view(static_cast<const float*>(memory.data() + size), usual);
    c.pool.forward(x, c.y, c.cache);
    c.y.setConstant(untouched_value);
    for (const std::size_t offset : {std::size_t{1}, size - 1, size, size + 1, 2 * size - 1}) {
      const auto dx = TestType::view(memory.data() + offset, usual);
      c.template refuses<ph::ValueError>(c.name + "::backward: dx overlaps x, expected memory of its own",
                                         [&] { c.pool.backward(x, c.y, c.dy, dx, c.cache, c.gradient); });
    }
    CHECK(memory == std::vector<float>(3 * size, 1.0f));
  });
}

TEMPLATE_PRODUCT_TEST_CASE("every call refuses maps without a channel or a position", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  each_pool([](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    for (const Extents& e : {Extents{2, 0, 3, 4},
                             {2, 8, 0, 4},
                             {2, 8, 3, 0},
                             {2, 8, 0, 0},
                             {0, 0, 0, 0},
                             {0, 8, 0, 4},
                             {0, 0, 3, 4}}) {
      c.x = Map<TestType>(e);
      c.template refuses_all<ph::ShapeError>("x is " + brackets<TestType>(e) +
                                             ", expected at least one channel and one position");
    }
  });
}

TEMPLATE_PRODUCT_TEST_CASE("no samples give no rows, forward and backward", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  each_pool([](const auto& pool) {
    for (const Extents& e : {Extents{0, 8, 3, 4}, {0, 8, 1, 1}}) {
      auto c = make_case<TestType>(pool, e);
      CAPTURE(c.name);
      CHECK_NOTHROW(c.infer());
      CHECK_NOTHROW(c.forward());
      CHECK_NOTHROW(c.backward());
      CHECK(c.pool(c.x.view()).dimension(0) == 0);
      CHECK(c.pool(c.x.view()).dimension(1) == c.features);
      CHECK(c.untouched());
    }
  });
}

TEMPLATE_PRODUCT_TEST_CASE("an adaptive pool refuses feature maps of another shape for y and dy", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const Extents right{2, 8, 2, 3};
    Map<TestType> y(right, constant(untouched_value));
    for (const Extents& e : {Extents{2, 8, 3, 2}, {2, 8, 2, 2}, {2, 7, 2, 3}, {1, 8, 2, 3}, {2, 8, 3, 4}}) {
      Map<TestType> wrong(e, constant(untouched_value));
      const std::string is = " is " + brackets<TestType>(e) + ", expected " + brackets<TestType>(right);
      c.template refuses<ph::ShapeError>(c.name + "::forward: y" + is,
                                         [&] { c.pool.forward(c.x.view(), wrong.view()); });
      c.template refuses<ph::ShapeError>(c.name + "::forward: y" + is,
                                         [&] { c.pool.forward(c.x.view(), wrong.view(), c.cache); });
      c.template refuses<ph::ShapeError>(c.name + "::backward: y" + is, [&] {
        c.pool.backward(c.x.view(), wrong.view(), y.view(), c.dx.view(), c.cache);
      });
      c.template refuses<ph::ShapeError>(c.name + "::backward: dy" + is, [&] {
        c.pool.backward(c.x.view(), y.view(), wrong.view(), c.dx.view(), c.cache);
      });
      CHECK(std::all_of(wrong.values.begin(), wrong.values.end(),
                        [](float value) { return value == untouched_value; }));
    }
  };
  check(ph::AdaptiveAveragePool(2, 3));
  check(ph::AdaptiveMaxPool(2, 3));
}

TEST_CASE("pools of bins refuse maps of rank 3 and 5", "[refusal]") {
  const auto check = [](const auto& pool) {
    const std::string name(std::remove_cvref_t<decltype(pool)>::name);
    CAPTURE(name);
    const Eigen::Tensor<float, 3, Eigen::RowMajor> rank3(2, 8, 12);
    const Eigen::Tensor<float, 5, Eigen::RowMajor> rank5(2, 8, 2, 2, 3);
    RowTensor<float> y(2, pool.features(8));
    y.setConstant(untouched_value);
    const auto refuses = [&](const auto& x, const std::string& rank) {
      const std::string message = ": x is of rank " + rank + ", expected 4: bins need two spatial axes";
      CHECK(message_of<ph::ShapeError>([&] { pool.forward(x, y); }) == name + "::forward" + message);
      CHECK(message_of<ph::ShapeError>([&] { static_cast<void>(pool(x)); }) == name + "::forward" + message);
      CHECK(message_of<ph::ShapeError>([&] { static_cast<void>(pool.make_cache(x)); }) ==
            name + "::make_cache" + message);
    };
    refuses(ph::channels_first(rank3), "3");
    refuses(ph::channels_last(rank3), "3");
    refuses(ph::channels_first(rank5), "5");
    refuses(ph::channels_last(rank5), "5");
    for (Index i = 0; i < y.size(); ++i) CHECK(y.data()[i] == untouched_value);
  };
  check(Spp({1, 2}));
  check(Spp({1, 2}, Spp::max));
  check(ph::AdaptiveAveragePool(2, 3));
  check(ph::AdaptiveMaxPool(2, 3));
}

TEST_CASE("a mask of another shape is refused", "[refusal][mask]") {
  const Map<Nchw<float>> x(usual, noise(4));
  const auto refuses = [&](Index rows, Index columns) {
    const RowTensor<bool> mask(rows, columns);
    CHECK(message_of<ph::ShapeError>([&] { static_cast<void>(ph::masked(x.view(), mask)); }) ==
          "masked: mask is " + brackets({rows, columns}) + ", expected [2, 12]");
  };
  refuses(2, 11);
  refuses(2, 13);
  refuses(1, 12);
  refuses(3, 12);
  refuses(12, 2);
  refuses(0, 0);
}

TEMPLATE_PRODUCT_TEST_CASE("a mask without a valid position is refused", "[refusal][mask]", (Nchw, Nhwc),
                           (float)) {
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    RowTensor<bool> mask(2, 12);
    mask.setConstant(true);
    for (Index s = 0; s < 12; ++s) mask(1, s) = false;
    const auto x = ph::masked(c.x.view(), mask);
    const std::string message = "row 1 of the mask has no valid position, expected at least one";
    c.template refuses<ph::ValueError>(c.name + "::forward: " + message, [&] { c.pool.forward(x, c.y); });
    c.template refuses<ph::ValueError>(c.name + "::forward: " + message,
                                       [&] { c.pool.forward(x, c.y, c.cache); });
    c.template refuses<ph::ValueError>(c.name + "::forward: " + message, [&] { static_cast<void>(c.pool(x)); });
    c.template refuses<ph::ValueError>(c.name + "::make_cache: " + message,
                                       [&] { static_cast<void>(c.pool.make_cache(x)); });
    c.template refuses<ph::ValueError>(c.name + "::backward: " + message, [&] {
      c.pool.backward(x, c.y, c.dy, c.dx.view(), c.cache, c.gradient);
    });
    // One position is enough.
    mask(1, 11) = true;
    CHECK_NOTHROW(c.pool.forward(x, c.y, c.cache));
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
  check(ph::AverageMaxPool{});
  check(ph::GlobalLpPool(2.5));
  check(Gem(3.0f));
  check(Lse(1.0f));
  check(ph::SoftPool{});
  check(Attention(8, 3));
  check(Attention(8, 3, Attention::sigmoid));
  check(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}));
  check(ph::AnyPool<float>("avg+max"));
}

TEMPLATE_PRODUCT_TEST_CASE("a mask for bins behind a name is refused before the other heads have written",
                           "[refusal][mask]", (Nchw, Nhwc), (float)) {
  RowTensor<bool> mask(2, 12);
  mask.setConstant(true);
  for (const auto* text : {"avg+spp", "max+adaptive-max:2,2"}) {
    auto c = make_case<TestType>(ph::AnyPool<float>(text));
    const auto x = ph::masked(c.x.view(), mask);
    CHECK_THROWS_AS(c.pool.forward(x, c.y), ph::ValueError);
    CHECK(c.untouched());
    CHECK_THROWS_AS(c.pool.forward(x, c.y, c.cache), ph::ValueError);
    CHECK(c.untouched());
    CHECK_THROWS_AS(c.pool.backward(x, c.y, c.dy, c.dx.view(), c.cache, c.gradient), ph::ValueError);
    CHECK(c.untouched());
  }
}

TEMPLATE_PRODUCT_TEST_CASE("a stream refuses what its pool refuses", "[refusal][stream]", (Nchw, Nhwc),
                           (float)) {
  const Map<TestType> x(usual, noise(5));
  Gem gem(3.0f);
  gem.p(0) = 0.0f;
  CHECK(message_of<ph::ValueError>([&] { gem.start(2, 8); }) ==
        "GeneralizedMeanPool::start: p is 0, expected a finite number above 0");
  Lse lse(1.0f);
  lse.r(0) = -1.0f;
  CHECK(message_of<ph::ValueError>([&] { lse.start(x.view()); }) ==
        "LogSumExpPool::start: r is -1, expected a finite number above 0");
  ph::GlobalLpPool lp(2.0);
  lp.p = not_a_number;
  CHECK(message_of<ph::ValueError>([&] { lp.start<float>(2, 8); }) ==
        "GlobalLpPool::start: p is nan, expected a finite number from 1 on");
  CHECK(message_of<ph::ShapeError>([&] { Gem(Index{7}, 3.0f).start(x.view()); }) ==
        "GeneralizedMeanPool::start: x has 8 channels, expected 7, one for each p");
  CHECK(message_of<ph::ShapeError>([&] { Attention(7, 3).start(x.view()); }) ==
        "AttentionPool::start: x has 8 channels, expected 7");
}
