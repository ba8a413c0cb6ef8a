// The four-head CNN, basic framework: one stem, four convolutions on it, a global pool after each.
#pragma once

#include "poolhead/nn/concat.hpp"
#include "poolhead/nn/dense.hpp"
#include "poolhead/nn/max_pool2d.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct FourHeadOptions {
  Index in_channels = 3;
  Index num_classes = 10;
  Index hidden = 256;
};

/// conv 32, ReLU, max-pool 2, conv 64, ReLU, max-pool 2; on that four convolutions to 128 channels (all 3x3,
/// padding 1), the first with ReLU, each closed by its pool; the 512 features go through dense, ReLU, dense to
/// logits. Input (N, in_channels, H, W) of at least 4x4; output (N, num_classes). Parameter names are those of
/// the document's PyTorch module: conv_layers.0/.3, branch1_conv.0, branch2_conv .. branch4_conv, fc.0, fc.2.
/// The pools default to the document's, maximum and average in turn. Weights start as PyTorch's do, from the
/// seed.
template <std::floating_point T, Pool Pool1 = GlobalMaxPool, Pool Pool2 = GlobalAveragePool,
          Pool Pool3 = GlobalMaxPool, Pool Pool4 = GlobalAveragePool>
auto four_head_basic(const FourHeadOptions& options = {}, std::uint64_t seed = 0) {
  const auto conv = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  auto network =
      sequential(named<"conv_layers">(sequential(conv(options.in_channels, 32), ReLU{}, MaxPool2d(2),
                                                 conv(32, 64), ReLU{}, MaxPool2d(2))),
                 unprefixed(concat(
                     unprefixed(sequential(named<"branch1_conv">(sequential(conv(64, 128), ReLU{})), Pool1{})),
                     unprefixed(sequential(named<"branch2_conv">(conv(64, 128)), Pool2{})),
                     unprefixed(sequential(named<"branch3_conv">(conv(64, 128)), Pool3{})),
                     unprefixed(sequential(named<"branch4_conv">(conv(64, 128)), Pool4{})))),
                 named<"fc">(sequential(Dense<T>(512, options.hidden), ReLU{},
                                        Dense<T>(options.hidden, options.num_classes))));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
