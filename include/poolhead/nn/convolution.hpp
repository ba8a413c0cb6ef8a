// The kernel seam of convolution.
#pragma once

#include "poolhead/nn/convolution_gradient.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// y = x * weight + bias: weight (O, I / groups, kh, kw), bias (O) or null.
template <class T, class L, Device D>
void convolve(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x, const T* weight,
              const T* bias, const FeatureMap<T, L>& y, const D& device) {
  if (x.batch() > 0) convolve_one<T, L>(geometry, false, x, weight, bias, y, device);
}

/// weight_gradient += dy^T x; bias_gradient, where it is not null, += sum of dy; dx, where it is asked for, is
/// overwritten.
template <class T, class L, class DX, Device D>
void convolve_backward(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x, const T* weight,
                       const FeatureMap<const T, L>& dy, const DX& dx, T* weight_gradient, T* bias_gradient,
                       const D& device) {
  if (x.batch() == 0) return;
  add_weight_gradient(geometry, x, dy, weight_gradient, bias_gradient, device);
  if constexpr (!std::same_as<DX, NoGradient>)
    convolve_one<T, L>(geometry, true, dy, weight, nullptr, dx, device);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
