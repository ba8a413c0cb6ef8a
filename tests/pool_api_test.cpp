// The calls of the pools as their users write them, what they refuse, and their promises about threads.
#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/message.hpp"

#include <cstring>
#include <string>
#include <thread>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

// Compiled for two scalars; by tests/long.sh, in minutes, for all.
#ifdef POOLHEAD_LONG_TESTS
#define POOLHEAD_SCALARS (float, double, Eigen::half, Eigen::bfloat16)
#else
#define POOLHEAD_SCALARS (float, Eigen::bfloat16)
#endif

using AverageAndMax = ph::ConcatPool<ph::GlobalAveragePool, ph::GlobalMaxPool>;
static_assert(ph::Pool<ph::GlobalAveragePool>);
static_assert(ph::Pool<ph::GlobalMaxPool>);
static_assert(ph::Pool<AverageAndMax>);
static_assert(!ph::Pool<int>);
static_assert(std::same_as<decltype(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{})), AverageAndMax>);

namespace {

const ph::GlobalAveragePool average;
const ph::GlobalMaxPool maximum;
const AverageAndMax both = ph::concat(average, maximum);

template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

template <class Values>
bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(*a.data())) == 0;
}

}  // namespace

TEST_CASE("the face: one call", "[pool][api]") {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(8, 512, 7, 7);
  fill<Nchw<float>>(x.data(), {8, 512, 7, 7}, noise(40));

  Eigen::Tensor<float, 2, Eigen::RowMajor> g = ph::GlobalAveragePool{}(ph::nchw(x));

  REQUIRE(g.dimension(0) == 8);
  REQUIRE(g.dimension(1) == 512);
  double sum = 0;
  for (Index s = 0; s < 49; ++s) sum += static_cast<double>(ph::nchw(x)(7, 511, s));
  CHECK(std::abs(static_cast<double>(g(7, 511)) - sum / 49) < 1e-6);
}

TEST_CASE("the face: forward and backward", "[pool][api]") {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(8, 512, 7, 7), dx(8, 512, 7, 7);
  Eigen::Tensor<float, 2, Eigen::RowMajor> y(8, 512), dy(8, 512);
  fill<Nchw<float>>(x.data(), {8, 512, 7, 7}, noise(41));
  dy.setConstant(3.0f);

  ph::GlobalMaxPool gmp;
  auto cache = gmp.make_cache(ph::nchw(x));
  gmp.forward(ph::nchw(x), y, cache);
  gmp.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache);

  CHECK(y(3, 5) == ph::nchw(x)(3, 5, cache.argmax(3, 5)));
  CHECK(ph::nchw(dx)(3, 5, cache.argmax(3, 5)) == 3.0f);
  const Eigen::Tensor<float, 0, Eigen::RowMajor> total = dx.sum();
  CHECK(total() == 3.0f * 8 * 512);
}

TEST_CASE("the face: fused heads on a device", "[pool][api]") {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(8, 512, 7, 7), dx(8, 512, 7, 7);
  fill<Nchw<float>>(x.data(), {8, 512, 7, 7}, noise(42));

  auto heads = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{});
  Eigen::Index features = heads.features(512);
  REQUIRE(features == 1024);

  Eigen::Tensor<float, 2, Eigen::RowMajor> rows(8, features), drows(8, features);
  drows.setConstant(1.0f);
  auto heads_cache = heads.make_cache(ph::nchw(x));
  Eigen::ThreadPool threads(2);
  Eigen::ThreadPoolDevice device(&threads, 2);
  auto heads_grad = ph::zeros_like(heads);
  heads.forward(ph::nchw(x), rows, heads_cache, device);
  heads.backward(ph::nchw(x), rows, drows, ph::nchw(dx), heads_cache, heads_grad, device);

  const Tensor<float, 2> mean = average(ph::nchw(x));
  const Tensor<float, 2> max = maximum(ph::nchw(x), device);
  CHECK(std::abs(rows(7, 511) - mean(7, 511)) < 1e-6f);
  CHECK(rows(7, 512 + 511) == max(7, 511));
}

