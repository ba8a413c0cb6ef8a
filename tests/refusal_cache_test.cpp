// Caches that somebody tampered with are refused before anything is written.
#include "support/refusal.hpp"

#include <functional>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

TEMPLATE_PRODUCT_TEST_CASE("a forged argmax is refused before anything is written", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const auto own = c.cache;
    for (const Index forged : {Index{-1}, Index{12}, Index{1} << 31, (Index{1} << 32) + 3, -(Index{1} << 32),
                               std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()}) {
      for (const auto& [n, channel] : {std::pair{Index{0}, Index{0}}, {Index{1}, Index{7}}}) {
        c.cache = own;
        c.cache.argmax(n, channel) = forged;
        c.template refuses_backward<ph::ValueError>("argmax of plane " + std::to_string(n * 8 + channel) +
                                                    " is " + std::to_string(forged) +
                                                    ", expected a position in 0..11");
      }
    }
    for (const auto& [rows, columns] : {std::pair{Index{2}, Index{7}},
                                        {Index{1}, Index{8}},
                                        {Index{3}, Index{8}},
                                        {Index{0}, Index{0}},
                                        {Index{8}, Index{2}}}) {
      c.cache = own;
      c.cache.argmax.resize(rows, columns);
      c.cache.argmax.setZero();
      const std::string message = "the cache holds " + brackets({rows, columns}) + " argmax, expected [2, 8]";
      c.template refuses_forward<ph::ValueError>(message);
      c.template refuses_backward<ph::ValueError>(message);
    }
  };
  check(ph::GlobalMaxPool{});
  check(ph::AverageMaxPool{});
}

TEMPLATE_PRODUCT_TEST_CASE("a bin's forged argmax is refused, also inside of the plane", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  // Of 3 x 4 positions, the last bin of a 2 x 2 grid covers rows 1 .. 2 and columns 2 .. 3.
  const auto check = [](const auto& pool, Index column, Index bin, Index outside) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name, column);
    const auto own = c.cache;
    for (const Index forged : {outside, Index{-1}, Index{12}, Index{1} << 31, (Index{1} << 32) + 6,
                               std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()}) {
      c.cache = own;
      c.cache.argmax(1, column) = forged;
      c.template refuses_backward<ph::ValueError>("argmax of bin " + std::to_string(bin) + " of plane 15 is " +
                                                  std::to_string(forged) +
                                                  ", expected a position in rows 1..2 and columns 2..3");
    }
    c.cache = own;
    c.cache.argmax.resize(2, c.features - 1);
    const std::string message =
        "the cache holds " + brackets({2, c.features - 1}) + " argmax, expected " + brackets({2, c.features});
    c.template refuses_forward<ph::ValueError>(message);
    c.template refuses_backward<ph::ValueError>(message);
  };
  for (const Index outside : {0, 3, 4, 5, 9}) {
    check(Spp({1, 2}, Spp::max), 8 + 7 * 4 + 3, 3, outside);
    check(ph::AdaptiveMaxPool(2, 2), 7 * 4 + 3, 3, outside);
  }
}

