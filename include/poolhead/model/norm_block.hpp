// The block that the multi-scale networks repeat.
#pragma once

#include "poolhead/nn/batch_norm2d.hpp"
#include "poolhead/nn/conv2d.hpp"
#include "poolhead/nn/max_pool2d.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/sequential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// conv 3x3 with padding 1, batch-norm, ReLU, max-pool 2: 0, 1.
template <class T>
using NormBlock = Sequential<Conv2d<T>, BatchNorm2d<T>, ReLU, MaxPool2d>;
template <class T>
NormBlock<T> norm_block(Index in, Index out) {
  return sequential(Conv2d<T>(in, out, 3, {.padding = 1}), BatchNorm2d<T>(out), ReLU{}, MaxPool2d(2));
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
