// What takes long to compile and all networks share is instantiated once, in kernels_*.cpp and heads_*.cpp.
// Every unit of the program includes this before it names a network.
#pragma once

#define EIGEN_USE_THREADS

#include <poolhead/nn/any_head.hpp>
#include <poolhead/nn/conv2d.hpp>

namespace poolhead::inline POOLHEAD_ISA {

#define POOLHEAD_FORWARD_CONVOLUTION(EXTERN, T, L)                                                 \
  EXTERN template void detail::convolve<T, L, Eigen::ThreadPoolDevice>(                            \
      const detail::ConvolutionGeometry&, const FeatureMap<const T, L>&, const T*, const T*,       \
      const FeatureMap<T, L>&, const Eigen::ThreadPoolDevice&);                                    \
  EXTERN template void detail::convolve_backward<T, L, FeatureMap<T, L>, Eigen::ThreadPoolDevice>( \
      const detail::ConvolutionGeometry&, const FeatureMap<const T, L>&, const T*,                 \
      const FeatureMap<const T, L>&, const FeatureMap<T, L>&, T*, T*, const Eigen::ThreadPoolDevice&);

#define POOLHEAD_FORWARD_DENSE(EXTERN, T)                                                                    \
  EXTERN template void detail::dense_forward<T, Eigen::ThreadPoolDevice>(                                    \
      const Rows<const T>&, const Rows<const T>&, const T*, const Rows<T>&, const Eigen::ThreadPoolDevice&); \
  EXTERN template void detail::dense_backward<T, Eigen::ThreadPoolDevice>(                                   \
      const Rows<const T>&, const Rows<const T>&, const Rows<T>&, const Eigen::ThreadPoolDevice&);           \
  EXTERN template void detail::dense_gradient<T, Eigen::ThreadPoolDevice>(                                   \
      const Rows<const T>&, const Rows<const T>&, const Rows<T>&, T*, const Eigen::ThreadPoolDevice&);

#define POOLHEAD_FORWARD_HEAD(EXTERN, T, L)                                                               \
  EXTERN template void AnyHead<T>::forward(const FeatureMap<const T, L>&, const Rows<T>&,                 \
                                           AnyHead<T>::Cache<FeatureMap<T, L>>&,                          \
                                           const Eigen::ThreadPoolDevice&) const;                         \
  EXTERN template void AnyHead<T>::backward(                                                              \
      const FeatureMap<const T, L>&, const Rows<const T>&, const Rows<const T>&, const FeatureMap<T, L>&, \
      const AnyHead<T>::Cache<FeatureMap<T, L>>&, AnyHead<T>&, const Eigen::ThreadPoolDevice&) const;

#define POOLHEAD_FORWARD_KERNELS(KERNEL) \
  KERNEL(extern, float, ChannelsFirst)   \
  KERNEL(extern, float, ChannelsLast)    \
  KERNEL(extern, double, ChannelsFirst)  \
  KERNEL(extern, double, ChannelsLast)

POOLHEAD_FORWARD_KERNELS(POOLHEAD_FORWARD_CONVOLUTION)
POOLHEAD_FORWARD_DENSE(extern, float)
POOLHEAD_FORWARD_DENSE(extern, double)
POOLHEAD_FORWARD_KERNELS(POOLHEAD_FORWARD_HEAD)

}  // namespace poolhead::inline POOLHEAD_ISA
