// The four-head CNN with branches of different architecture.
#pragma once

#include "poolhead/model/four_head_stem.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The stem of four-head-basic; branches to 128 channels, ReLU after every convolution: (1) 3x3, 3x3; (2) 3x3
/// with dilation 2; (3) 1x1; (4) 3x3 to 64, 1x1. Pools: maximum, average, maximum, average; then dense, ReLU,
/// dense. Input (N, in_channels, H, W) of at least 4x4; output (N, num_classes), logits. Names:
/// conv_layers.0/.3, branch1_conv.0/.2, branch2_conv.0, branch3_conv.0, branch4_conv.0/.2, fc.0, fc.2.
template <std::floating_point T>
auto four_head_branches(const FourHeadOptions& options = {}, std::uint64_t seed = 0) {
  const auto conv3 = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  const auto conv1 = [](Index in, Index out) { return Conv2d<T>(in, out, 1); };
  const Conv2d<T> dilated(64, 128, 3, {.padding = 2, .dilation = 2});
  auto network = sequential(
      detail::four_head_stem<T>(options.in_channels),
      unprefixed(concat(
          unprefixed(
              sequential(named<"branch1_conv">(sequential(conv3(64, 128), ReLU{}, conv3(128, 128), ReLU{})),
                         GlobalMaxPool{})),
          unprefixed(sequential(named<"branch2_conv">(sequential(dilated, ReLU{})), GlobalAveragePool{})),
          unprefixed(sequential(named<"branch3_conv">(sequential(conv1(64, 128), ReLU{})), GlobalMaxPool{})),
          unprefixed(
              sequential(named<"branch4_conv">(sequential(conv3(64, 64), ReLU{}, conv1(64, 128), ReLU{})),
                         GlobalAveragePool{})))),
      detail::four_head_top<T>(512, options));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
