// Adaptive average and max pooling.
#pragma once

#include "poolhead/pool/bins.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// One grid, whose features are rows, or a feature map of the grid's size in x's layout.
template <class Derived, bool max>
class AdaptivePool : public BinPool<Derived> {
 public:
  Index height;  ///< of the output grid, at least 1
  Index width;

  /// Throws ValueError for an extent below 1.
  AdaptivePool(Index output_height, Index output_width) : height(output_height), width(output_width) {
    this->check_parameters("", {});
  }

  /// The shape of the feature map that y may be.
  template <class X>
  auto map_shape(const X& x) const {
    FeatureShape shape = x.shape();
    shape.spatial = {1, height, width};
    return FeatureMap<typename X::Scalar, typename X::Layout>(nullptr, shape);
  }

  // The protocol of PoolCalls and BinPool.
  Grids grids() const { return {nullptr, 1, {height, width}}; }
  bool is_max() const { return max; }
  template <class T, class X, class Y>
  auto output(const X& x, Y& y, std::string_view call, std::string_view what) const {
    if constexpr (is_feature_map<std::remove_const_t<Y>>) {
      using Map = std::remove_const_t<Y>;
      static_assert(std::same_as<typename Map::Layout, typename X::Layout>,
                    "poolhead: y must have the memory layout of x");
      static_assert(std::is_convertible_v<decltype(y.data()), T*>,
                    "poolhead: y must have the scalar type of x, and not be const where it is written to");
      const auto expected = map_shape(x).shape();
      if (y.shape() != expected)
        fail<ShapeError>(Derived::name, call, ": ", what, " is ", TensorExtents<typename X::Layout>(y.shape()),
                         ", expected ", TensorExtents<typename X::Layout>(expected));
      const Index bins = height * width;
      constexpr bool planes = std::same_as<typename X::Layout, ChannelsFirst>;
      return GridRows<T>{y.data(), x.channels() * bins, planes ? bins : 1, planes ? 1 : x.channels()};
    } else {
      return PoolCalls<Derived>::template output<T>(x, y, call, what);
    }
  }
};

}  // namespace detail

/// y = the average of each of height x width adaptive bins; feature c height width + i width + j for channel c
/// and bin (i, j), or, where y is a view, the feature map (N, C, height, width) in x's layout.
///
/// features: C * height * width. See SpatialPyramidPool for the bins. torch.nn.AdaptiveAvgPool2d.
class AdaptiveAveragePool : public detail::AdaptivePool<AdaptiveAveragePool, false> {
 public:
  static constexpr std::string_view name = "AdaptiveAveragePool";
  using AdaptivePool::AdaptivePool;
};

/// y = the maximum of each of height x width adaptive bins, in AdaptiveAveragePool's order; the cache's argmax,
/// (N, features), holds positions in the plane, PyTorch's indices.
///
/// features: C * height * width. torch.nn.AdaptiveMaxPool2d.
class AdaptiveMaxPool : public detail::AdaptivePool<AdaptiveMaxPool, true> {
 public:
  static constexpr std::string_view name = "AdaptiveMaxPool";
  using AdaptivePool::AdaptivePool;
};

}  // namespace poolhead::inline POOLHEAD_ISA
