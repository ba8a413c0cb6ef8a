// The kernel seam of convolution: forward and backward of one or several convolutions of one geometry on one
// input.
#pragma once

#include "poolhead/nn/convolution_gradient.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// One of the convolutions: its parameters, (O, I / groups, kh, kw) and (O) or null, and its side of the data.
template <class T, class L>
struct ConvolutionForward {
  const T* weight;
  const T* bias;
  FeatureMap<T, L> y;
};
template <class T, class L>
struct ConvolutionBackward {
  const T* weight;
  FeatureMap<const T, L> dy;
  T* weight_gradient;
  T* bias_gradient;  ///< null without bias
};

/// y = x * weight + bias for every convolution of the list.
template <class T, class L, Device D>
void convolve(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x,
              std::span<const ConvolutionForward<T, L>> convolutions, const D& device) {
  if (x.batch() == 0) return;
  for (const auto& one : convolutions)
    convolve_one<T, L>(geometry, false, x, one.weight, one.bias, one.y, false, device);
}

/// For every convolution of the list: weight_gradient += dy^T x, bias_gradient += sum of dy; dx, where it is
/// asked for, is overwritten with the sum of their gradients.
template <class T, class L, class DX, Device D>
void convolve_backward(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x, const DX& dx,
                       std::span<const ConvolutionBackward<T, L>> convolutions, const D& device) {
  if (x.batch() == 0) return;
  bool add = false;
  for (const auto& one : convolutions) {
    weight_gradient(geometry, x, one.dy, one.weight_gradient, one.bias_gradient, device);
    if constexpr (!std::same_as<DX, NoGradient>)
      convolve_one<T, L>(geometry, true, one.dy, one.weight, nullptr, dx, std::exchange(add, true), device);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