TEST_CASE("pools without parameters have nothing to visit", "[pool][api]") {
  int visited = 0;
  const auto count = [&](std::string_view, auto) { ++visited; };
  ph::GlobalAveragePool gap;
  ph::GlobalMaxPool gmp;
  AverageAndMax heads = both;
  ph::visit_parameters(gap, count);
  ph::visit_parameters(gmp, count);
  ph::visit_parameters(heads, count);
  ph::visit_parameters(average, count);
  ph::visit_parameters(maximum, count);
  ph::visit_parameters(both, count);
  CHECK(visited == 0);
  static_assert(std::same_as<decltype(ph::zeros_like(maximum)), ph::GlobalMaxPool>);
  static_assert(std::same_as<decltype(ph::zeros_like(both)), AverageAndMax>);
}

TEST_CASE("features count columns, and nested heads lie flat", "[pool][api]") {
  CHECK(average.features(7) == 7);
  CHECK(maximum.features(7) == 7);
  CHECK(ph::concat(maximum, average, maximum).features(7) == 21);
  const auto nested = ph::concat(maximum, both);
  REQUIRE(nested.features(7) == 21);

  const Map<Nhwc<float>> x({2, 7, 3, 3}, noise(43));
  const Tensor<float, 2> y = nested(x.view());
  const Tensor<float, 2> inner = both(x.view());
  for (Index c = 0; c < 7; ++c) {
    CHECK(y(1, c) == inner(1, 7 + c));
    CHECK(y(1, 7 + c) == inner(1, c));
    CHECK(y(1, 14 + c) == inner(1, 7 + c));
  }
}

TEST_CASE("pools take every rank, map and constness of x and dx", "[pool][api]") {
  const Map<Nchw<float>> reference({2, 3, 4, 30}, noise(44));
  const Tensor<float, 2> expected = both(reference.view());
  const float* data = reference.values.data();
  std::vector<float> dx_memory(reference.values.size());
  auto reference_cache = both.make_cache(reference.view());
  Tensor<float, 2> y(2, 6);
  both.forward(reference.view(), y, reference_cache);
  both.backward(reference.view(), y, expected, ph::nchw(dx_memory.data(), 2, 3, 4, 30), reference_cache);
  const std::vector<float> expected_dx = dx_memory;

  const auto check = [&](const auto& x, const auto& dx) {
    std::fill(dx_memory.begin(), dx_memory.end(), -77.0f);
    auto cache = both.make_cache(x);
    CHECK(same_bits<Tensor<float, 2>>(both(x), expected));
    both.forward(x, y, cache);
    CHECK(same_bits(y, expected));
    both.backward(x, y, expected, dx, cache);
    CHECK(same_bits(dx_memory, expected_dx));
  };
  Eigen::TensorMap<Tensor<float, 3>> dx3(dx_memory.data(), 2, 3, 120);
  Eigen::TensorMap<Tensor<float, 4>> dx4(dx_memory.data(), 2, 3, 4, 30);
  const Eigen::TensorMap<Tensor<float, 5>> dx5(dx_memory.data(), 2, 3, 4, 5, 6);
  const Eigen::TensorMap<const Tensor<float, 3>> x3(data, 2, 3, 120);
  const Eigen::TensorMap<const Tensor<float, 4>> x4(data, 2, 3, 4, 30);
  const Eigen::TensorMap<const Tensor<float, 5>> x5(data, 2, 3, 4, 5, 6);
  check(ph::channels_first(x3), ph::channels_first(dx3));
  check(ph::channels_first(x4), ph::nchw(dx4));
  check(ph::nchw(x4), ph::channels_first(dx4));
  check(ph::channels_first(x5), ph::channels_first(dx5));
  Tensor<float, 4> owned = x4;  // not const: a view of float serves as x
  check(ph::nchw(owned), ph::nchw(dx4));
  const Tensor<float, 4>& read_only = owned;
  check(ph::nchw(read_only), ph::nchw(dx_memory.data(), 2, 3, 4, 30));
}