TEST_CASE("a bin's argmax is looked for in planes of any size", "[refusal]") {
  // Of some words of 64 positions, and of more of them than are compared at once.
  for (const auto& [height, width] : {std::pair<Index, Index>{9, 15}, {34, 40}}) {
    CAPTURE(height, width);
    const Index size = height * width;
    const Spp pool({1, 3}, Spp::max);
    Eigen::Tensor<float, 4, Eigen::RowMajor> x(2, 5, height, width), dx(2, 5, height, width);
    Eigen::Tensor<float, 2, Eigen::RowMajor> y(2, pool.features(5)), dy(2, pool.features(5));
    x.setZero();
    dy.setZero();
    auto cache = pool.make_cache(ph::nchw(x));
    pool.forward(ph::nchw(x), y, cache);
    for (Index column = 0; column < pool.features(5); ++column) {
      const Index bins = column < 5 ? 1 : 9;
      const Index side = column < 5 ? 1 : 3;
      const Index bin = column < 5 ? 0 : (column - 5) % bins;
      const auto covers = [side](Index i, Index length, Index at) {
        return at >= i * length / side && at < ((i + 1) * length + side - 1) / side;
      };
      const Index own = cache.argmax(1, column);
      const auto check = [&](Index position, bool inside) {
        CAPTURE(column, position);
        cache.argmax(1, column) = position;
        if (inside)
          CHECK_NOTHROW(pool.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache));
        else
          CHECK_THROWS_AS(pool.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache), ph::ValueError);
      };
      for (Index s = column % 3; s < size; s += 3)
        check(s, covers(bin / side, height, s / width) && covers(bin % side, width, s % width));
      for (const Index s : {size, (size + 63) / 64 * 64, size + 4096, Index{-1}, Index{-64}, Index{1} << 32,
                            std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()})
        check(s, false);
      cache.argmax(1, column) = own;
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("a kind that changed after the cache was made is refused", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  auto c = make_case<TestType>(Spp({1, 2}));
  c.pool.kind = Spp::max;
  c.template refuses_backward<ph::ValueError>("the cache holds [0, 0] argmax, expected [2, 40]");
  c.template refuses_forward<ph::ValueError>("the cache holds [0, 0] argmax, expected [2, 40]");
  // The same number of features in another order: argmax of the one bin stand in the others.
  auto swapped = make_case<TestType>(Spp({2, 1}, Spp::max));
  swapped.pool.levels = {1, 2};
  CHECK_THROWS_AS(swapped.backward(), ph::ValueError);
  CHECK(swapped.untouched());
}

TEMPLATE_PRODUCT_TEST_CASE("caches of other numbers for each plane are refused", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  const auto check = [](const auto& pool, Index numbers) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    const std::array<Index, 3> sizes[] = {{numbers, 2, 7}, {numbers, 1, 8},     {numbers, 3, 8},
                                          {numbers, 8, 2}, {numbers - 1, 2, 8}, {numbers + 1, 2, 8},
                                          {0, 0, 0}};
    for (const auto& [count, rows, columns] : sizes) {
      c.cache.planes.resize(count, rows, columns);
      c.cache.planes.setZero();
      const std::string message = "the cache holds " + brackets({count, rows, columns}) +
                                  " numbers, expected " + brackets({numbers, 2, 8});
      c.template refuses_forward<ph::ValueError>(message);
      c.template refuses_backward<ph::ValueError>(message);
    }
  };
  check(ph::GlobalLpPool(2.5), 1);
  check(Gem(3.0f), 1);
  check(Gem(Index{8}, 2.5f), 1);
  check(Lse(1.0f), 3);
  check(ph::SoftPool{}, 3);
}

TEMPLATE_PRODUCT_TEST_CASE("a cache of parameters without its scratch memory does no harm", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  // Refused, or done without it: but never written through a null pointer.
  const auto check = [](const auto& pool) {
    auto c = make_case<TestType>(pool);
    CAPTURE(c.name);
    c.backward();
    const std::vector<float> expected = c.dx.values;
    auto d = make_case<TestType>(pool);
    d.cache.shares = {};
    const std::string message = message_of<ph::ValueError>([&] { d.backward(); });
    if (message == "nothing was thrown")
      CHECK(d.dx.values == expected);
    else
      CHECK(d.untouched());
  };
  check(Gem(3.0f));
  check(Gem(Index{8}, 2.5f));
  check(Lse(1.0f));
}

TEMPLATE_PRODUCT_TEST_CASE("attention refuses a cache whose tensors are not those of its shape", "[refusal]",
                           (Nchw, Nhwc), (float)) {
  using Cache = Attention::Cache<float>;
  const auto refuses = [](const std::function<void(Cache&)>& tamper) {
    auto c = make_case<TestType>(Attention(8, 3));
    tamper(c.cache);
    const std::string message = "the cache's tensors are not those of its shape and 3 hidden channels";
    c.template refuses_forward<ph::ValueError>(message);
    c.template refuses_backward<ph::ValueError>(message);
  };
  refuses([](Cache& cache) { cache.y.resize(2, 7); });
  refuses([](Cache& cache) { cache.y.resize(1, 8); });
  refuses([](Cache& cache) { cache.weights.resize(1, 2); });
  refuses([](Cache& cache) { cache.weights.resize(2, 1); });
  refuses([](Cache& cache) { cache.score.resize(2, 11); });
  refuses([](Cache& cache) { cache.score.resize(1, 12); });
  refuses([](Cache& cache) { cache.activations.resize(2, 12, 2); });
  refuses([](Cache& cache) { cache.activations.resize(2, 11, 3); });
  refuses([](Cache& cache) { cache.activations.resize(1, 12, 3); });
  refuses([](Cache& cache) { cache.activations.resize(0, 0, 0); });
  // A cache of the same shape that a pool with more hidden channels made.
  refuses([](Cache& cache) { cache = make_case<TestType>(Attention(8, 4)).cache; });
}

