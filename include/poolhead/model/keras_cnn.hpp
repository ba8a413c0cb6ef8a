// The Keras CNN: convolutions without padding, a head, softmax.
#pragma once

#include "poolhead/model/pooled_cnn.hpp"
#include "poolhead/nn/softmax.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// conv 64, ReLU, conv 128, ReLU, conv 256, ReLU (3x3, no padding), the head, dense, softmax. Input
/// (N, in_channels, H, W) of at least 7x7; output (N, num_classes), probabilities. Names: features.0/.2/.4,
/// global_pool.*, classifier.
template <std::floating_point T>
auto keras_cnn(PooledCnnOptions options = {}, std::uint64_t seed = 0) {
  options.head.height -= 6;
  options.head.width -= 6;
  const AnyHead<T> head(options.head, 256, seed);
  auto network =
      sequential(named<"features">(sequential(Conv2d<T>(options.in_channels, 64, 3), ReLU{},
                                              Conv2d<T>(64, 128, 3), ReLU{}, Conv2d<T>(128, 256, 3), ReLU{})),
                 named<"global_pool">(head),
                 named<"classifier">(Dense<T>(head.features(256), options.num_classes)), Softmax{});
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
