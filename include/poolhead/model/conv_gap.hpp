// The convnets that end in a 1x1 convolution and one global pool.
#pragma once

#include "poolhead/nn/conv2d.hpp"
#include "poolhead/nn/max_pool2d.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/sequential.hpp"
#include "poolhead/nn/sigmoid.hpp"
#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct ConvGapOptions {
  Index in_channels = 1;
  Index num_classes = 10;
};

namespace detail {

/// Everything before the pool: three times two 3x3 convolutions with ReLU and a max-pool 2; then K maps.
template <class T>
auto conv_gap_layers(const ConvGapOptions& options) {
  const auto conv = [](Index in, Index out) { return Conv2d<T>(in, out, 3, {.padding = 1}); };
  return named<"network">(sequential(conv(options.in_channels, 8), ReLU{}, conv(8, 8), ReLU{}, MaxPool2d(2),  //
                                     conv(8, 16), ReLU{}, conv(16, 16), ReLU{}, MaxPool2d(2),                 //
                                     conv(16, 32), ReLU{}, conv(32, 32), ReLU{}, MaxPool2d(2),                //
                                     Conv2d<T>(32, options.num_classes, 1)));
}

}  // namespace detail

/// Convolutions to 8, 8, 16, 16, 32 and 32 channels (3x3, padding 1, ReLU; a max-pool 2 after every second),
/// 1x1 to num_classes, global average, sigmoid. Input (N, in_channels, H, W) of at least 8x8; output (N,
/// num_classes). Names: network.0/.2/.5/.7/.10/.12/.15.
template <std::floating_point T>
auto conv_gap(const ConvGapOptions& options = {}, std::uint64_t seed = 0) {
  auto network = sequential(detail::conv_gap_layers<T>(options), GlobalAveragePool{}, Sigmoid{});
  initialise(network, LinearUniform{}, seed);
  return network;
}

/// conv_gap with the global maximum instead.
template <std::floating_point T>
auto conv_gmp(const ConvGapOptions& options = {}, std::uint64_t seed = 0) {
  auto network = sequential(detail::conv_gap_layers<T>(options), GlobalMaxPool{}, Sigmoid{});
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