TEST_CASE("ranks 3, 4 and 5 agree in channels-last order", "[pool][api]") {
  const Map<Nhwc<double>> reference({2, 3, 4, 30}, noise(45));
  const Tensor<double, 2> expected = both(reference.view());
  const double* data = reference.values.data();
  const Eigen::TensorMap<const Tensor<double, 3>> x3(data, 2, 120, 3);
  const Eigen::TensorMap<const Tensor<double, 5>> x5(data, 2, 4, 5, 6, 3);
  CHECK(same_bits<Tensor<double, 2>>(both(ph::channels_last(x3)), expected));
  CHECK(same_bits<Tensor<double, 2>>(both(ph::channels_last(x5)), expected));
}

TEST_CASE("a pool copies as a value", "[pool][api]") {
  AverageAndMax copy = both;
  copy = ph::concat(average, maximum);
  const AverageAndMax moved = std::move(copy);
  const Map<Nchw<float>> x({1, 3, 2, 2}, noise(46));
  CHECK(same_bits<Tensor<float, 2>>(moved(x.view()), both(x.view())));
}

TEMPLATE_PRODUCT_TEST_CASE("inference gives what forward with a cache gives", "[pool][api]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  for (Index s : {1, 7, 9, 49, 130}) {
    const auto is_nan = [](Index c, Index i) { return c == 3 && i == 0; };
    const Map<TestType> x({2, 21, 1, s}, with_nan(noise(47), is_nan));
    Tensor<Scalar, 2> with_cache(2, 42);
    Tensor<Scalar, 2> without(2, 42);
    auto cache = both.make_cache(x.view());
    both.forward(x.view(), with_cache, cache);
    both.forward(x.view(), without);
    CHECK(same_bits(without, with_cache));
    CHECK(same_bits<Tensor<Scalar, 2>>(both(x.view()), with_cache));
    // Heads one by one: the maximum exactly, and here the average, too.
    const Tensor<Scalar, 2> alone = maximum(x.view());
    for (Index c = 0; c < 21; ++c) CHECK((c == 3 || alone(1, c) == with_cache(1, 21 + c)));
  }
}

TEST_CASE("forward refuses shapes that disagree, by name", "[pool][api][error]") {
  const Map<Nchw<float>> x({2, 8, 3, 4}, noise(48));
  auto cache = maximum.make_cache(x.view());
  Tensor<float, 2> y(2, 8);
  Tensor<float, 2> narrow_y(2, 7);
  Tensor<float, 2> long_y(3, 8);
  const auto message = [](auto call) { return message_of<ph::ShapeError>(call); };
  CHECK(message([&] { maximum.forward(x.view(), narrow_y, cache); }) ==
        "GlobalMaxPool::forward: y is [2, 7], expected [2, 8]");
  CHECK(message([&] { maximum.forward(x.view(), long_y); }) ==
        "GlobalMaxPool::forward: y is [3, 8], expected [2, 8]");
  CHECK(message([&] { average.forward(x.view(), narrow_y); }) ==
        "GlobalAveragePool::forward: y is [2, 7], expected [2, 8]");
  CHECK(message([&] { both.forward(x.view(), y); }) == "concat::forward: y is [2, 8], expected [2, 16]");
  CHECK(narrow_y.dimension(1) == 7);  // y is never resized

  auto other = maximum.make_cache(Map<Nchw<float>>({2, 8, 4, 3}).view());
  CHECK(message([&] { maximum.forward(x.view(), y, other); }) ==
        "GlobalMaxPool::forward: the cache was made for [2, 8, 4, 3], expected [2, 8, 3, 4]");
  const Map<Nhwc<float>> last({2, 8, 3, 4});
  CHECK(message([&] { maximum.forward(last.view(), y, other); }) ==
        "GlobalMaxPool::forward: the cache was made for [2, 4, 3, 8], expected [2, 3, 4, 8]");
  ph::GlobalMaxPool::Cache<float> no_cache;
  CHECK_THROWS_AS(maximum.forward(x.view(), y, no_cache), ph::ShapeError);
}

