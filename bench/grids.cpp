#include <poolhead/pool/adaptive.hpp>
#include <poolhead/pool/spatial_pyramid.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_grids() {
  const std::vector<Index> levels{1, 2, 4};
  const std::vector<std::pair<std::int64_t, std::int64_t>> pyramid{{1, 1}, {2, 2}, {4, 4}}, grid{{3, 3}};
  const auto add_pyramid = [&](const std::string& name, bool max) {
    add_pool(
        {.name = name,
         .peer = {max ? PeerKind::grids_max : PeerKind::grids_average, 0.0, pyramid},
         .columns = {1, 4, 16}},
        [=]<class T>(Index) {
          return SpatialPyramidPool(levels, max ? SpatialPyramidPool::max : SpatialPyramidPool::average);
        },
        [=](const auto&) { return test::pyramid_oracle(levels, max); });
  };
  add_pyramid("SPP-average", false);
  add_pyramid("SPP-max", true);
  add_pool(
      {.name = "AdaptiveAverage-3x3", .peer = {PeerKind::grids_average, 0.0, grid}, .columns = {9}},
      []<class T>(Index) { return AdaptiveAveragePool(3, 3); },
      [](const auto&) {
        return test::GridOracle{{{3, 3}}, false};
      });
  add_pool(
      {.name = "AdaptiveMax-3x3", .peer = {PeerKind::grids_max, 0.0, grid}, .columns = {9}},
      []<class T>(Index) { return AdaptiveMaxPool(3, 3); },
      [](const auto&) {
        return test::GridOracle{{{3, 3}}, true};
      });
}

}  // namespace poolhead::bench
