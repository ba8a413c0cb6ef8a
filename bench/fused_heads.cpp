#include <poolhead/pool/concat.hpp>
#include <poolhead/pool/generalized_mean.hpp>
#include <poolhead/pool/global_average.hpp>
#include <poolhead/pool/global_max.hpp>
#include <poolhead/pool/spatial_pyramid.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_fused_heads() {
  add_pool(
      {.name = "GAP+GMP", .peer = {PeerKind::average_and_max}, .columns = {1, 1}},
      []<class T>(Index) { return concat(GlobalAveragePool{}, GlobalMaxPool{}); },
      [](const auto&) { return test::ConcatOracle(test::AverageOracle{}, test::MaxOracle{}); });
  const std::vector<Index> levels{1, 2, 4};
  add_pool<Use::fixed_parameters>(
      {.name = "four-heads",
       .peer = {PeerKind::four_heads, 3.0, {{1, 1}, {2, 2}, {4, 4}}},
       .backward_reads_x = true,
       .columns = {1, 1, 1, 1, 4, 16}},
      [=]<class T>(Index) {
        return concat(GlobalAveragePool{}, GlobalMaxPool{}, GeneralizedMeanPool<T>(T(3)),
                      SpatialPyramidPool(levels));
      },
      [=](const auto& pool) {
        const auto& gem = std::get<2>(pool.heads);
        return test::ConcatOracle(test::AverageOracle{}, test::MaxOracle{},
                                  test::GeneralizedMeanOracle{{3.0}, static_cast<double>(gem.eps)},
                                  test::pyramid_oracle(levels, false));
      });
}

}  // namespace poolhead::bench