TEMPLATE_PRODUCT_TEST_CASE("heads side by side refuse what one of them refuses", "[refusal]", (Nchw, Nhwc),
                           (float)) {
  const auto heads = ph::concat(ph::GlobalMaxPool{}, Gem(3.0f), Spp({1, 2}, Spp::max));
  const auto refuses = [](auto c, const auto& tamper, const std::string& message, bool forward = true) {
    tamper(c.cache.heads);
    c.template refuses<ph::ValueError>(
        message.substr(0, message.find("::") + 2) + "backward" + message.substr(message.find(": ")),
        [&] { c.backward(); });
    if (!forward) return;
    c.template refuses<ph::ValueError>(message, [&] { c.forward(); });
  };
  const auto both = [&](const auto& tamper, const std::string& message, bool forward = true) {
    refuses(
        make_case<TestType>(heads),
        [&](auto& caches) { tamper(std::get<0>(caches), std::get<1>(caches), std::get<2>(caches)); }, message,
        forward);
    refuses(
        make_case<TestType>(ph::AnyPool<float>("max+gem+spp-max:1,2")),
        [&](auto& caches) {
          tamper(std::get<ph::GlobalMaxPool::Cache<float>>(caches[0]), std::get<Gem::Cache<float>>(caches[1]),
                 std::get<Spp::Cache<float>>(caches[2]));
        },
        message, forward);
  };
  both([](auto& max, auto&, auto&) { max.argmax(0, 0) = -1; },
       "GlobalMaxPool::forward: argmax of plane 0 is -1, expected a position in 0..11", false);
  both([](auto& max, auto&, auto&) { max.argmax.resize(2, 7); },
       "GlobalMaxPool::forward: the cache holds [2, 7] argmax, expected [2, 8]");
  both([](auto&, auto& gem, auto&) { gem.planes.resize(1, 1, 8); },
       "GeneralizedMeanPool::forward: the cache holds [1, 1, 8] numbers, expected [1, 2, 8]");
  both([](auto&, auto&, auto& spp) { spp.argmax(1, 39) = 0; },
       "SpatialPyramidPool::forward: argmax of bin 3 of plane 15 is 0, expected a position in rows 1..2 and "
       "columns 2..3",
       false);
}

TEMPLATE_PRODUCT_TEST_CASE("heads side by side refuse a head's cache of another shape, or never filled",
                           "[refusal]", (Nchw, Nhwc), (float)) {
  const auto heads = ph::concat(ph::GlobalMaxPool{}, Gem(3.0f));
  const ph::AnyPool<float> by_name("max+gem");
  const Map<TestType> narrow({2, 8, 3, 3}, noise(3));
  const Map<TestType> usual_map(usual, noise(3));
  const auto throws = [](auto& c) {
    CHECK_THROWS_AS(c.backward(), std::invalid_argument);
    CHECK(c.untouched());
  };
  {
    auto c = make_case<TestType>(heads);
    std::get<0>(c.cache.heads).shape = ph::GlobalMaxPool{}.make_cache(narrow.view()).shape;
    c.template refuses_backward<ph::ValueError>("the cache of head 0 is of another shape than the whole");
    c.template refuses_forward<ph::ValueError>("the cache of head 0 is of another shape than the whole");
  }
  {
    auto c = make_case<TestType>(heads);
    std::get<1>(c.cache.heads) = Gem(3.0f).make_cache(usual_map.view());
    throws(c);
  }
  {
    auto c = make_case<TestType>(by_name);
    std::get<ph::GlobalMaxPool::Cache<float>>(c.cache.heads[0]).shape =
        ph::GlobalMaxPool{}.make_cache(narrow.view()).shape;
    throws(c);
  }
  {
    auto c = make_case<TestType>(by_name);
    c.cache.heads[1] = Gem(3.0f).make_cache(usual_map.view());
    throws(c);
  }
  {
    auto c = make_case<TestType>(by_name);
    std::swap(c.cache.heads[0], c.cache.heads[1]);
    c.template refuses_backward<ph::ValueError>("the cache was made for other heads");
    c.template refuses_forward<ph::ValueError>("the cache was made for other heads");
  }
}
