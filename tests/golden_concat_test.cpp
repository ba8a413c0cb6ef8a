// The goldens of PyTorch for heads side by side; attention among them replays in
// golden_concat_attention_test.cpp. make_pool_goldens.py lists the heads.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

TEST_CASE("concat of average and max gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) {
    return ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{});
  };
  CHECK(replay("concat", "average max", make) >= 10);
}

TEST_CASE("concat of average, max, generalized mean and pyramid gives the goldens", "[golden]") {
  const auto make = []<class T>(const Json&, Index, T) {
    return ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, ph::GeneralizedMeanPool<T>(T(1)),
                      ph::SpatialPyramidPool({1, 2, 4}));
  };
  CHECK(replay("concat", "average max gem pyramid", make) >= 10);
}

TEST_CASE("concat of norm, average and max, and grid gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) {
    return ph::concat(ph::GlobalLpPool(3.0), ph::AverageMaxPool{}, ph::AdaptiveMaxPool(3, 2));
  };
  CHECK(replay("concat", "lp average_max adaptive", make) >= 8);
}