TEST_CASE("no pool takes a map without channels or positions", "[pool][api][error]") {
  const auto sentence = [](const std::string& call, const std::string& extents) {
    return call + ": x is " + extents + ", expected at least one channel and one position";
  };
  const auto message = [](auto call) { return message_of<ph::ShapeError>(call); };
  const auto check = [&](const auto& pool, const std::string& name) {
    const Tensor<float, 4> no_channels(2, 0, 3, 4);
    const Tensor<float, 4> no_rows(2, 8, 0, 4);
    Tensor<float, 2> y(2, pool.features(8));
    CHECK(message([&] { pool(ph::nchw(no_channels)); }) == sentence(name + "::forward", "[2, 0, 3, 4]"));
    CHECK(message([&] { pool(ph::nhwc(no_channels)); }) == sentence(name + "::forward", "[2, 0, 3, 4]"));
    CHECK(message([&] { pool.forward(ph::nchw(no_rows), y); }) == sentence(name + "::forward", "[2, 8, 0, 4]"));
    CHECK(message([&] { pool.make_cache(ph::nchw(no_rows)); }) ==
          sentence(name + "::make_cache", "[2, 8, 0, 4]"));
    const Tensor<float, 3> rank3(2, 8, 0);
    CHECK_THROWS_AS(pool(ph::channels_first(rank3)), ph::ShapeError);
  };
  check(average, "GlobalAveragePool");
  check(maximum, "GlobalMaxPool");
  check(both, "concat");
}

TEMPLATE_PRODUCT_TEST_CASE("backward refuses misuse by name and leaves dx as it was", "[pool][api][error]",
                           (Nchw, Nhwc), (float)) {
  const Extents e{2, 8, 3, 4};
  const Map<TestType> x(e, noise(49));
  Map<TestType> dx(e, constant(-77));
  const std::vector<float> untouched = dx.values;
  Tensor<float, 2> y(2, 8);
  const Tensor<float, 2> dy = make_rows<float>(2, 8, noise(50));
  auto cache = maximum.make_cache(x.view());
  maximum.forward(x.view(), y, cache);
  const auto shape_error = [](auto call) { return message_of<ph::ShapeError>(call); };
  const auto value_error = [](auto call) { return message_of<ph::ValueError>(call); };
  constexpr bool first = std::same_as<typename TestType::Layout, ph::ChannelsFirst>;

  const Tensor<float, 2> narrow_rows(2, 7);
  const Tensor<float, 2> long_rows(3, 8);
  CHECK(shape_error([&] { maximum.backward(x.view(), y, narrow_rows, dx.view(), cache); }) ==
        "GlobalMaxPool::backward: dy is [2, 7], expected [2, 8]");
  CHECK(shape_error([&] { maximum.backward(x.view(), long_rows, dy, dx.view(), cache); }) ==
        "GlobalMaxPool::backward: y is [3, 8], expected [2, 8]");

  Map<TestType> wide({2, 8, 3, 5});
  CHECK(shape_error([&] { maximum.backward(x.view(), y, dy, wide.view(), cache); }) ==
        (first ? "GlobalMaxPool::backward: dx is [2, 8, 3, 5], expected [2, 8, 3, 4]"
               : "GlobalMaxPool::backward: dx is [2, 3, 5, 8], expected [2, 3, 4, 8]"));

  const auto other = maximum.make_cache(Map<TestType>({2, 8, 4, 3}).view());
  CHECK(shape_error([&] { maximum.backward(x.view(), y, dy, dx.view(), other); }) ==
        (first ? "GlobalMaxPool::backward: the cache was made for [2, 8, 4, 3], expected [2, 8, 3, 4]"
               : "GlobalMaxPool::backward: the cache was made for [2, 4, 3, 8], expected [2, 3, 4, 8]"));

  const auto fresh = maximum.make_cache(x.view());
  CHECK(value_error([&] { maximum.backward(x.view(), y, dy, dx.view(), fresh); }) ==
        "GlobalMaxPool::backward: the cache is empty, expected one that forward has filled");
  const auto fresh_average = average.make_cache(x.view());
  CHECK_THROWS_AS(average.backward(x.view(), y, dy, dx.view(), fresh_average), ph::ValueError);
  const Tensor<float, 2> wide_rows(2, 16);
  const auto fresh_both = both.make_cache(x.view());
  CHECK(value_error([&] { both.backward(x.view(), wide_rows, wide_rows, dx.view(), fresh_both); }) ==
        "concat::backward: the cache is empty, expected one that forward has filled");

  auto forged = cache;
  forged.argmax(1, 2) = 12;
  CHECK(value_error([&] { maximum.backward(x.view(), y, dy, dx.view(), forged); }) ==
        "GlobalMaxPool::backward: argmax of plane 10 is 12, expected a position in 0..11");
  forged.argmax.resize(2, 7);
  CHECK_THROWS_AS(maximum.backward(x.view(), y, dy, dx.view(), forged), ph::ValueError);

  CHECK(dx.values == untouched);
}

