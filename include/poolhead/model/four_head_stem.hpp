// What the four-head CNNs have in common: options, the stem, the dense part.
#pragma once

#include "poolhead/nn/concat.hpp"
#include "poolhead/nn/conv2d.hpp"
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

namespace detail {

/// conv 32, ReLU, max-pool 2, conv 64, ReLU, max-pool 2, all 3x3 with padding 1: conv_layers.0, conv_layers.3.
template <class T>
auto four_head_stem(Index in_channels) {
  return named<"conv_layers">(sequential(Conv2d<T>(in_channels, 32, 3, {.padding = 1}), ReLU{}, MaxPool2d(2),
                                         Conv2d<T>(32, 64, 3, {.padding = 1}), ReLU{}, MaxPool2d(2)));
}

/// dense, ReLU, dense to logits: fc.0, fc.2.
template <class T>
auto four_head_top(Index features, const FourHeadOptions& options) {
  return named<"fc">(
      sequential(Dense<T>(features, options.hidden), ReLU{}, Dense<T>(options.hidden, options.num_classes)));
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
