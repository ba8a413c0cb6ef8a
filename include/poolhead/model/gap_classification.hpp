// The last block of a modern classifier: a 1x1 convolution, batch-norm, a global pool, one dense layer.
#pragma once

#include "poolhead/model/pooled_cnn.hpp"
#include "poolhead/nn/batch_norm2d.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// conv 2048 (1x1), batch-norm, ReLU, the head, dense. Input (N, in_channels, H, W), by default of 512
/// channels; output (N, num_classes), logits. Names: features.0, features.1, global_pool.*, classifier.
template <std::floating_point T>
auto gap_classification(const PooledCnnOptions& options = {.in_channels = 512, .num_classes = 1000},
                        std::uint64_t seed = 0) {
  const AnyHead<T> head(options.head, 2048, seed);
  auto network = sequential(
      named<"features">(sequential(Conv2d<T>(options.in_channels, 2048, 1), BatchNorm2d<T>(2048), ReLU{})),
      named<"global_pool">(head), named<"classifier">(Dense<T>(head.features(2048), options.num_classes)));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