TEMPLATE_PRODUCT_TEST_CASE("concat refuses a forged argmax of one of its heads", "[pool][api][error]",
                           (Nchw, Nhwc), (float)) {
  const Map<TestType> x({2, 8, 3, 4}, noise(51));
  Map<TestType> dx(x.extents, constant(-77));
  const std::vector<float> untouched = dx.values;
  Tensor<float, 2> y(2, 16);
  auto cache = both.make_cache(x.view());
  both.forward(x.view(), y, cache);
  std::get<1>(cache.heads).argmax(0, 0) = -1;
  CHECK_THROWS_AS(both.backward(x.view(), y, y, dx.view(), cache), ph::ValueError);
  CHECK(dx.values == untouched);
}

TEST_CASE("dx may lie next to x but not on it", "[pool][api][error]") {
  const Extents e{2, 3, 2, 2};
  const auto size = static_cast<std::size_t>(e.size());
  std::vector<float> memory(3 * size, 1.0f);
  const auto x = ph::nchw(static_cast<const float*>(memory.data() + size), 2, 3, 2, 2);
  Tensor<float, 2> y(2, 3);
  auto cache = average.make_cache(x);
  average.forward(x, y, cache);
  const auto backward_at = [&](std::size_t offset) {
    average.backward(x, y, y, ph::nchw(memory.data() + offset, 2, 3, 2, 2), cache);
  };
  for (std::size_t offset : {std::size_t{1}, size - 1, size, size + 1, 2 * size - 1}) {
    CAPTURE(offset);
    CHECK(message_of<ph::ValueError>([&] { backward_at(offset); }) ==
          "GlobalAveragePool::backward: dx overlaps x, expected memory of its own");
  }
  CHECK(memory == std::vector<float>(3 * size, 1.0f));
  CHECK_NOTHROW(backward_at(0));
  CHECK_NOTHROW(backward_at(2 * size));
}

