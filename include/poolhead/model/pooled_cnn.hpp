// Three convolutions, any head, one dense layer.
#pragma once

#include "poolhead/nn/any_head.hpp"
#include "poolhead/nn/conv2d.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct PooledCnnOptions {
  Index in_channels = 3;
  Index num_classes = 10;
  HeadOptions head{};  ///< height and width are those of the images
};

/// conv 64, ReLU, conv 128, ReLU, conv 256, ReLU (3x3, padding 1), the head, dense. Input (N, in_channels, H,
/// W); output (N, num_classes), logits. Names: features.0/.2/.4, global_pool.*, classifier.
template <std::floating_point T>
auto pooled_cnn(const PooledCnnOptions& options = {}, std::uint64_t seed = 0) {
  const auto conv = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  const AnyHead<T> head(options.head, 256, seed);
  auto network = sequential(named<"features">(sequential(conv(options.in_channels, 64), ReLU{}, conv(64, 128),
                                                         ReLU{}, conv(128, 256), ReLU{})),
                            named<"global_pool">(head),
                            named<"classifier">(Dense<T>(head.features(256), options.num_classes)));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
