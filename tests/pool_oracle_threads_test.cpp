// The promise that threads change no bit, for every pool.
#define EIGEN_USE_THREADS
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
const std::vector<Index> levels{1, 2, 4};

/// The heads of the design's first example.
template <class T>
auto pyramid_heads() {
  return ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, ph::GeneralizedMeanPool<T>(T(3)),
                    ph::SpatialPyramidPool(levels));
}

/// Whether threads give the bits of one thread, for pools of any kind.
template <class Pool, class Type>
void check_threads(const Pool& pool, const Map<Type>& x) {
  using T = typename Type::Scalar;
  const RowTensor<T> dy = noise_rows<T>(pool, x.extents);
  const PoolRun serial(pool, x, dy);
  for (const int count : {1, 2, 3, 7}) {
    Eigen::ThreadPool threads(count);
    const Eigen::ThreadPoolDevice device(&threads, count);
    const PoolRun run(pool, x, dy, device);
    CAPTURE(count);
    CHECK(same_bits(run.y, serial.y));
    CHECK(same_bits(run.dx.values, serial.dx.values));
    CHECK(same_bits(run.parameters(), serial.parameters()));
    CHECK(same_bits<RowTensor<T>>(pool(x.view(), device), serial.y));
  }
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("threads change no bit of any pool", "[pool][threads]", (Nchw, Nhwc), (float)) {
  using T = typename TestType::Scalar;
  const Map<TestType> x({9, 37, 40, 41}, noise(6));
  check_threads(pyramid_heads<T>(), x);
  check_threads(ph::concat(gem_of_channels<T>(37), ph::LogSumExpPool<T>(T(2)), ph::SoftPool{},
                           ph::AttentionPool<T>(37, 3), ph::GlobalLpPool(2.5), ph::AverageMaxPool{},
                           ph::SpatialPyramidPool(levels, ph::SpatialPyramidPool::max)),
                x);
  check_threads(ph::AttentionPool<T>(37, 3, ph::AttentionPool<T>::sigmoid), x);
  // One sample, many channels: parameter gradients come from every thread.
  const Map<TestType> one({1, 300, 50, 51}, noise(7));
  check_threads(gem_of_channels<T>(300), one);
  check_threads(ph::LogSumExpPool<T>(T(2)), one);
  // Many hidden weights, alone and behind another pool.
  const Map<TestType> wide({3, 1003, 3, 3}, noise(9));
  check_threads(ph::AttentionPool<T>(1003, 33), wide);
  check_threads(ph::concat(ph::GlobalAveragePool{}, ph::AttentionPool<T>(1003, 33)), wide);
}

TEMPLATE_PRODUCT_TEST_CASE("threads change no bit of 16-bit and double pools", "[pool][threads]", (Nchw, Nhwc),
                           (double, Eigen::bfloat16)) {
  using T = typename TestType::Scalar;
  const Map<TestType> x({9, 37, 40, 41}, noise(8));
  check_threads(ph::concat(ph::GlobalAveragePool{}, gem_of_channels<T>(37), ph::AttentionPool<T>(37, 2)), x);
}

// The planes' shares of a parameter's gradient are compared before a float rounds their sum.
TEST_CASE("threads change no bit of sums beside bins, whose rows come in parts", "[pool][threads]") {
  for (const Extents& extents : {Extents{1, 704, 45, 45}, Extents{1, 352, 61, 61}}) {
    const Map<Nhwc<float>> x(extents, noise(10));
    const auto pool = ph::concat(ph::GeneralizedMeanPool<float>(2.5F), ph::SpatialPyramidPool(levels));
    const RowTensor<float> dy = noise_rows<float>(pool, extents);
    const auto shares = [&](const auto&... device) {
      const PoolRun run(pool, x, dy, device...);
      const double* const first = std::get<0>(run.cache.heads).shares.data();
      return std::vector<double>(first, first + extents.c);
    };
    const std::vector<double> serial = shares();
    for (const int count : {2, 4, 6, 8}) {
      Eigen::ThreadPool threads(count);
      CAPTURE(count, extents.c);
      CHECK(shares(Eigen::ThreadPoolDevice(&threads, count)) == serial);
    }
  }
}
