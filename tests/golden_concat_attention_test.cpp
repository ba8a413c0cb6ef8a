// The goldens of PyTorch for attention and other heads side by side. make_pool_goldens.py lists the heads.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

TEST_CASE("concat of attention, generalized mean and max gives the goldens", "[golden]") {
  const auto make = []<class T>(const Json&, Index channels, T) {
    return ph::concat(ph::AttentionPool<T>(channels, 6, ph::AttentionPool<T>::softmax),
                      ph::GeneralizedMeanPool<T>(channels, T(1)), ph::GlobalMaxPool{});
  };
  CHECK(replay("concat", "attention gem max", make) >= 8);
}

TEST_CASE("concat of exponentials, grids and sigmoid attention gives the goldens", "[golden]") {
  const auto make = []<class T>(const Json&, Index channels, T) {
    return ph::concat(ph::LogSumExpPool<T>(T(1)), ph::SpatialPyramidPool({1, 3}, ph::SpatialPyramidPool::max),
                      ph::SoftPool{}, ph::AdaptiveAveragePool(2, 3),
                      ph::AttentionPool<T>(channels, 3, ph::AttentionPool<T>::sigmoid));
  };
  CHECK(replay("concat", "lse pyramid soft adaptive sigmoid", make) >= 8);
}
