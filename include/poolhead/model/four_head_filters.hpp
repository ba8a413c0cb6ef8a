// The four-head CNN with branches of different width.
#pragma once

#include "poolhead/model/four_head_stem.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The stem of four-head-basic; branches: (1) conv 256, ReLU, conv 128, ReLU; (2) conv 32, ReLU, conv 128,
/// ReLU; (3) conv 128; (4) conv 128, 1x1 (else 3x3, padding 1). Pools: maximum, average, maximum, average; then
/// dense, ReLU, dense. Input (N, in_channels, H, W) of at least 4x4; output (N, num_classes), logits. Names:
/// conv_layers.0/.3, branch1_conv.0/.2, branch2_conv.0/.2, branch3_conv, branch4_conv, fc.0, fc.2.
template <std::floating_point T>
auto four_head_filters(const FourHeadOptions& options = {}, std::uint64_t seed = 0) {
  const auto conv = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  auto network = sequential(
      detail::four_head_stem<T>(options.in_channels),
      unprefixed(concat(
          unprefixed(
              sequential(named<"branch1_conv">(sequential(conv(64, 256), ReLU{}, conv(256, 128), ReLU{})),
                         GlobalMaxPool{})),
          unprefixed(sequential(named<"branch2_conv">(sequential(conv(64, 32), ReLU{}, conv(32, 128), ReLU{})),
                                GlobalAveragePool{})),
          unprefixed(sequential(named<"branch3_conv">(conv(64, 128)), GlobalMaxPool{})),
          unprefixed(sequential(named<"branch4_conv">(Conv2d<T>(64, 128, 1)), GlobalAveragePool{})))),
      detail::four_head_top<T>(512, options));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
