// After the first call with a shape, no call of the library allocates (on DefaultDevice; Eigen's task queue
// may).
#include <poolhead/poolhead.hpp>

#include "support/allocation.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

#include <string>

namespace ph = poolhead;
using namespace ph::test;

// Compiled for two scalars; by tests/long.sh, in minutes, for all.
#ifdef POOLHEAD_LONG_TESTS
#define POOLHEAD_SCALARS (float, double, Eigen::half, Eigen::bfloat16)
#else
#define POOLHEAD_SCALARS (float, Eigen::bfloat16)
#endif

namespace {
const void* volatile seen;  // or the compiler may leave an allocation out
}

TEST_CASE("the counter counts", "[allocation]") {
  struct alignas(64) Wide {
    char bytes[64];
  };
  const auto count = [](auto make) {
    return allocations_of([&] {
      const auto made = make();
      seen = made.data();
    });
  };
  CHECK(allocations_of([] {}) == 0);
  CHECK(count([] { return std::vector<int>(10); }) > 0);
  CHECK(count([] { return std::vector<Wide>(10); }) > 0);
  CHECK(count([] { return std::string(100, ' '); }) > 0);
  CHECK(count([] { return Eigen::VectorXf(10); }) > 0);
  CHECK(count([] { return RowTensor<float>(3, 4); }) > 0);
  CHECK(allocations_of([] { ::operator delete[](::operator new[](8, std::nothrow)); }) > 0);
  CHECK(allocations_of([] {
          void* const memory = std::malloc(64);
          seen = memory;
          std::free(memory);
        }) > 0);
}

TEMPLATE_PRODUCT_TEST_CASE("pools allocate nothing after their cache is made", "[allocation]", (Nchw, Nhwc),
                           POOLHEAD_SCALARS) {
  using Scalar = typename TestType::Scalar;
  const auto check = [](const auto& pool) {
    const Map<TestType> x({3, 37, 5, 7}, noise(60));
    Map<TestType> dx(x.extents);
    RowTensor<Scalar> y(3, pool.features(37));
    auto cache = pool.make_cache(x.view());
    auto grad = ph::zeros_like(pool);
    const auto step = [&] {
      pool.forward(x.view(), y);
      pool.forward(x.view(), y, cache);
      pool.backward(x.view(), y, y, dx.view(), cache);
      pool.backward(x.view(), y, y, dx.view(), cache, grad);
      ph::visit_parameters(grad, [](auto, auto) {});
    };
    step();
    CHECK(allocations_of(step) == 0);
    CHECK(allocations_of([&] { pool(x.view()); }) > 0);  // makes its answer
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
  check(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}));
}

TEMPLATE_TEST_CASE("a training step allocates nothing after the first", "[allocation]", ph::ChannelsFirst,
                   ph::ChannelsLast) {
  const std::vector<float> pixels(20 * 16 * 16, 0.5f);
  const std::vector<int> labels(20, 1);
  ph::FeatureShape shape{.batch = 20, .channels = 1, .spatial = {1, 16, 16}};
  const ph::FeatureMap<const float, TestType> x(pixels.data(), shape);
  auto network = ph::four_head_basic<float>({.in_channels = 1});
  auto gradient = ph::zeros_like(network);
  ph::Adam adam(network);
  ph::DataParallel<decltype(network), ph::FeatureMap<const float, TestType>> parallel(8);  // 8 + 8 + 4 samples
  const auto step = [&] {
    parallel.gradient(network, x, std::span<const int>(labels), gradient);
    adam.step(network, gradient);
    parallel.evaluate(network, x, std::span<const int>(labels));
  };
  const std::size_t before = allocations;
  step();
  const std::size_t first = allocations;
  CHECK(first > before);
  step();
  CHECK(allocations == first);
}
