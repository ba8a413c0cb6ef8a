// The four-head CNN of this library: four different pools on one stem, in one pass.
#pragma once

#include "poolhead/model/four_head_stem.hpp"
#include "poolhead/nn/attention_head.hpp"
#include "poolhead/pool/concat.hpp"
#include "poolhead/pool/generalized_mean.hpp"
#include "poolhead/pool/spatial_pyramid.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The stem of four-head-basic, then average, maximum, GeM (learned p) and a fourth pool fused on it, dense,
/// ReLU, dense. The fourth is SPP 1-2-4 or, given, attention: four_head<T>({}, 0, AttentionHead<T>(64, 4)).
/// Input (N, in_channels, H, W) of at least 4x4; output (N, num_classes), logits. Names: conv_layers.0/.3,
/// pools.2.p, pools.3.attention.0/.2, fc.0, fc.2.
template <std::floating_point T, Pool Fourth = SpatialPyramidPool>
auto four_head(const FourHeadOptions& options = {}, std::uint64_t seed = 0,
               Fourth fourth = SpatialPyramidPool({1, 2, 4})) {
  auto pools = concat(GlobalAveragePool{}, GlobalMaxPool{}, GeneralizedMeanPool<T>(T(3)), std::move(fourth));
  const Index features = pools.features(64);
  auto network = sequential(detail::four_head_stem<T>(options.in_channels), named<"pools">(std::move(pools)),
                            detail::four_head_top<T>(features, options));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
