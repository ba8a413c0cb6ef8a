// The binary classifier without activations.
#pragma once

#include "poolhead/model/pooled_cnn.hpp"
#include "poolhead/nn/max_pool2d.hpp"
#include "poolhead/nn/sigmoid.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// conv 32, 64, 128, 256 (3x3, padding 1) with a max-pool 2 between, the head, dense, sigmoid. Input
/// (N, in_channels, H, W) of at least 8x8; output (N, num_classes), by default one probability. Names: 0, 2, 4,
/// 6, global_pool.*, fc.
template <std::floating_point T>
auto simple_cnn(PooledCnnOptions options = {.num_classes = 1}, std::uint64_t seed = 0) {
  const auto conv = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  options.head.height /= 8;
  options.head.width /= 8;
  const AnyHead<T> head(options.head, 256, seed);
  auto network = sequential(conv(options.in_channels, 32), MaxPool2d(2), conv(32, 64), MaxPool2d(2),
                            conv(64, 128), MaxPool2d(2), conv(128, 256), named<"global_pool">(head),
                            named<"fc">(Dense<T>(head.features(256), options.num_classes)), Sigmoid{});
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
