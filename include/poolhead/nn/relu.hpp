// The rectifier.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = max(x, 0), NaN stays NaN;   dx = dy where y > 0, else 0. Of feature maps or rows; y may be x itself.
/// Nair and Hinton, 2010; torch.nn.ReLU.
class ReLU {
 public:
  static constexpr std::string_view name = "ReLU";
  static constexpr bool works_in_place = true;

  template <class X>
  auto output_shape(const X& x) const {
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x) const {
    return detail::LayerCache<decltype(detail::shape_of(x))>{detail::shape_of(x)};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, Cache& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, x);
    detail::each_sample(device, x, 2.0, [&](Index n, Index count) {
      const auto* in = detail::sample(x, n);
      auto* out = detail::sample(y, n);
      for (Index i = 0; i < count; ++i) out[i] = in[i] < 0 ? decltype(in[i] + in[i])(0) : in[i];
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, ReLU& /*gradient*/,
                const D& device = D{}) const {
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 2.0, [&](Index n, Index count) {
        const auto* out = detail::sample(y, n);
        const auto* in = detail::sample(dy, n);
        auto* to = detail::sample(dx, n);
        for (Index i = 0; i < count; ++i) to[i] = out[i] <= 0 ? decltype(in[i] + in[i])(0) : in[i];
      });
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
