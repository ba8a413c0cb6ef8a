// What takes long to compile and all networks share is instantiated once, in kernels.cpp and heads_*.cpp. Every
// unit that makes networks includes this first.
#pragma once

#include <poolhead/nn/any_head.hpp>
#include <poolhead/nn/conv2d.hpp>

namespace poolhead::inline POOLHEAD_ISA {

#define POOLHEAD_CLASSIFIER_CONVOLUTION(EXTERN, L)                                                         \
  EXTERN template void detail::convolve<float, L, Eigen::ThreadPoolDevice>(                                \
      const detail::ConvolutionGeometry&, const FeatureMap<const float, L>&, const float*, const float*,   \
      const FeatureMap<float, L>&, const Eigen::ThreadPoolDevice&);                                        \
  EXTERN template void detail::convolve_backward<float, L, FeatureMap<float, L>, Eigen::ThreadPoolDevice>( \
      const detail::ConvolutionGeometry&, const FeatureMap<const float, L>&, const float*,                 \
      const FeatureMap<const float, L>&, const FeatureMap<float, L>&, float*, float*,                      \
      const Eigen::ThreadPoolDevice&);                                                                     \
  EXTERN template void detail::convolve_backward<float, L, NoGradient, Eigen::ThreadPoolDevice>(           \
      const detail::ConvolutionGeometry&, const FeatureMap<const float, L>&, const float*,                 \
      const FeatureMap<const float, L>&, const NoGradient&, float*, float*, const Eigen::ThreadPoolDevice&);

#define POOLHEAD_CLASSIFIER_DENSE(EXTERN)                                                                      \
  EXTERN template void detail::dense_forward<float, Eigen::ThreadPoolDevice>(                                  \
      const Rows<const float>&, const Rows<const float>&, const float*, const Rows<float>&,                    \
      const Eigen::ThreadPoolDevice&);                                                                         \
  EXTERN template void detail::dense_backward<float, Eigen::ThreadPoolDevice>(                                 \
      const Rows<const float>&, const Rows<const float>&, const Rows<float>&, const Eigen::ThreadPoolDevice&); \
  EXTERN template void detail::dense_gradient<float, Eigen::ThreadPoolDevice>(                                 \
      const Rows<const float>&, const Rows<const float>&, const Rows<float>&, float*,                          \
      const Eigen::ThreadPoolDevice&);

#define POOLHEAD_CLASSIFIER_HEAD(EXTERN, L)                                                                  \
  EXTERN template void AnyHead<float>::forward(const FeatureMap<const float, L>&, const Rows<float>&,        \
                                               AnyHead<float>::Cache<FeatureMap<float, L>>&,                 \
                                               const Eigen::ThreadPoolDevice&) const;                        \
  EXTERN template void AnyHead<float>::backward(const FeatureMap<const float, L>&, const Rows<const float>&, \
                                                const Rows<const float>&, const FeatureMap<float, L>&,       \
                                                const AnyHead<float>::Cache<FeatureMap<float, L>>&,          \
                                                AnyHead<float>&, const Eigen::ThreadPoolDevice&) const;

POOLHEAD_CLASSIFIER_CONVOLUTION(extern, ChannelsFirst)
POOLHEAD_CLASSIFIER_CONVOLUTION(extern, ChannelsLast)
POOLHEAD_CLASSIFIER_DENSE(extern)
POOLHEAD_CLASSIFIER_HEAD(extern, ChannelsFirst)
POOLHEAD_CLASSIFIER_HEAD(extern, ChannelsLast)

}  // namespace poolhead::inline POOLHEAD_ISA