TEMPLATE_PRODUCT_TEST_CASE("results are the same bits for every number of threads and from run to run",
                           "[pool][threads]", (Nchw, Nhwc), POOLHEAD_SCALARS) {
  using Scalar = typename TestType::Scalar;
  for (const Extents& e : {Extents{5, 67, 60, 61}, {1, 3, 700, 701}}) {
    const auto is_nan = [&](Index c, Index s) { return c == 1 && s >= e.positions() / 2; };
    const Map<TestType> x(e, with_nan(noise(52), is_nan));
    const Tensor<Scalar, 2> dy = make_rows<Scalar>(e.n, both.features(e.c), noise(53));
    Tensor<Scalar, 2> y(dy.dimensions());
    Map<TestType> dx(e);
    auto cache = both.make_cache(x.view());
    both.forward(x.view(), y, cache);
    both.backward(x.view(), y, dy, dx.view(), cache);

    for (int size : {1, 2, 3, 4, 7}) {
      Eigen::ThreadPool pool(size);
      const Eigen::ThreadPoolDevice device(&pool, size);
      for (int run = 0; run < 2; ++run) {
        CAPTURE(e, size, run);
        Tensor<Scalar, 2> threaded_y(dy.dimensions());
        Map<TestType> threaded_dx(e);
        auto threaded_cache = both.make_cache(x.view());
        both.forward(x.view(), threaded_y, threaded_cache, device);
        both.backward(x.view(), threaded_y, dy, threaded_dx.view(), threaded_cache, device);
        CHECK(same_bits(threaded_y, y));
        CHECK(same_bits(threaded_dx.values, dx.values));
        CHECK(same_bits(std::get<1>(threaded_cache.heads).argmax, std::get<1>(cache.heads).argmax));
      }
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("where the parameters are fixed dx is the same", "[pool][backward]", (Nchw, Nhwc),
                           (float)) {
  for (const Extents& e : {Extents{2, 19, 7, 7}, {2, 9, 12, 13}}) {
    const Map<TestType> x(e, noise(55));
    const auto check = [&](const auto& pool) {
      const Tensor<float, 2> dy = make_rows<float>(e.n, pool.features(e.c), noise(56));
      Tensor<float, 2> y(dy.dimensions());
      Map<TestType> dx(e), alone(e);
      auto cache = pool.make_cache(x.view());
      auto gradient = ph::zeros_like(pool);
      pool.forward(x.view(), y, cache);
      pool.backward(x.view(), y, dy, dx.view(), cache, gradient);
      pool.backward(x.view(), y, dy, alone.view(), cache, ph::no_gradient);
      pool.backward(x.view(), y, dy, ph::no_gradient, cache, ph::no_gradient);  // nothing
      for (std::size_t i = 0; i < dx.values.size(); ++i)
        REQUIRE(std::abs(alone.values[i] - dx.values[i]) <= 1e-6f * (1 + std::abs(dx.values[i])));
    };
    check(ph::GlobalMaxPool{});
    check(ph::GeneralizedMeanPool<float>(3.0f));
    check(ph::GeneralizedMeanPool<float>(e.c, 2.7f));
    check(ph::GeneralizedMeanPool<float>(0.3f));  // in double
    check(ph::LogSumExpPool<float>(2.0f));
    check(ph::AttentionPool<float>(e.c, 4));
    check(ph::concat(ph::GeneralizedMeanPool<float>(3.0f), ph::SpatialPyramidPool({1, 2}),
                     ph::concat(ph::GlobalAveragePool{}, ph::LogSumExpPool<float>(0.3f)),
                     ph::concat(ph::GlobalMaxPool{})));
  }
}

TEST_CASE("inference and single heads are the same bits on every device", "[pool][threads]") {
  const Map<Nchw<float>> x({4, 80, 60, 60}, noise(54));
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  const auto check = [&](const auto& head) {
    Tensor<float, 2> y(4, head.features(x.extents.c));
    head.forward(x.view(), y, device);
    CHECK(same_bits<Tensor<float, 2>>(y, head(x.view())));
    CHECK(same_bits<Tensor<float, 2>>(y, head(x.view(), device)));
  };
  check(average);
  check(maximum);
  check(both);
}

TEST_CASE("a pool may be called from every worker of its own thread pool", "[pool][threads]") {
  const Map<Nhwc<float>> x({4, 80, 60, 60}, noise(55));
  const Tensor<float, 2> expected = both(x.view());
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  constexpr unsigned tasks = 6;
  std::atomic<unsigned> right = 0;
  Eigen::Barrier done(tasks);
  for (unsigned task = 0; task < tasks; ++task) {
    pool.Schedule([&] {
      if (same_bits<Tensor<float, 2>>(both(x.view(), device), expected)) ++right;
      done.Notify();
    });
  }
  done.Wait();
  CHECK(right == tasks);
}

TEST_CASE("two threads may share one pool object and one device, each with its own cache", "[pool][threads]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  std::atomic<int> right = 0;
  const auto user = [&](std::uint64_t seed) {
    const Map<Nchw<float>> x({4, 64, 40, 40}, noise(seed));
    const Tensor<float, 2> expected = both(x.view());
    Map<Nchw<float>> expected_dx(x.extents);
    Map<Nchw<float>> dx(x.extents);
    Tensor<float, 2> y(4, 128);
    auto serial_cache = both.make_cache(x.view());
    both.forward(x.view(), y, serial_cache);
    both.backward(x.view(), y, expected, expected_dx.view(), serial_cache);
    auto cache = both.make_cache(x.view());
    for (int run = 0; run < 10; ++run) {
      y.setZero();
      both.forward(x.view(), y, cache, device);
      both.backward(x.view(), y, expected, dx.view(), cache, device);
      if (same_bits(y, expected) && same_bits(dx.values, expected_dx.values)) ++right;
    }
  };
  std::thread first(user, 56);
  std::thread second(user, 57);
  first.join();
  second.join();
  CHECK(right == 20);
}
