// Spatial pyramid pooling.
#pragma once

#include "poolhead/pool/bins.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// For every level l a grid of l x l adaptive bins, each averaged or its maximum taken: y[n] = levels one after
/// another, in each of them feature c l^2 + i l + j for channel c and bin (i, j). Backward scatters; bins may
/// overlap, so it accumulates.
///
/// features: C * sum l^2. Bin i of l covers [floor(i L / l), ceil((i + 1) L / l)) of a length L (PyTorch's
/// rule), so any size will do, also one below l. A float average is within 4 ulp of the mean magnitude of its
/// bin on planes of up to 256 positions, within 2 below 1,024 and within 1 from there on; overflow, NaN and
/// ties are GlobalAveragePool's and GlobalMaxPool's. The cache's argmax, (N, features), holds positions in the
/// plane. Maps have two spatial axes, and no mask. He et al., Spatial Pyramid Pooling in Deep Convolutional
/// Networks, 2014; a torch.cat of adaptive pools.
class SpatialPyramidPool : public detail::BinPool<SpatialPyramidPool> {
 public:
  static constexpr std::string_view name = "SpatialPyramidPool";
  enum Kind { average, max };

  std::vector<Index> levels;  ///< each at least 1
  Kind kind;

  /// Throws ValueError where there is no level or one is below 1.
  explicit SpatialPyramidPool(std::vector<Index> grid_sizes, Kind bin_kind = average)
      : levels(std::move(grid_sizes)), kind(bin_kind) {
    check_parameters("", {});
  }

  // The protocol of BinPool.
  detail::Grids grids() const { return {levels.data(), static_cast<Index>(levels.size()), {}}; }
  bool is_max() const { return kind == max; }
};

}  // namespace poolhead::inline POOLHEAD_ISA
