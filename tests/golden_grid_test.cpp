// The goldens of PyTorch for the pools over grids of bins.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

namespace {

const auto pyramid = [](const Json& pool, Index, auto) {
  const auto kind =
      pool.at("kind") == "average" ? ph::SpatialPyramidPool::average : ph::SpatialPyramidPool::max;
  return ph::SpatialPyramidPool(pool.at("levels").get<std::vector<Index>>(), kind);
};

}  // namespace

TEST_CASE("SpatialPyramidPool gives the goldens of averages", "[golden]") {
  CHECK(replay("SpatialPyramidPool", "average", pyramid) >= 30);
}

TEST_CASE("SpatialPyramidPool gives the goldens of maxima", "[golden]") {
  CHECK(replay("SpatialPyramidPool", "max", pyramid) >= 30);
}

TEST_CASE("AdaptiveAveragePool gives the goldens", "[golden]") {
  const auto make = [](const Json& pool, Index, auto) {
    return ph::AdaptiveAveragePool(pool.at("grid").at(0), pool.at("grid").at(1));
  };
  CHECK(replay("AdaptiveAveragePool", "", make) >= 25);
}

TEST_CASE("AdaptiveMaxPool gives the goldens", "[golden]") {
  const auto make = [](const Json& pool, Index, auto) {
    return ph::AdaptiveMaxPool(pool.at("grid").at(0), pool.at("grid").at(1));
  };
  CHECK(replay("AdaptiveMaxPool", "", make) >= 25);
}
