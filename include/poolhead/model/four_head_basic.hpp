// The four-head CNN, basic framework: one stem, four convolutions on it, a global pool after each.
#pragma once

#include "poolhead/model/four_head_stem.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// conv 32, ReLU, max-pool 2, conv 64, ReLU, max-pool 2; on that four convolutions to 128 channels (all 3x3,
/// padding 1), the first with ReLU, each closed by its pool; the 512 features go through dense, ReLU, dense to
/// logits. Input (N, in_channels, H, W) of at least 4x4; output (N, num_classes). Parameter names are those of
/// the document's PyTorch module: conv_layers.0/.3, branch1_conv.0, branch2_conv .. branch4_conv, fc.0, fc.2.
/// The pools default to the document's, maximum and average in turn. Weights start as PyTorch's do, from the
/// seed.
template <std::floating_point T, Pool Pool1 = GlobalMaxPool, Pool Pool2 = GlobalAveragePool,
          Pool Pool3 = GlobalMaxPool, Pool Pool4 = GlobalAveragePool>
auto four_head_basic(const FourHeadOptions& options = {}, std::uint64_t seed = 0) {
  const auto conv = [] { return Conv2d<T>(64, 128, 3, {.padding = 1}); };
  auto network = sequential(
      detail::four_head_stem<T>(options.in_channels),
      unprefixed(concat(unprefixed(sequential(named<"branch1_conv">(sequential(conv(), ReLU{})), Pool1{})),
                        unprefixed(sequential(named<"branch2_conv">(conv()), Pool2{})),
                        unprefixed(sequential(named<"branch3_conv">(conv()), Pool3{})),
                        unprefixed(sequential(named<"branch4_conv">(conv()), Pool4{})))),
      detail::four_head_top<T>(512, options));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
